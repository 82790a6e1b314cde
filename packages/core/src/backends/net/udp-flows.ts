import type { HostSockets, HostUdp, SocketAddress } from '../../ports/host-sockets.ts';
import { IP_HEADER_BYTES, type Ipv4Packet, makeUdp, UDP_HEADER_BYTES, type UdpDatagram } from './packet.ts';

/** Flows at a time; the one that was used longest ago makes room for a new one. */
const MOST_FLOWS = 128;
const IDLE_MS = 60_000;

export interface UdpFlowsOptions {
  readonly sockets: HostSockets;
  readonly mtu: number;
  readonly target: (address: number, port: number) => SocketAddress | undefined;
  readonly send: (packet: Ipv4Packet) => void;
}

interface Flow {
  readonly socket: HostUdp;
  cancelTimer: () => void;
}

/**
 * UDP between the guest and the world: a socket of the host's for each pair of ends, so that only who was asked can
 * answer. Datagrams that do not fit a frame are dropped (NOT IMPLEMENTED: fragments).
 */
export class UdpFlows {
  readonly #options: UdpFlowsOptions;
  /** In the order of their last use. */
  readonly #flows = new Map<string, Flow>();

  constructor(options: UdpFlowsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#flows.size;
  }

  /** A datagram of the guest's. */
  receive({ source, destination }: Ipv4Packet, datagram: UdpDatagram): void {
    const { sourcePort, destinationPort, data } = datagram;
    const key = `${source}:${sourcePort}-${destination}:${destinationPort}`;
    let flow = this.#flows.get(key);
    if (flow === undefined) {
      const target = this.#options.target(destination, destinationPort);
      if (target === undefined) return;
      const answer = (bytes: Uint8Array) =>
        this.#answer(destination, source, { sourcePort: destinationPort, destinationPort: sourcePort, data: bytes });
      flow = { socket: this.#options.sockets.openUdp(target, { onMessage: answer }), cancelTimer: () => {} };
    }
    this.#use(key, flow);
    flow.socket.send(data);
  }

  closeAll(): void {
    for (const key of [...this.#flows.keys()]) this.#close(key);
  }

  #use(key: string, flow: Flow): void {
    flow.cancelTimer();
    this.#flows.delete(key);
    if (this.#flows.size >= MOST_FLOWS) {
      const [oldest] = this.#flows.keys();
      this.#close(oldest);
    }
    this.#flows.set(key, flow);
    flow.cancelTimer = this.#options.sockets.after(IDLE_MS, () => this.#close(key));
  }

  #close(key: string): void {
    const flow = this.#flows.get(key);
    if (flow === undefined) return;
    this.#flows.delete(key);
    flow.cancelTimer();
    flow.socket.close();
  }

  #answer(from: number, to: number, datagram: UdpDatagram): void {
    if (IP_HEADER_BYTES + UDP_HEADER_BYTES + datagram.data.length > this.#options.mtu) return;
    this.#options.send(makeUdp(from, to, datagram));
  }
}

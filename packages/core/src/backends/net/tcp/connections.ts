import type { HostSockets, HostTcp, SocketAddress, TcpEvents } from '../../../ports/host-sockets.ts';
import { NETWORK } from '../address.ts';
import { IP_HEADER_BYTES, type Ipv4Packet } from '../packet.ts';
import { type ConnectionLink, TcpConnection } from './connection.ts';
import { makeTcp, parseTcp, TCP_HEADER_BYTES, TcpFlag, type TcpSegment } from './segment.ts';

/** Connections at a time; a guest that wants more is refused. */
const MOST_CONNECTIONS = 256;
/** Ports from which the router calls the guest (RFC 6335, 6). */
const FIRST_EPHEMERAL = 49_152;
const EPHEMERAL_PORTS = 65_536 - FIRST_EPHEMERAL;
/** Distance of the initial sequence numbers of successive connections. */
const SEQUENCE_STEP = 64_007;

interface Ends {
  readonly guest: number;
  readonly guestPort: number;
  readonly remote: number;
  readonly remotePort: number;
}

export interface ConnectionsOptions {
  readonly sockets: HostSockets;
  readonly mtu: number;
  /** Where a packet to this address and port really goes; `undefined`: nowhere. */
  readonly target: (address: number, port: number) => SocketAddress | undefined;
  readonly congested: () => boolean;
  readonly send: (packet: Ipv4Packet) => void;
}

/** All TCP connections of the guest's. */
export class TcpConnections {
  readonly #options: ConnectionsOptions;
  readonly #connections = new Map<string, TcpConnection>();
  #sequence = SEQUENCE_STEP;
  #called = 0;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#connections.size;
  }

  /** A packet of the guest's. */
  receive(packet: Ipv4Packet): void {
    const segment = parseTcp(packet);
    if (segment === undefined) return;
    const ends: Ends = {
      guest: packet.source,
      guestPort: segment.sourcePort,
      remote: packet.destination,
      remotePort: segment.destinationPort,
    };
    const connection = this.#connections.get(keyOf(ends));
    if (connection !== undefined) connection.receive(segment);
    else if ((segment.flags & (TcpFlag.SYN | TcpFlag.ACK | TcpFlag.RST)) === TcpFlag.SYN) this.#open(ends, segment);
    else if ((segment.flags & TcpFlag.RST) === 0) this.#refuse(ends, segment);
  }

  /**
   * A connection of the host's for a port of the guest's. `false`: there are too many. The host's events are to be told
   * to what `events` gets.
   */
  call(guestPort: number, host: HostTcp, events: (events: TcpEvents) => void): boolean {
    if (this.#connections.size >= MOST_CONNECTIONS) return false;
    const remotePort = FIRST_EPHEMERAL + (this.#called++ % EPHEMERAL_PORTS);
    const ends: Ends = { guest: NETWORK.GUEST, guestPort, remote: NETWORK.ROUTER, remotePort };
    if (this.#connections.has(keyOf(ends))) return false;
    const connection = this.#add(ends);
    events(connection);
    connection.call(host);
    return true;
  }

  /** The link has room again. */
  resume(): void {
    for (const connection of this.#connections.values()) connection.output();
  }

  /** The guest is gone. */
  abortAll(): void {
    for (const connection of [...this.#connections.values()]) connection.abort(false);
  }

  #open(ends: Ends, syn: TcpSegment): void {
    const target = this.#options.target(ends.remote, ends.remotePort);
    if (target === undefined || this.#connections.size >= MOST_CONNECTIONS) {
      this.#refuse(ends, syn);
      return;
    }
    this.#add(ends).accept(syn, (events) => this.#options.sockets.connectTcp(target, events));
  }

  #add(ends: Ends): TcpConnection {
    const key = keyOf(ends);
    const connection = new TcpConnection(this.#linkOf(ends, () => this.#connections.delete(key)));
    this.#connections.set(key, connection);
    return connection;
  }

  #linkOf(ends: Ends, closed: () => void): ConnectionLink {
    const { sockets, mtu, congested } = this.#options;
    this.#sequence = (this.#sequence + SEQUENCE_STEP) >>> 0;
    return {
      mss: mtu - IP_HEADER_BYTES - TCP_HEADER_BYTES,
      initialSequence: this.#sequence,
      get congested() {
        return congested();
      },
      send: (segment) => this.#send(ends, segment),
      after: (delayMs, callback) => sockets.after(delayMs, callback),
      closed,
    };
  }

  #send(ends: Ends, segment: Omit<TcpSegment, 'sourcePort' | 'destinationPort'>): void {
    const { guest, guestPort, remote, remotePort } = ends;
    this.#options.send(makeTcp(remote, guest, { ...segment, sourcePort: remotePort, destinationPort: guestPort }));
  }

  /** There is no such connection (RFC 9293, 3.5.2, group 1). */
  #refuse(ends: Ends, { flags, sequence, acknowledgement, data }: TcpSegment): void {
    const isAck = (flags & TcpFlag.ACK) !== 0;
    const length = data.length + ((flags & TcpFlag.SYN) !== 0 ? 1 : 0) + ((flags & TcpFlag.FIN) !== 0 ? 1 : 0);
    this.#send(ends, {
      sequence: isAck ? acknowledgement : 0,
      acknowledgement: isAck ? 0 : (sequence + length) >>> 0,
      flags: isAck ? TcpFlag.RST : TcpFlag.RST | TcpFlag.ACK,
      window: 0,
      data: new Uint8Array(0),
    });
  }
}

function keyOf({ guest, guestPort, remote, remotePort }: Ends): string {
  return `${guest}:${guestPort}-${remote}:${remotePort}`;
}

import { ipv4, NETWORK } from '../net/address.ts';
import { Nat } from '../net/nat.ts';
import {
  EtherType,
  type Ipv4Packet,
  makeEthernet,
  makeIpv4,
  makeUdp,
  Protocol,
  parseEthernet,
  parseIpv4,
  parseUdp,
} from '../net/packet.ts';
import { makeTcp, parseTcp, TcpFlag, type TcpSegment } from '../net/tcp/segment.ts';
import { FakeSockets } from './fake-sockets.ts';

export const GUEST_MAC = Uint8Array.of(2, 0, 0, 0, 2, 15);
const EMPTY = new Uint8Array(0);

/** A guest on a NAT: sends frames and keeps what comes. */
export class FakeGuest {
  readonly sockets = new FakeSockets();
  readonly nat = new Nat(GUEST_MAC, this.sockets);
  frames: Uint8Array[] = [];
  /** Room for so many more frames. */
  room = Number.POSITIVE_INFINITY;

  constructor() {
    this.nat.onReceive((frame) => {
      if (this.room <= 0) return false;
      this.room--;
      this.frames.push(frame);
      return true;
    });
  }

  sendIp(packet: Ipv4Packet): void {
    this.nat.send(makeEthernet(Uint8Array.of(2, 0, 0, 0, 2, 2), GUEST_MAC, EtherType.IPV4, makeIpv4(packet)));
  }
  sendUdp(to: number, ports: { from: number; to: number }, data: Uint8Array, from: number = NETWORK.GUEST): void {
    this.sendIp(makeUdp(from, to, { sourcePort: ports.from, destinationPort: ports.to, data }));
  }

  /** The packets that came since the last call. */
  take(): Ipv4Packet[] {
    return this.frames.splice(0).map((frame) => {
      const packet = parseIpv4(parseEthernet(frame)?.payload ?? EMPTY);
      if (packet === undefined) throw new Error('a frame that is no IPv4 packet');
      return packet;
    });
  }
  takeUdp() {
    return this.take().map((packet) => ({ ...packet, udp: parseUdp(packet) }));
  }
  takeTcp(): TcpSegment[] {
    return this.take()
      .filter(({ protocol }) => protocol === Protocol.TCP)
      .map((packet) => {
        const segment = parseTcp(packet);
        if (segment === undefined) throw new Error('a damaged TCP segment');
        return segment;
      });
  }
}

/** A guest's TCP connection: takes what is in order, and acknowledges everything. */
export class FakeGuestTcp {
  readonly #guest: FakeGuest;
  readonly remote: number;
  readonly port: number;
  readonly remotePort: number;
  next: number;
  expected = 0;
  window = 65_535;
  readonly received: number[] = [];
  ended = false;
  reset = false;

  constructor(
    guest: FakeGuest,
    { remote = ipv4('192.0.2.1'), port = 40_000, remotePort = 80, sequence = 0xffff_fff0 } = {},
  ) {
    this.#guest = guest;
    this.remote = remote;
    this.port = port;
    this.remotePort = remotePort;
    this.next = sequence;
  }

  send(flags: number, data: Uint8Array = EMPTY, options: Partial<TcpSegment> = {}): void {
    const segment: TcpSegment = {
      sourcePort: this.port,
      destinationPort: this.remotePort,
      sequence: this.next,
      acknowledgement: this.expected,
      flags,
      window: this.window,
      data,
      ...options,
    };
    this.#guest.sendIp(makeTcp(NETWORK.GUEST, this.remote, segment));
  }
  /** Call, let the host's side connect, and finish the handshake. */
  open(): void {
    this.send(TcpFlag.SYN, EMPTY, { mss: 1460, acknowledgement: 0 });
    this.#guest.sockets.tcp.at(-1)?.events.onConnect();
    const [answer] = this.#guest.takeTcp();
    if (answer.flags !== (TcpFlag.SYN | TcpFlag.ACK)) throw new Error(`flags ${answer.flags} instead of SYN, ACK`);
    this.next = (this.next + 1) >>> 0;
    this.expected = (answer.sequence + 1) >>> 0;
    this.send(TcpFlag.ACK);
  }
  sendData(data: Uint8Array): void {
    this.send(TcpFlag.ACK | TcpFlag.PSH, data);
    this.next = (this.next + data.length) >>> 0;
  }
  /** Take what has come, in order; `lose` says which segments are lost. */
  poll(lose: () => boolean = () => false): void {
    for (const segment of this.#guest.takeTcp()) {
      if (lose()) continue;
      if ((segment.flags & TcpFlag.RST) !== 0) this.reset = true;
      const isNext = segment.sequence === this.expected;
      const hasSomething = segment.data.length > 0 || (segment.flags & TcpFlag.FIN) !== 0;
      if (isNext) {
        this.received.push(...segment.data);
        this.expected = (this.expected + segment.data.length) >>> 0;
        if ((segment.flags & TcpFlag.FIN) !== 0) {
          this.ended = true;
          this.expected = (this.expected + 1) >>> 0;
        }
      }
      if (hasSomething) this.send(TcpFlag.ACK);
    }
  }
}

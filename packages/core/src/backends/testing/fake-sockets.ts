import type { HostSockets, HostTcp, SocketAddress, TcpEvents, UdpEvents } from '../../ports/host-sockets.ts';

/** A TCP connection of a fake host; a test plays the other side. */
export class FakeTcp implements HostTcp {
  readonly target: SocketAddress;
  readonly events: TcpEvents;
  readonly written: number[] = [];
  pendingBytes = 0;
  ended = false;
  destroyed = false;
  paused = false;

  constructor(target: SocketAddress, events: TcpEvents) {
    this.target = target;
    this.events = events;
  }
  write(bytes: Uint8Array): void {
    this.written.push(...bytes);
  }
  end(): void {
    this.ended = true;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  destroy(): void {
    this.destroyed = true;
  }
}

/** Sockets and timers that do what a test says. */
export class FakeSockets implements HostSockets {
  resolver: SocketAddress | undefined = { host: '192.0.2.53', port: 5353 };
  readonly tcp: FakeTcp[] = [];
  readonly udp: { target: SocketAddress; events: UdpEvents; sent: Uint8Array[]; closed: boolean }[] = [];
  #timers: { delayMs: number; callback: () => void }[] = [];

  connectTcp(target: SocketAddress, events: TcpEvents): HostTcp {
    const connection = new FakeTcp(target, events);
    this.tcp.push(connection);
    return connection;
  }
  openUdp(target: SocketAddress, events: UdpEvents) {
    const socket = { target, events, sent: [] as Uint8Array[], closed: false };
    this.udp.push(socket);
    return {
      send: (bytes: Uint8Array) => {
        socket.sent.push(bytes.slice());
      },
      close: () => {
        socket.closed = true;
      },
    };
  }
  after(delayMs: number, callback: () => void): () => void {
    const timer = { delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  get timers(): number {
    return this.#timers.length;
  }
  /** Let every timer that is set now fire. */
  fireAll(): void {
    for (const { callback } of this.#timers.splice(0)) callback();
  }
}

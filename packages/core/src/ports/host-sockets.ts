/** An IPv4 or IPv6 address in text, and a port. */
export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/** What a TCP connection of the host's tells. After `onClose` nothing more comes. */
export interface TcpEvents {
  onConnect(): void;
  onData(bytes: Uint8Array): void;
  /** The other side sends no more. */
  onEnd(): void;
  /** All that was written has gone out. */
  onDrain(): void;
  /** `failed`: refused, reset or timed out. */
  onClose(failed: boolean): void;
}

export interface HostTcp {
  /** Written and not gone out yet, bytes. */
  readonly pendingBytes: number;
  /** Always taken whole; whoever writes looks at {@link pendingBytes} first. Keeps no reference. */
  write(bytes: Uint8Array): void;
  /** Nothing more will be written. */
  end(): void;
  /** Stop and go on telling of data. */
  pause(): void;
  resume(): void;
  /** Close at once, both ways; tells nothing more. */
  destroy(): void;
}

export interface UdpEvents {
  onMessage(bytes: Uint8Array): void;
}

/** A UDP socket connected to one address. */
export interface HostUdp {
  /** May be lost, as datagrams are. Keeps no reference. */
  send(bytes: Uint8Array): void;
  close(): void;
}

/** The host's sockets and timers, for a network back end. */
export interface HostSockets {
  connectTcp(target: SocketAddress, events: TcpEvents): HostTcp;
  openUdp(target: SocketAddress, events: UdpEvents): HostUdp;
  /** Where the host itself asks for names; `undefined`: it has no resolver. */
  readonly resolver: SocketAddress | undefined;
  /** Call back once after a while; answers how to cancel. */
  after(delayMs: number, callback: () => void): () => void;
}

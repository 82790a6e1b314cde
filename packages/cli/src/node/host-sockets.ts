import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { connect, isIPv6, type Socket } from 'node:net';
import type { HostSockets, HostTcp, HostUdp, SocketAddress, TcpEvents, UdpEvents } from '@polyvisor/core';

const DNS_PORT = 53;

/** This process's sockets. `onActivity` is called after anything has come that a guest may wait for. */
export function nodeSockets(onActivity: () => void): HostSockets {
  return {
    connectTcp: ({ host, port }, events) =>
      adoptTcp(connect({ host, port, allowHalfOpen: true, noDelay: true }), events, onActivity),
    openUdp: (target, events) => openUdp(target, events, onActivity),
    get resolver() {
      return resolver();
    },
    after(delayMs, callback) {
      const timer = setTimeout(() => {
        callback();
        onActivity();
      }, delayMs).unref();
      return () => clearTimeout(timer);
    },
  };
}

/** A socket of Node's behind the port, telling `events`. */
export function adoptTcp(socket: Socket, events: TcpEvents, onActivity: () => void): HostTcp {
  let failed = false;
  const told =
    <A extends unknown[]>(tell: (...args: A) => void) =>
    (...args: A) => {
      tell(...args);
      onActivity();
    };
  socket.on(
    'connect',
    told(() => events.onConnect()),
  );
  socket.on(
    'data',
    told((bytes: Buffer) => events.onData(bytes)),
  );
  socket.on(
    'end',
    told(() => events.onEnd()),
  );
  socket.on(
    'drain',
    told(() => events.onDrain()),
  );
  socket.on('error', () => {
    failed = true;
  });
  socket.on(
    'close',
    told(() => events.onClose(failed)),
  );
  return {
    get pendingBytes() {
      return socket.writableLength;
    },
    write: (bytes) => void socket.write(bytes.slice()),
    end: () => void socket.end(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    destroy: () => {
      socket.removeAllListeners();
      socket.on('error', () => {});
      socket.destroy();
    },
  };
}

function openUdp({ host, port }: SocketAddress, events: UdpEvents, onActivity: () => void): HostUdp {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  let open = true;
  // What is sent before the socket is connected waits; there is little of it.
  let waiting: Uint8Array[] | undefined = [];
  socket.on('error', () => {});
  socket.on('message', (bytes) => {
    events.onMessage(bytes);
    onActivity();
  });
  socket.connect(port, host, () => {
    for (const bytes of waiting ?? []) socket.send(bytes, () => {});
    waiting = undefined;
  });
  socket.unref();
  return {
    send(bytes) {
      if (!open) return;
      if (waiting === undefined) socket.send(bytes.slice(), () => {});
      else if (waiting.length < 16) waiting.push(bytes.slice());
    },
    close() {
      open = false;
      socket.close();
    },
  };
}

/** The first of the host's own name servers: `1.2.3.4`, `1.2.3.4:5353`, `::1` or `[::1]:53`. */
function resolver(): SocketAddress | undefined {
  const [server] = getServers();
  if (server === undefined) return undefined;
  const match = /^\[(.+)\]:(\d+)$/.exec(server) ?? /^([\d.]+):(\d+)$/.exec(server);
  return match ? { host: match[1], port: Number(match[2]) } : { host: server, port: DNS_PORT };
}

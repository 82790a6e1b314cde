import { connect, createServer, type Server } from 'node:net';
import { Nat, StreamLink, type TcpEvents } from '@polyvisor/core';
import { type NetworkBackend, PolyvisorError } from '@polyvisor/plugin-api';
import { firstLine } from '../cli-error.ts';
import { say } from '../diagnostics.ts';
import { ExitCode } from '../exit-codes.ts';
import { adoptTcp, nodeSockets } from '../node/host-sockets.ts';
import type { NetRequest, PortForward, StreamAddress } from '../options.ts';

/** Locally administered (IEEE 802, 8.4). */
const GUEST_MAC = Uint8Array.of(2, 0, 0, 0, 2, 15);
const LOOPBACK = '127.0.0.1';

/** What is open for a network interface. */
export interface OpenNetwork {
  readonly nics: readonly NetworkBackend[];
  close(): Promise<void>;
}

/** @throws PolyvisorError for a port that is in use, and a socket that nobody listens on */
export async function openNetwork(request: NetRequest, onActivity: () => void): Promise<OpenNetwork> {
  if (request.kind === 'none') return { nics: [], close: async () => {} };
  return request.kind === 'nat' ? openNat(request.forwards, onActivity) : openStream(request.address, onActivity);
}

async function openNat(forwards: readonly PortForward[], onActivity: () => void): Promise<OpenNetwork> {
  const nat = new Nat(GUEST_MAC, nodeSockets(onActivity));
  const servers: Server[] = [];
  const close = async () => {
    nat.close();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  };
  try {
    for (const forward of forwards) servers.push(await listen(nat, forward, onActivity));
  } catch (error) {
    await close();
    throw error;
  }
  return { nics: [nat], close };
}

function listen(nat: Nat, { hostPort, guestPort }: PortForward, onActivity: () => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
    let events: TcpEvents | undefined;
    const told: TcpEvents = {
      onConnect: () => {},
      onData: (bytes) => events?.onData(bytes),
      onEnd: () => events?.onEnd(),
      onDrain: () => events?.onDrain(),
      onClose: (failed) => events?.onClose(failed),
    };
    const host = adoptTcp(socket, told, onActivity);
    const taken = nat.forward(guestPort, host, (connection) => {
      events = connection;
    });
    if (!taken) host.destroy();
    onActivity();
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(portError(hostPort, error)));
    server.listen(hostPort, LOOPBACK, () => {
      server.unref();
      resolve(server);
    });
  });
}

function portError(port: number, error: NodeJS.ErrnoException): PolyvisorError {
  const reasons: Readonly<Record<string, string>> = { EADDRINUSE: 'it is in use', EACCES: 'permission denied' };
  const reason = reasons[error.code ?? ''] ?? firstLine(error);
  const fix = 'choose another host port for --forward';
  return new PolyvisorError('PV3004', `cannot listen on ${LOOPBACK} port ${port}: ${reason}`, fix, ExitCode.USAGE);
}

async function openStream(address: StreamAddress, onActivity: () => void): Promise<OpenNetwork> {
  const where = 'path' in address ? address.path : `${address.host}:${address.port}`;
  const socket = connect(address);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => reject(streamError(where, error)));
  });
  let closing = false;
  const lost = (reason: string) => {
    if (!closing) say(`the network socket ${where} is gone: ${reason}`);
    closing = true;
    socket.destroy();
  };
  const link = new StreamLink(GUEST_MAC, {
    get pendingBytes() {
      return socket.writableLength;
    },
    write: (bytes) => {
      if (!socket.destroyed) socket.write(bytes);
    },
    fail: lost,
  });
  socket.removeAllListeners('error');
  socket.on('error', (error) => lost(firstLine(error)));
  socket.on('close', () => lost('the other side closed it'));
  socket.on('data', (bytes) => {
    link.received(bytes);
    onActivity();
  });
  socket.unref();
  return {
    nics: [link],
    close: async () => {
      closing = true;
      socket.destroy();
    },
  };
}

function streamError(where: string, error: NodeJS.ErrnoException): PolyvisorError {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'no such file',
    ECONNREFUSED: 'nobody listens there',
    ENOTSOCK: 'it is no socket',
  };
  const reason = reasons[error.code ?? ''] ?? firstLine(error);
  const message = `cannot connect to the network socket ${where}: ${reason}`;
  return new PolyvisorError(
    'PV3004',
    message,
    'start the network program first, such as `passt --socket PATH`',
    ExitCode.USAGE,
  );
}

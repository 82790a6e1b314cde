import type { Command } from 'commander';
import { usageError } from './cli-error.ts';
import type { DiskRequest, NetRequest, PortForward, ShareRequest, StreamAddress } from './options.ts';

/** What commander collects for devices. */
export interface DeviceFlags {
  disk?: DiskRequest[];
  net?: NetRequest;
  forward?: PortForward[];
  share?: ShareRequest[];
}

/** xvda to xvdp, and as many PCI slots as there are to spare. */
const MOST_DISKS = 16;
const MOST_SHARES = 8;
const LAST_PORT = 65_535;

export function addDeviceOptions(run: Command): Command {
  const collect =
    <T>(parse: (text: string) => T) =>
    (text: string, previous: T[] = []) => [...previous, parse(text)];
  return run
    .option(
      '--disk <file[,ro|,overlay]>',
      'raw disk image; overlay: writes stay in memory (repeatable)',
      collect(parseDisk),
    )
    .option('--net <kind>', 'nat, none or socket:PATH (a stream socket, as of passt); default none', parseNet)
    .option(
      '--forward <tcp:host:guest>',
      "host's loopback port to a port of the guest's (repeatable)",
      collect(parseForward),
    )
    .option(
      '--share <dir:tag[:rw]>',
      "folder of the host's, mounted as 9p by its tag (repeatable)",
      collect(parseShare),
    );
}

/** Checks what goes together. @throws PolyvisorError PV3001 */
export function deviceRequests(flags: DeviceFlags) {
  const { disk: disks = [], forward: forwards = [], share: shares = [] } = flags;
  if (disks.length > MOST_DISKS) throw usageError(`${disks.length} disks are too many`, `give at most ${MOST_DISKS}`);
  if (shares.length > MOST_SHARES)
    throw usageError(`${shares.length} shares are too many`, `give at most ${MOST_SHARES}`);
  const twice = shares.find(({ tag }, index) => shares.some((other, at) => at < index && other.tag === tag));
  if (twice) throw usageError(`two shares have the tag ${twice.tag}`, 'give each --share a tag of its own');
  return { disks, net: networkOf(flags.net, forwards), shares };
}

function networkOf(net: NetRequest | undefined, forwards: readonly PortForward[]): NetRequest {
  if (forwards.length === 0) return net ?? { kind: 'none' };
  if (net !== undefined && net.kind !== 'nat') {
    throw usageError(`--forward has nothing to do with --net ${net.kind}`, 'use --net nat, or leave --net out');
  }
  const ports = forwards.map(({ hostPort }) => hostPort);
  const twice = ports.find((port, index) => ports.indexOf(port) !== index);
  if (twice !== undefined)
    throw usageError(`port ${twice} is forwarded twice`, 'give each --forward its own host port');
  return { kind: 'nat', forwards };
}

/** `FILE`, `FILE,ro` or `FILE,overlay`. */
export function parseDisk(text: string): DiskRequest {
  const match = /^(.+?)(?:,(ro|overlay|rw))?$/s.exec(text);
  if (!match) throw usageError('--disk names no file', 'give FILE, FILE,ro or FILE,overlay');
  return { file: match[1], mode: (match[2] as DiskRequest['mode'] | undefined) ?? 'rw' };
}

/** `nat`, `none`, `socket:PATH` or `socket:127.0.0.1:PORT`. */
export function parseNet(text: string): NetRequest {
  if (text === 'none') return { kind: 'none' };
  if (text === 'nat') return { kind: 'nat', forwards: [] };
  if (text.startsWith('socket:') && text.length > 7) return { kind: 'socket', address: streamAddress(text.slice(7)) };
  throw usageError(`--net ${text} is unknown`, 'use nat, none, socket:PATH or socket:127.0.0.1:PORT');
}

function streamAddress(text: string): StreamAddress {
  const match = /^(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/.exec(text);
  if (!match) return { path: text };
  return { host: match[1].replace(/[[\]]/g, ''), port: parsePort(match[2], `--net socket:${text}`) };
}

/** `tcp:HOST_PORT:GUEST_PORT`. */
export function parseForward(text: string): PortForward {
  const match = /^tcp:(\d{1,5}):(\d{1,5})$/.exec(text);
  if (!match)
    throw usageError(`--forward ${text} cannot be read`, 'write tcp:HOST_PORT:GUEST_PORT, such as tcp:8080:80');
  return {
    hostPort: parsePort(match[1], `--forward ${text}`),
    guestPort: parsePort(match[2], `--forward ${text}`),
  };
}

function parsePort(text: string, where: string): number {
  const port = Number(text);
  if (port >= 1 && port <= LAST_PORT) return port;
  throw usageError(`${where}: there is no port ${text}`, `give a port between 1 and ${LAST_PORT}`);
}

/** `DIR:TAG` or `DIR:TAG:rw`. The tag is what the guest's `mount -t 9p TAG` names. */
export function parseShare(text: string): ShareRequest {
  const match = /^(.+?):([\w.-]{1,31})(:rw|:ro)?$/s.exec(text);
  if (!match) throw usageError(`--share ${text} cannot be read`, 'write DIR:TAG or DIR:TAG:rw');
  return { directory: match[1], tag: match[2], writable: match[3] === ':rw' };
}

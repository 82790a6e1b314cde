import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parseCommandLine } from '../command-line.ts';
import { openDevices } from './open.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-devices-'));
const file = (name: string) => path.join(directory, name);
const image = file('disk.img');
let busy: Server;
let busyPort: number;

beforeAll(async () => {
  writeFileSync(image, new Uint8Array(4096).fill(1));
  writeFileSync(file('small'), 'x');
  mkdirSync(file('folder'));
  busy = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => busy.once('listening', resolve));
  busyPort = (busy.address() as { port: number }).port;
});
afterAll(() => {
  busy.close();
  rmSync(directory, { recursive: true });
});

/** The options of `vm run`, as typed. */
function optionsOf(...args: string[]) {
  const request = parseCommandLine(['run', 'x', ...args]);
  if (request.kind !== 'run') throw new Error('no run');
  return request.options;
}
const open = (...args: string[]) => openDevices(optionsOf(...args));

describe('what cannot be opened is refused in one line', () => {
  const missing = /: no such file: check the path/;
  it.each<[string[], number, RegExp]>([
    [['--disk', file('none')], 3, missing],
    [['--disk', `${file('none')},ro`], 3, missing],
    [['--disk', file('folder')], 3, /is a directory/],
    [['--disk', '/dev/null,ro'], 3, /no regular file/],
    [['--disk', file('small')], 3, /less than one sector/],
    [['--share', `${file('none')}:t`], 3, missing],
    [['--share', `${image}:t`], 3, /cannot share/],
    [['--net', `socket:${file('none')}`], 2, /no such file: start the network program/],
    [['--net', `socket:${image}`], 2, /cannot connect to the network socket/],
  ])('%j', async (args, exitCode, line) => {
    const error = await open(...args).catch((thrown) => thrown);
    expect(error).toMatchObject({ exitCode, oneLine: expect.stringMatching(line) });
    expect(error.oneLine).not.toContain('\n');
  });

  it('a port in use', async () => {
    const error = await open('--forward', `tcp:${busyPort}:80`).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'PV3004', exitCode: 2 });
    expect(error.message).toBe(`cannot listen on 127.0.0.1 port ${busyPort}: it is in use`);
  });

  it.skipIf(process.getuid?.() === 0)('a file that cannot be written: ro and overlay are offered', async () => {
    const protectedFile = file('protected');
    writeFileSync(protectedFile, new Uint8Array(512));
    chmodSync(protectedFile, 0o444);
    const error = await open('--disk', protectedFile).catch((thrown) => thrown);
    expect(error.oneLine).toContain(`use ${protectedFile},ro or ${protectedFile},overlay`);
    const devices = await open('--disk', `${protectedFile},ro`);
    await devices.close();
  });
});

describe('a disk', () => {
  it('that gets shorter while it is used gives I/O errors, and one line', async () => {
    const shrinking = file('shrinking');
    writeFileSync(shrinking, new Uint8Array(4096));
    const { devices, close } = await open('--disk', shrinking);
    const [disk] = devices.disks;
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      truncateSync(shrinking, 1024);
      expect([disk.read(0, new Uint8Array(512)), disk.read(1024, new Uint8Array(512))]).toEqual([true, false]);
      expect(disk.read(2048, new Uint8Array(512))).toBe(false);
      expect(said.mock.calls.map(([text]) => text)).toEqual([
        'vm: disk shrinking cannot be read: the file ends 512 bytes too early\n',
      ]);
    } finally {
      said.mockRestore();
      await close();
    }
  });
});

describe('entropy', () => {
  const draw = async (clock: string) => {
    const { devices, close } = await open('--clock', clock);
    const bytes = new Uint8Array(32);
    devices.entropy?.fill(bytes);
    await close();
    return Buffer.from(bytes).toString('hex');
  };
  it('is the same in each deterministic run, and never otherwise', async () => {
    expect(await draw('icount')).toBe(await draw('icount'));
    expect(await draw('wall')).not.toBe(await draw('wall'));
  });
});

describe('a stream socket', () => {
  /** A network program that keeps what it gets. */
  async function program() {
    const where = file(`net-${Math.random()}`);
    const got: Buffer[] = [];
    let peer: Socket | undefined;
    const server = createServer((socket) => {
      peer = socket;
      socket.on('data', (bytes) => got.push(bytes));
    }).listen(where);
    await new Promise((resolve) => server.once('listening', resolve));
    const opened = await open('--net', `socket:${where}`);
    await vi.waitFor(() => expect(peer).toBeDefined());
    return { got, peer: () => peer as unknown as Socket, server, nic: opened.devices.nics[0], opened };
  }

  it('carries frames with their length before them, and wakes the guest', async () => {
    const { got, peer, server, nic, opened } = await program();
    let wakes = 0;
    opened.onWake(() => {
      wakes++;
    });
    const taken: Uint8Array[] = [];
    nic.onReceive((frame) => taken.push(frame) > 0);
    nic.send(new Uint8Array(60).fill(5));
    await vi.waitFor(() => expect(Buffer.concat(got)).toHaveLength(64));
    expect([...Buffer.concat(got).subarray(0, 5)]).toEqual([0, 0, 0, 60, 5]);
    peer().write(Buffer.concat([Buffer.from([0, 0, 0, 60]), Buffer.alloc(60, 6)]));
    await vi.waitFor(() => expect(taken).toHaveLength(1));
    expect([taken[0].length, taken[0][0], wakes > 0]).toEqual([60, 6, true]);
    await opened.close();
    server.close();
  });

  it('that is closed by the other side is told of once, and frames are dropped', async () => {
    const { peer, server, nic, opened } = await program();
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    peer().destroy();
    await vi.waitFor(() => expect(said).toHaveBeenCalledTimes(1));
    expect(String(said.mock.calls[0][0])).toMatch(/^vm: the network socket .* is gone: the other side closed it\n$/);
    nic.send(new Uint8Array(60));
    await opened.close();
    said.mockRestore();
    server.close();
  });
});

it('a forwarded port is listened on at the loopback, until all is closed', async () => {
  const free = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => free.once('listening', resolve));
  const { port } = free.address() as { port: number };
  await new Promise((resolve) => free.close(resolve));
  const { devices, close } = await open('--forward', `tcp:${port}:80`);
  const frames: Uint8Array[] = [];
  devices.nics[0].onReceive((frame) => frames.push(frame) > 0);
  const client = connect(port, '127.0.0.1');
  client.on('error', () => {});
  // The guest is called: SYN to port 80.
  await vi.waitFor(() => expect(frames).toHaveLength(1));
  const segment = frames[0].subarray(34);
  expect([(segment[2] << 8) | segment[3], segment[13]]).toEqual([80, 2]);
  await close();
  await vi.waitFor(() => expect(client.destroyed).toBe(true));
});

it('a share answers for its folder, and changes nothing unless it may', async () => {
  const { devices, close } = await open('--share', `${file('folder')}:t`, '--share', `${file('folder')}:w:rw`);
  // Tversion, Tattach to fid 0, Tmkdir "made" (9P2000.L).
  const requests = [
    [100, 0, 32, 0, 0, 8, 0, ...Buffer.from('9P2000.L')],
    [104, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0],
    [72, 0, 0, 0, 0, 4, 0, ...Buffer.from('made'), 237, 1, 0, 0, 0, 0, 0, 0],
  ].map(([type, ...fields]) => Uint8Array.of(7 + fields.length, 0, 0, 0, type, 1, 0, ...fields));
  const answers = devices.shares.map((share) => {
    const session = share.connect();
    return requests.map((request) => session.request(request)[4]);
  });
  const [RVERSION, RATTACH, RMKDIR, RLERROR] = [101, 105, 73, 7];
  expect(answers).toEqual([
    [RVERSION, RATTACH, RLERROR],
    [RVERSION, RATTACH, RMKDIR],
  ]);
  expect(existsSync(path.join(file('folder'), 'made'))).toBe(true);
  await close();
});

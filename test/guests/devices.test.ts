/**
 * Disks, network and folder shares, as a stock Debian kernel uses them: through Xen's split drivers as a PV domain, and
 * through virtio on the PC. The back ends are the same.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const DOORS = [
  { door: 'Xen PV', args: ['--plugin', 'xen'], disk: 'xvd', transport: 'xen' },
  { door: 'native', args: [], disk: 'vd', transport: 'virtio' },
] as const;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const { title, skipped } = await testsOf('debian', "Debian's amd64 kernel with devices");

describe.skipIf(skipped).each(DOORS)(`${title}, $door`, ({ args, disk, transport }) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-guest-devices-'));
  const file = (name: string) => path.join(directory, name);
  const download = randomBytes(300_000);
  const original = randomBytes(1 << 20);
  let server: Server;
  let session: GuestSession;
  let forwardedPort: number;

  beforeAll(async () => {
    writeFileSync(file('disk.img'), '');
    truncateSync(file('disk.img'), 16 << 20);
    writeFileSync(file('overlay.img'), original);
    mkdirSync(file('shared'));
    writeFileSync(file('shared/file'), download);
    symlinkSync('/etc/passwd', file('shared/leads-out'));
    server = createServer((_request, response) => response.end(download)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    forwardedPort = await freePort();
    session = new GuestSession(
      'debian',
      ...args,
      ...['--net', 'nat', '--forward', `tcp:${forwardedPort}:7`],
      ...['--disk', file('disk.img'), '--disk', `${file('overlay.img')},overlay`, '--share', `${file('shared')}:src`],
    );
    await reachShell(session);
    // What the kernel says in between would stand in the commands' output.
    await runCommand(session, 'dmesg -n 1');
  });
  afterAll(async () => {
    await session?.stop();
    server?.close();
    rmSync(directory, { recursive: true });
  });
  const output = async (command: string) => (await runCommand(session, command)).output;

  it('makes a file system, and finds in it what it wrote', async () => {
    expect(
      await output(`mke2fs /dev/${disk}a >/dev/null 2>&1; mount /dev/${disk}a /mnt 2>/dev/null; echo $?`),
    ).toContain('0\n');
    const written = await output('seq 1 100000 >/mnt/numbers; sync; sha256sum </mnt/numbers');
    const numbers = Array.from({ length: 100_000 }, (_, index) => `${index + 1}\n`).join('');
    expect(written).toBe(`${sha256(Buffer.from(numbers))}  -\n`);
    await output(`umount /mnt; echo 3 >/proc/sys/vm/drop_caches; mount /dev/${disk}a /mnt`);
    expect(await output('sha256sum </mnt/numbers')).toBe(written);
    await output('umount /mnt');
    // The superblock's magic number (Linux, Documentation/filesystems/ext2.rst).
    expect(readFileSync(file('disk.img')).readUInt16LE(1024 + 56)).toBe(0xef53);
  });

  it('writes over an overlay, and the file stays as it was', async () => {
    const device = `/dev/${disk}b`;
    expect(await output(`sha256sum <${device}`)).toBe(`${sha256(original)}  -\n`);
    await output(
      `dd if=/dev/zero of=${device} bs=64k count=4 conv=notrunc,fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches`,
    );
    const changed = Buffer.concat([Buffer.alloc(4 << 16), original.subarray(4 << 16)]);
    expect(await output(`sha256sum <${device}`)).toBe(`${sha256(changed)}  -\n`);
    expect(sha256(readFileSync(file('overlay.img')))).toBe(sha256(original));
  });

  it('got an address, and downloads from the host’s loopback', async () => {
    expect(await output('ip addr show eth0')).toContain('inet 10.0.2.15/24');
    const { port } = server.address() as AddressInfo;
    expect(await output(`wget -q -O - http://10.0.2.2:${port}/ | sha256sum`)).toBe(`${sha256(download)}  -\n`);
    expect(await output('ping -c 1 -q 10.0.2.2')).toContain('1 packets received');
  });

  it('is reached through a forwarded port', async () => {
    session.send('echo from-the-guest | nc -l -p 7 >/tmp/from-host; echo @@"served"');
    expect(await ask(forwardedPort, 'from-the-host\n')).toBe('from-the-guest\n');
    await session.expect('@@served\n');
    await session.expect('~ # ');
    expect(await output('cat /tmp/from-host')).toBe('from-the-host\n');
  });

  it('mounts a folder of the host’s, read-only, whose links lead nowhere', async () => {
    const mount = `mkdir -p /mnt/src; mount -t 9p -o trans=${transport},version=9p2000.L src /mnt/src 2>/dev/null`;
    await output(mount);
    expect(await output('sha256sum </mnt/src/file')).toBe(`${sha256(download)}  -\n`);
    expect(await output('readlink /mnt/src/leads-out')).toBe('/etc/passwd\n');
    expect((await runCommand(session, 'touch /mnt/src/new 2>/dev/null')).status).toBe(1);
  });

  it('powers off with exit code 0', async () => {
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Says something to a port and answers what comes back; tries again while the guest does not listen yet. */
async function ask(port: number, text: string): Promise<string> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const answer = await new Promise<string>((resolve) => {
      let got = '';
      const socket = connect(port, '127.0.0.1', () => socket.end(text));
      socket.setEncoding('utf8').on('data', (part: string) => {
        got += part;
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(got));
    });
    if (answer !== '') return answer;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  return '';
}

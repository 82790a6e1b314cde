/**
 * Debian's stock kernel on real page tables under Xen: through the PVH entry, and through the native door of a PC in which
 * it finds Xen by itself (PVHVM). Each boots once and does all there is to do.
 */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const execute = promisify(execFile);
const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const opsModule = fileURLToPath(new URL('../../guests/count-cr3/prebuilt/count-cr3.o', import.meta.url));

const DOORS = [
  {
    entry: 'pvh',
    said: /^vm: entry pvh: Xen PVH at 0x[0-9a-f]+, found in ELF note XEN_ELFNOTE_PHYS32_ENTRY/m,
    lines: [
      'Booting kernel on Xen PVH',
      'Hypervisor detected: Xen HVM',
      'clocksource: Switched to clocksource xen',
      'ACPI: Using platform specific model for interrupt routing',
    ],
  },
  {
    entry: 'native',
    said: /^vm: entry linux64: Linux boot protocol 2\.\d+, 64-bit entry/m,
    lines: [
      'Booting paravirtualized kernel on Xen HVM',
      'Hypervisor detected: Xen HVM',
      'platform_pci_unplug: Blkfront and the Xen platform PCI driver have been compiled for this kernel',
      'xen:grant_table: Grant tables using version 1 layout',
      'ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A',
    ],
  },
] as const;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const { title, skipped } = await testsOf('debian', "Debian's amd64 kernel under Xen");

describe.skipIf(skipped).each(DOORS)(`${title}, --entry $entry`, ({ entry, said, lines }) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-xen-hvm-'));
  const file = (name: string) => path.join(directory, name);
  const content = randomBytes(300_000);
  let server: Server;
  let session: GuestSession;

  beforeAll(async () => {
    writeFileSync(file('disk.img'), randomBytes(1 << 20));
    mkdirSync(file('shared'));
    writeFileSync(file('shared/file'), content);
    server = createServer((_request, response) => response.end(content)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    session = new GuestSession(
      ...['debian', '--plugin', 'xen', '--entry', entry, '--no-reboot'],
      // For the ops of the guest's kernel: it is no module of the guest's, which takes the first for its initrd.
      ...['--name', `xen-${entry}-${process.pid}`, '--boot-module', opsModule],
      ...['--net', 'nat', '--disk', `${file('disk.img')},overlay`, '--share', `${file('shared')}:src`],
    );
    await reachShell(session);
    await runCommand(session, 'dmesg -n 1');
  });
  afterAll(async () => {
    await session?.stop();
    server?.close();
    rmSync(directory, { recursive: true });
  });
  const output = async (command: string) => (await runCommand(session, command)).output;

  it('finds Xen, and complains about nothing', () => {
    expect(session.stderr).toMatch(said);
    expect(lines.filter((line) => !session.console.includes(line))).toEqual([]);
    expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|segfault|traps:|unchecked MSR/);
    expectOnlyReports(session.stderr);
  });

  it('has the ops module of its boot list in its kernel, and uses it', async () => {
    expect(session.stderr).toMatch(/^vm: ops module count-cr3 1\.0\.0 loaded at boot: \d+ call sites written$/m);
    const list = [vm, 'ops', 'list', `xen-${entry}-${process.pid}`, '--json'];
    const counted = async () => {
      const { stdout } = await execute(process.execPath, list, { timeout: 120_000 });
      const [{ kind, variables }] = JSON.parse(stdout);
      expect(kind).toBe('guestCode');
      return Number(variables.cr3_writes);
    };
    const before = await counted();
    await output('for i in 1 2 3 4; do /bin/busybox true; done');
    expect(await counted()).toBeGreaterThan(before + 4);
  });

  it('runs', async () => {
    expect(await output('uname -a')).toMatch(/^Linux polyvisor \S+-amd64 #1 SMP .*Debian.* x86_64 GNU\/Linux\n$/);
    expect(await output('cat /sys/hypervisor/type /sys/hypervisor/guest_type')).toBe(
      `xen\n${entry === 'pvh' ? 'PVH' : 'HVM'}\n`,
    );
  });

  it('writes to its disk and reads what it wrote', async () => {
    const written = await output(
      'seq 1 50000 >/tmp/numbers; dd if=/tmp/numbers of=/dev/xvda conv=fsync 2>/dev/null; sha256sum </tmp/numbers',
    );
    const numbers = Array.from({ length: 50_000 }, (_, index) => `${index + 1}\n`).join('');
    expect(written).toBe(`${sha256(Buffer.from(numbers))}  -\n`);
    expect(await output(`echo 3 >/proc/sys/vm/drop_caches; head -c ${numbers.length} /dev/xvda | sha256sum`)).toBe(
      written,
    );
  });

  it('downloads over the NAT, and reads a shared folder', async () => {
    const { port } = server.address() as AddressInfo;
    const expected = `${sha256(content)}  -\n`;
    expect(await output(`wget -q -O - http://10.0.2.2:${port}/ | sha256sum`)).toBe(expected);
    await output('mount -t 9p -o trans=xen,version=9p2000.L src /mnt');
    expect(await output('sha256sum </mnt/file')).toBe(expected);
  });

  it('powers off with exit code 0', async () => {
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(stderr).toMatch(/^vm: the guest powered off$/m);
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

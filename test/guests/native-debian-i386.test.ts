/** Debian's stock 32-bit kernels on the PC itself, from the boot protocol's 32-bit entry to poweroff, with devices. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const KERNELS = [
  { guest: 'debian-i386', flavour: '686-pae', paging: 'NX (Execute Disable) protection: active' },
  { guest: 'debian-i386-nopae', flavour: '686', paging: 'non-PAE kernel' },
] as const;

const available = await Promise.all(
  KERNELS.map(async (kernel) => ({ ...kernel, ...(await testsOf(kernel.guest, `Debian's ${kernel.flavour} kernel`)) })),
);
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

for (const { guest, flavour, paging, title, skipped } of available) {
  describe.skipIf(skipped)(title, () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-i386-'));
    const disk = path.join(directory, 'disk.img');
    const download = randomBytes(100_000);
    let server: Server;
    let session: GuestSession;

    beforeAll(async () => {
      writeFileSync(disk, '');
      truncateSync(disk, 1 << 20);
      server = createServer((_request, response) => response.end(download)).listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      session = new GuestSession(guest, '--no-reboot', '--net', 'nat', '--disk', disk);
      await reachShell(session);
      await runCommand(session, 'dmesg -n 1');
    });
    afterAll(async () => {
      await session?.stop();
      server?.close();
      rmSync(directory, { recursive: true });
    });
    const output = async (command: string) => (await runCommand(session, command)).output;

    it('enters at the 32-bit entry of the boot protocol', () => {
      expect(session.stderr).toMatch(
        /^vm: entry linux32: Linux boot protocol 2\.\d+, 32-bit entry at 0x100000, found in setup header code32_start/m,
      );
      expectOnlyReports(session.stderr);
    });

    it('boots on bare hardware and complains about nothing', () => {
      expect(session.console).toContain(paging);
      expect(session.console).toContain('Booting paravirtualized kernel on bare hardware');
      expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|segfault|traps:|unchecked MSR/);
    });

    it('knows what it is: uname -a', async () => {
      expect(await output('uname -a')).toMatch(
        new RegExp(`^Linux polyvisor \\S+-${flavour} #1 SMP .*Debian.* i686 GNU/Linux\\n$`),
      );
    });

    it('reads back from a disk what it wrote', async () => {
      const numbers = Buffer.from(Array.from({ length: 10_000 }, (_, index) => `${index + 1}\n`).join(''));
      await output('seq 1 10000 | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches');
      expect(await output(`head -c ${numbers.length} /dev/vda | sha256sum`)).toBe(`${sha256(numbers)}  -\n`);
      expect(readFileSync(disk).subarray(0, numbers.length).equals(numbers)).toBe(true);
    });

    it('downloads from a server on the host’s loopback', async () => {
      const { port } = server.address() as AddressInfo;
      expect(await output(`wget -q -O - http://10.0.2.2:${port}/ | sha256sum`)).toBe(`${sha256(download)}  -\n`);
    });

    it('powers off through ACPI with exit code 0', async () => {
      session.send('poweroff');
      const { exitCode, stderr } = await session.ended();
      expect(session.console).toContain('reboot: Power down');
      expect(exitCode).toBe(0);
      expectOnlyReports(stderr);
    });
  });
}

/** Debian's stock amd64 kernel from the boot protocol's 16-bit entry: its setup code in real mode asks the BIOS. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand, startNativeDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', "Debian's amd64 kernel from its 16-bit entry");

describe.skipIf(skipped)(title, () => {
  let session: GuestSession;
  beforeAll(async () => {
    session = startNativeDebian('--entry', 'linux16', '--memory', '256M', '--no-reboot');
    await reachShell(session);
  });
  afterAll(() => session?.stop());

  it('enters its setup code', () => {
    expect(session.stderr).toMatch(/^vm: entry linux16: Linux boot protocol 2\.\d+, 16-bit entry \(real mode\)/m);
    expectOnlyReports(session.stderr);
  });

  it('prints through the BIOS, and has its memory map and ACPI tables from there', () => {
    expect(session.console.startsWith('Probing EDD (edd=off to disable)... ok\n')).toBe(true);
    expect(session.console).toContain('BIOS-e820: [mem 0x0000000000100000-0x000000000fffffff] usable');
    expect(session.console).toContain('ACPI: RSDP 0x00000000000E0000');
    expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|segfault|traps:|unchecked MSR/);
  });

  it('comes to a shell, and powers off with exit code 0', async () => {
    const { output } = await runCommand(session, 'uname -a');
    expect(output).toMatch(/^Linux polyvisor \S+-amd64 #1 SMP .*Debian.* x86_64 GNU\/Linux\n$/);
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

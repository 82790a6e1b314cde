/** Debian's stock 686-pae kernel on real page tables under Xen: through PVH, and through the native door (PVHVM). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { DOORS } from './doors.ts';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian-i386', "Debian's 686-pae kernel under Xen");

describe.skipIf(skipped).each([
  ['686-pae PVH', 'PVH', /^vm: entry pvh: Xen PVH at 0x[0-9a-f]+, found in ELF note XEN_ELFNOTE_PHYS32_ENTRY/m],
  ['686-pae PVHVM', 'HVM', /^vm: entry linux32: Linux boot protocol 2\.\d+, 32-bit entry/m],
])(`${title}, %s`, (name, guestType, said) => {
  const door = DOORS[name];
  let session: GuestSession;
  beforeAll(async () => {
    session = new GuestSession(door.guest, ...door.args, '--no-reboot');
    await reachShell(session);
  });
  afterAll(() => session?.stop());

  it('finds Xen, and complains about nothing', () => {
    expect(session.stderr).toMatch(said);
    expect(session.console).toContain(door.says);
    expect(session.console).toContain('Hypervisor detected: Xen HVM');
    expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|segfault|traps:|unchecked MSR/);
    expectOnlyReports(session.stderr);
  });

  it('runs, and powers off with exit code 0', async () => {
    const { output } = await runCommand(session, 'uname -a; cat /sys/hypervisor/guest_type');
    expect(output).toMatch(/^Linux polyvisor \S+-686-pae #1 SMP .*Debian.* i686 GNU\/Linux\n/);
    expect(output.split('\n')[1]).toBe(guestType);
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

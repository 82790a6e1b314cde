/** Debian's kernel reboots, boots again, and then crashes. */
import { afterAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, startDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', "Debian's amd64 kernel ends");

const BANNER = /^\[ +0\.000000\] Linux version /gm;

describe.skipIf(skipped)(title, () => {
  let session: GuestSession;
  afterAll(() => session?.stop());

  it('with a reboot: it boots again', async () => {
    session = startDebian();
    await reachShell(session);
    expect(session.console.match(BANNER)).toHaveLength(1);
    session.send('reboot');
    await session.expect('reboot: Restarting system');
    await reachShell(session);
    expect(session.console.match(BANNER)).toHaveLength(2);
  });

  it('with a crash: its own report, then ours, exit code 4', async () => {
    session.send('echo c >/proc/sysrq-trigger');
    const { exitCode, stderr } = await session.ended();
    expect(session.console).toContain('Kernel panic - not syncing: sysrq triggered crash');
    expect(stderr).toMatch(/^vm: guest crashed: .*SHUTDOWN_crash.*RIP 0xffffffff8[0-9a-f]{7} \(\w+\+0x[0-9a-f]+\)$/m);
    expect(stderr).toMatch(/^vm: {3}called from .*\bpanic\+0x[0-9a-f]+/m);
    expect(stderr.split('\n').length).toBeLessThan(20);
    expectOnlyReports(stderr);
    expect(exitCode).toBe(4);
  });
});

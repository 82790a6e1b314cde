/** The clock of a stock kernel, a static call since Linux 5.13, while operations of plugin xen come and go. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { CLOCK_TOLERANCE_NS, clockDifference } from './clock-readings.ts';
import { reachShell, runCommand, startNativeDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import { COMPLAINTS, type ListedModule, type OpsChange, type OpsReport, ops, startPrograms } from './ops-commands.ts';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const CLOCK = 'time.sched_clock';
const SWAPS = 5;

const { title, skipped } = await testsOf('debian', "the clock of Debian's running kernel");

describe.skipIf(skipped)(title, () => {
  const name = `clock-${process.pid}`;
  let session: GuestSession;
  /** The scheduler's clock less the one by which programs tell the time, when it was read last. */
  let difference: number;
  beforeAll(async () => {
    session = startNativeDebian('--no-reboot', '--name', name, '--cpus', '2');
    await reachShell(session);
    await runCommand(session, 'mkdir -p /sys/kernel/debug && mount -t debugfs none /sys/kernel/debug');
    difference = await clockDifference(session);
  });
  afterAll(async () => {
    await session?.stop();
  });

  /** Since it was read last. */
  async function expectContinuous(): Promise<void> {
    const before = difference;
    difference = await clockDifference(session);
    expect(Math.abs(difference - before)).toBeLessThan(CLOCK_TOLERANCE_NS);
  }
  async function clockOf(...args: string[]) {
    const { staticCalls, strays } = await ops<OpsReport>('report', '--vm', name, ...args);
    expect(strays).toBe(0);
    return staticCalls.find((each) => each.name === CLOCK);
  }

  it("is the kernel's own at first, beside a table of as many slots as ever", async () => {
    const { slots, staticCalls } = await ops<OpsReport>('report', '--vm', name);
    expect(slots).toHaveLength(84);
    expect(staticCalls.map((each) => each.name)).toEqual([CLOCK, 'time.steal_clock']);
    expect(await clockOf()).toMatchObject({ state: 'native', targetName: 'native_sched_clock', convention: 'c' });
    await expectContinuous();
  });

  it("is xen-ops's as long as that is loaded, is called, and goes on where it was", async () => {
    await ops<OpsChange>('load', name, 'xen-ops');
    await expectContinuous();
    expect(await clockOf('--counts')).toMatchObject({ state: 'own', module: 'xen-ops' });
    await startPrograms(session);
    expect((await clockOf('--counts'))?.calls).toBeGreaterThan(1000);
    await ops('report', '--vm', name, '--no-counts');
    await runCommand(session, 'sleep 3');
    await expectContinuous();
    const [{ failed }] = await ops<ListedModule[]>('list', name);
    expect(failed).toEqual([]);
    expect(await ops<OpsChange>('unload', name, 'xen-ops')).toMatchObject({ textIsAsBefore: true });
    expect(await clockOf()).toMatchObject({ state: 'native', targetName: 'native_sched_clock' });
    await expectContinuous();
  });

  it('goes on where it was if it is taken out while the machine is paused', async () => {
    await ops<OpsChange>('load', name, 'xen-ops');
    await startPrograms(session);
    await promisify(execFile)(process.execPath, [vm, 'pause', name]);
    expect(await ops<OpsChange>('unload', name, 'xen-ops')).toMatchObject({ textIsAsBefore: true });
    await promisify(execFile)(process.execPath, [vm, 'resume', name]);
    await expectContinuous();
  });

  it('never steps back in what it stamps, however often it changes', async () => {
    await runCommand(session, 'dmesg -n 1');
    session.send('(while [ ! -e /tmp/stop ]; do echo clock-test >/dev/kmsg; done) & echo started');
    await session.expect('started\n');
    for (let i = 0; i < SWAPS; i++) {
      await ops('load', name, 'xen-ops');
      await ops('unload', name, 'xen-ops');
    }
    session.send('touch /tmp/stop; wait; rm /tmp/stop; echo stop"ped"');
    await session.expect('stopped\n');
    const { output } = await runCommand(session, 'dmesg | grep clock-test | tail -n 2000');
    const stamps = [...output.matchAll(/^\[ *(\d+\.\d{6})\] clock-test$/gm)].map(([, stamp]) => Number(stamp));
    expect(stamps.length).toBeGreaterThan(100);
    expect(stamps).toEqual(stamps.toSorted((a, b) => a - b));
    await expectContinuous();
  });

  it('has lost nothing: no complaint of the kernel', () => {
    expect(session.console).not.toMatch(COMPLAINTS);
  });
});

/** Debian's stock amd64 kernel with two vCPUs, through each door that takes them: both are started, interrupted, given work and stopped. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand, startDebian, startNativeDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import { type OpsChange, type OpsReport, ops, probeModule, underLoad } from './ops-commands.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const countCr3 = fileURLToPath(new URL('../../docs/examples/count-cr3.ts', import.meta.url));

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-vcpus-'));
afterAll(() => rmSync(directory, { recursive: true }));

const { title, skipped } = await testsOf('debian', "Debian's amd64 kernel on two vCPUs");

const LOCAL_TIMER = /^ *LOC: +[1-9]\d* +[1-9]\d* +Local timer interrupts$/m;
const XEN_TIMER = / +0 +[1-9]\d* +xen-percpu +-virq +timer1$/m;
const DOORS = [
  ['native', startNativeDebian, LOCAL_TIMER],
  ['PVHVM', (...args: string[]) => startDebian('--entry', 'native', ...args), XEN_TIMER],
  ['PVH', (...args: string[]) => startDebian('--entry', 'pvh', ...args), XEN_TIMER],
  ['PV', (...args: string[]) => startDebian('--entry', 'pv', ...args), XEN_TIMER],
] as const;

describe.skipIf(skipped).each(DOORS)(`${title}: %s`, (door, start, timers) => {
  const name = `vcpus-${door.toLowerCase()}-${process.pid}`;
  let session: GuestSession;
  beforeAll(async () => {
    session = start('--no-reboot', '--name', name, '--cpus', '2');
    await reachShell(session);
  });
  afterAll(() => session?.stop());

  const output = async (command: string) => (await runCommand(session, command)).output;

  it('brings both up, and complains about nothing', () => {
    expect(session.console).toContain('smp: Brought up 1 node, 2 CPUs');
    expect(session.console).not.toMatch(
      /\bBUG\b|Oops|WARNING:|Call Trace|soft lockup|rcu_\w+ detected stalls|TSC warp/,
    );
  });

  it('counts two cores of one package; to a PV guest each is a package', async () => {
    expect(await output('nproc')).toBe('2\n');
    const wanted = '^(processor|physical id|siblings|core id|cpu cores|initial apicid)';
    const lines = (await output(`grep -E '${wanted}' /proc/cpuinfo`)).trimEnd().split('\n');
    const facts = lines.map((line) => Number(line.replace(/.*: /, '')));
    expect(facts).toEqual(door === 'PV' ? [0, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1] : [0, 0, 2, 0, 2, 0, 1, 0, 2, 1, 2, 1]);
  });

  it('runs a process where it is told to, and both at once', async () => {
    const loop = 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; cut -d" " -f39 /proc/self/stat';
    const both = `for cpu in 0 1; do taskset $((1 << cpu)) sh -c '${loop}' > /tmp/ran$cpu & done; wait`;
    expect(await output(`${both}; cat /tmp/ran0 /tmp/ran1`)).toMatch(/0\n1\n$/);
  });

  it('interrupts both: their timers, and one the other', async () => {
    const interrupts = await output('cat /proc/interrupts');
    expect(interrupts).toMatch(timers);
    expect(interrupts).toMatch(/^ *CAL: +\d+ +[1-9]\d* +Function call interrupts$/m);
    expect(interrupts).toMatch(/^ *(ERR|MIS): +0$/m);
  });

  it.runIf(door === 'native')('takes operations while both work, and gives them back', async () => {
    await underLoad(session, async () => {
      const { sites } = await ops<OpsChange>('load', name, countCr3);
      expect(sites).toBeGreaterThan(0);
      const { slots, strays } = await ops<OpsReport>('report', '--vm', name);
      expect(slots.find((each) => each.name === 'mmu.write_cr3')).toMatchObject({ state: 'own', module: 'count-cr3' });
      expect(strays).toBe(0);
      expect(await ops<OpsChange>('unload', name, 'count-cr3')).toMatchObject({ sites, textIsAsBefore: true });
    });
  });

  const online = '/sys/devices/system/cpu/cpu1/online';
  it('takes one away and brings it back', async () => {
    expect(await output(`echo 0 > ${online}; nproc; echo 1 > ${online}; nproc`)).toMatch(/1\n(.*\n)*2\n$/);
  });

  it.runIf(door === 'native')(
    'takes operations while one is away, and gives them back once it works again',
    async () => {
      const file = probeModule(directory, '1.0.0', `{ 'mmu.write_cr3': () => 'previous' }`);
      const taken = async () => (await ops<OpsReport>('report', '--vm', name)).strays;
      expect(await output(`echo 0 > ${online}; nproc`)).toMatch(/1\n$/);
      const { sites } = await ops<OpsChange>('load', name, file);
      expect([sites > 0, await taken()]).toEqual([true, 0]);
      expect(await output(`echo 1 > ${online}; nproc`)).toMatch(/2\n$/);
      await underLoad(session, async () => {
        // By static keys, the kernel changes code of its own when a processor comes.
        expect(await ops<OpsChange>('unload', name, 'probe')).toMatchObject({ sites });
        expect((await ops<OpsChange>('load', name, file)).sites).toBe(sites);
        expect(await taken()).toBe(0);
        expect(await ops<OpsChange>('unload', name, 'probe')).toMatchObject({ sites, textIsAsBefore: true });
      });
      expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|soft lockup/);
    },
  );

  it('powers off with exit code 0', async () => {
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

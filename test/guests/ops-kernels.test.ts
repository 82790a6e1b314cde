/** Operations in other running kernels than Debian's 6.1 amd64: sites that are alternatives (6.12), and 32-bit code without types. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { GuestSession } from './guest-session.ts';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const prebuilt = (file: string) => fileURLToPath(new URL(`../../guests/${file}`, import.meta.url));
const COMMAND_TIMEOUT_MS = 120_000;

/** What each kernel is asked for. `often`: a slot whose sites had native instructions inlined, called all the time. */
const KERNELS = [
  {
    ...{ guest: 'debian-6.12', slots: 83, leastSites: 4200, listedIn: 'alternatives' },
    ...{ flush: 'mmu.flush_tlb_one_user', often: 'irq.save_fl', rare: 'cpu.write_ldt_entry' },
    ...{ object: prebuilt('count-cr3/prebuilt/count-cr3.o'), counters: ['cr3_writes', 'flag_reads'] },
  },
  {
    ...{ guest: 'debian-i386', slots: 13, leastSites: 265, listedIn: '.parainstructions' },
    ...{ flush: 'flush_tlb_one_user', often: 'queued_spin_unlock', rare: 'flush_tlb_multi' },
    ...{ object: prebuilt('count-flushes/prebuilt/count-flushes.o'), counters: ['flushes', 'unlocks'] },
  },
] as const;

const available = await Promise.all(
  KERNELS.map(async (kernel) => ({ ...kernel, ...(await testsOf(kernel.guest, `operations in ${kernel.guest}`)) })),
);

interface Report {
  readonly sites: number;
  readonly leftOut: number;
  readonly strays: number;
  readonly slots: {
    readonly name: string;
    readonly state: string;
    readonly module?: string;
    readonly convention: string;
    readonly calls?: number;
  }[];
}

for (const { guest, slots, leastSites, listedIn, flush, often, rare, object, counters, title, skipped } of available) {
  describe.skipIf(skipped)(`${title} (${listedIn})`, () => {
    const name = `ops-${guest}-${process.pid}`;
    const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-ops-kernels-'));
    let session: GuestSession;
    beforeAll(async () => {
      session = new GuestSession(guest, '--no-reboot', '--name', name);
      await reachShell(session);
    });
    afterAll(async () => {
      await session?.stop();
      rmSync(directory, { recursive: true });
    });

    const ops = async <T>(...args: string[]): Promise<T> => {
      const options = { timeout: COMMAND_TIMEOUT_MS };
      const { stdout } = await promisify(execFile)(process.execPath, [vm, 'ops', ...args, '--json'], options);
      return JSON.parse(stdout) as T;
    };
    const load = async () => {
      const { output } = await runCommand(session, 'for i in 1 2 3 4; do /bin/busybox true; done; echo ok');
      expect(output).toBe('ok\n');
    };
    const probe = (version: string, answers: string) => {
      const file = path.join(directory, `probe-${version}.mts`);
      const manifest = `name: 'probe', version: '${version}', api: '^1.2', guest: 'linux'`;
      writeFileSync(file, `export default { ${manifest}, ops: ${answers} };\n`);
      return file;
    };

    it('finds slots and sites, and counts calls', async () => {
      const before = await ops<Report>('report', '--vm', name, '--counts');
      expect(before.slots).toHaveLength(slots);
      expect(before.sites + before.leftOut).toBeGreaterThanOrEqual(leastSites);
      await load();
      const report = await ops<Report>('report', '--vm', name, '--counts');
      const slot = (wanted: string) => report.slots.find((each) => each.name === wanted);
      expect(report.strays).toBe(0);
      expect(slot(often)).toMatchObject({ convention: 'calleeSave', state: 'native' });
      expect(slot(often)?.calls).toBeGreaterThan(1000);
      expect(slot(flush)?.calls).toBeGreaterThanOrEqual(4);
      expect(slot(rare)?.calls).toBe(0);
      await ops('report', '--vm', name, '--no-counts');
    });

    it('has one version after the other loaded under load, and its code as before afterwards', async () => {
      const one = probe('1.0.0', `{ '${flush}': () => 'previous', '${often}': () => 'native' }`);
      const two = probe('1.1.0', `{ '${flush}': () => ({ previous: (result) => result }) }`);
      session.send('(while [ ! -e /tmp/stop ]; do /bin/busybox true; done) & sleep 0.1; echo started');
      await session.expect('started\n');
      await ops('load', name, one);
      await ops('load', name, two);
      const { slots: now } = await ops<Report>('report', '--vm', name);
      expect(now.filter(({ module }) => module === 'probe').map((each) => each.name)).toEqual([flush]);
      await ops('unload', name, 'probe');
      session.send('touch /tmp/stop; wait; rm /tmp/stop; echo stop"ped"');
      await session.expect('stopped\n');
      await ops('load', name, one);
      await load();
      expect(await ops('unload', name, 'probe')).toMatchObject({ textIsAsBefore: true });
    });

    it('runs operations in guest code', async () => {
      await ops('load', name, object);
      await load();
      const [module] = await ops<{ failed: string[]; variables: Record<string, string> }[]>('list', name);
      expect(module.failed).toEqual([]);
      for (const counter of counters) expect(Number(module.variables[counter])).toBeGreaterThan(4);
      expect(await ops('unload', name, path.parse(object).name)).toMatchObject({ textIsAsBefore: true });
      await load();
    });

    it.runIf(guest === 'debian-6.12')("leaves out operations of plugin xen's that would avoid nothing", async () => {
      await ops('load', name, 'xen-ops');
      const [{ slots: own, needless }] = await ops<{ slots: string[]; needless: string[] }[]>('list', name);
      expect(needless).toEqual(expect.arrayContaining(['irq.save_fl', 'irq.irq_disable', 'mmu.write_cr3']));
      expect(own).toEqual(expect.arrayContaining(['irq.safe_halt', 'mmu.flush_tlb_kernel']));
      await load();
      expect(await ops('unload', name, 'xen-ops')).toMatchObject({ textIsAsBefore: true });
      await load();
    });

    it('has lost nothing: no complaint of the kernel', () => {
      expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|rcu.*stall|segfault|clocksource.*unstable/);
    });
  });
}

/** Operations in other running kernels than Debian's 6.1 amd64: sites that are alternatives (6.12), and 32-bit code without types. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { CLOCK_TOLERANCE_NS, clockDifference } from './clock-readings.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { faultyModule } from './faulty-module.ts';
import { GuestSession } from './guest-session.ts';
import {
  COMPLAINTS,
  exitsOf,
  type ListedModule,
  type OpsReport,
  ops,
  probeModule,
  refusalOfOps,
  startPrograms,
  underLoad,
} from './ops-commands.ts';

const prebuilt = (file: string) => fileURLToPath(new URL(`../../guests/${file}`, import.meta.url));

/** What each kernel is asked for. `often`: a slot whose sites had native instructions inlined, called all the time. */
const KERNELS = [
  {
    ...{ guest: 'debian-6.12', slots: 83, leastSites: 4200, listedIn: 'alternatives', clockSites: 2 },
    ...{ flush: 'mmu.flush_tlb_one_user', often: 'irq.save_fl', rare: 'cpu.write_ldt_entry' },
    ...{ object: prebuilt('count-cr3/prebuilt/count-cr3.o'), counters: ['cr3_writes', 'flag_reads'], exits: 'asked' },
  },
  {
    ...{ guest: 'debian-i386', slots: 13, leastSites: 265, listedIn: '.parainstructions', clockSites: 1 },
    ...{ flush: 'flush_tlb_one_user', often: 'queued_spin_unlock', rare: 'flush_tlb_multi' },
    ...{ object: prebuilt('count-flushes/prebuilt/count-flushes.o'), counters: ['flushes', 'unlocks'], exits: 'all' },
  },
] as const;

const available = await Promise.all(
  KERNELS.map(async (kernel) => ({ ...kernel, ...(await testsOf(kernel.guest, `operations in ${kernel.guest}`)) })),
);

for (const {
  guest,
  slots,
  leastSites,
  listedIn,
  clockSites,
  flush,
  often,
  rare,
  object,
  counters,
  exits,
  title,
  skipped,
} of available) {
  describe.skipIf(skipped)(`${title} (${listedIn})`, () => {
    const name = `ops-${guest}-${process.pid}`;
    const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-ops-kernels-'));
    let session: GuestSession;
    beforeAll(async () => {
      session = new GuestSession(guest, '--no-reboot', '--name', name, '--exits', exits);
      await reachShell(session);
    });
    afterAll(async () => {
      await session?.stop();
      rmSync(directory, { recursive: true });
    });

    it('finds slots and sites, and counts calls', async () => {
      const before = await ops<OpsReport>('report', '--vm', name, '--counts');
      expect(before.slots).toHaveLength(slots);
      expect(before.sites + before.leftOut).toBeGreaterThanOrEqual(leastSites);
      await startPrograms(session);
      const report = await ops<OpsReport>('report', '--vm', name, '--counts');
      const slot = (wanted: string) => report.slots.find((each) => each.name === wanted);
      expect(report.strays).toBe(0);
      expect(slot(often)).toMatchObject({ convention: 'calleeSave', state: 'native' });
      expect(slot(often)?.calls).toBeGreaterThan(1000);
      expect(slot(flush)?.calls).toBeGreaterThanOrEqual(4);
      expect(slot(rare)?.calls).toBe(0);
      await ops('report', '--vm', name, '--no-counts');
    });

    it('has one version after the other loaded under load, and its code as before afterwards', async () => {
      const one = probeModule(directory, '1.0.0', `{ '${flush}': () => 'previous', '${often}': () => 'native' }`);
      const two = probeModule(directory, '1.1.0', `{ '${flush}': () => ({ previous: (result) => result }) }`);
      await underLoad(session, async () => {
        await ops('load', name, one);
        await ops('load', name, two);
        const { slots: now } = await ops<OpsReport>('report', '--vm', name);
        expect(now.filter(({ module }) => module === 'probe').map((each) => each.name)).toEqual([flush]);
        await ops('unload', name, 'probe');
      });
      await ops('load', name, one);
      await startPrograms(session);
      expect(await ops('unload', name, 'probe')).toMatchObject({ textIsAsBefore: true });
    });

    it('runs operations in guest code', async () => {
      await ops('load', name, object);
      await startPrograms(session);
      const [module] = await ops<ListedModule[]>('list', name);
      expect(module.failed).toEqual([]);
      for (const counter of counters) expect(Number(module.variables[counter])).toBeGreaterThan(4);
      expect(await ops('unload', name, path.parse(object).name)).toMatchObject({ textIsAsBefore: true });
      await startPrograms(session);
    });

    it('contains faults of operations in guest code', async () => {
      const faulty = faultyModule(guest === 'debian-i386' ? 32 : 64, {
        [flush]: 'null_pointer',
        [often]: 'null_pointer',
      });
      const file = path.join(directory, 'faulty.o');
      writeFileSync(file, faulty.file);
      await ops('load', name, file);
      await startPrograms(session);
      const [{ failed }] = await ops<ListedModule[]>('list', name);
      expect(failed.toSorted()).toEqual(faulty.said.map((line) => expect.stringContaining(line)));
      expect(await ops('unload', name, 'fixture')).toMatchObject({ textIsAsBefore: true });
      await startPrograms(session);
    });

    it("has plugin xen's clock, which goes on where the kernel's was, there and back", async () => {
      await runCommand(session, 'mkdir -p /sys/kernel/debug && mount -t debugfs none /sys/kernel/debug');
      const clock = async () => {
        const { staticCalls } = await ops<OpsReport>('report', '--vm', name, '--counts');
        return staticCalls.find((each) => each.name === 'time.sched_clock');
      };
      const native = { state: 'native', targetName: 'native_sched_clock', sites: clockSites };
      expect(await clock()).toMatchObject(native);
      const differences = [await clockDifference(session)];
      await ops('load', name, 'xen-ops');
      differences.push(await clockDifference(session));
      expect(await clock()).toMatchObject({ state: 'own', module: 'xen-ops', sites: clockSites });
      await startPrograms(session);
      expect((await clock())?.calls).toBeGreaterThan(100);
      await ops('report', '--vm', name, '--no-counts');
      differences.push(await clockDifference(session));
      expect(await ops('unload', name, 'xen-ops')).toMatchObject({ textIsAsBefore: true });
      differences.push(await clockDifference(session));
      expect(Math.max(...differences) - Math.min(...differences)).toBeLessThan(CLOCK_TOLERANCE_NS);
      expect((await ops<OpsReport>('report', '--vm', name)).strays).toBe(0);
    });

    it.runIf(guest === 'debian-6.12')("leaves out operations of plugin xen's that would avoid nothing", async () => {
      await ops('load', name, 'xen-ops');
      const [{ slots: own, needless }] = await ops<{ slots: string[]; needless: string[] }[]>('list', name);
      const gainless = ['irq.save_fl', 'irq.safe_halt', 'mmu.write_cr3', 'mmu.set_pte', 'mmu.lazy_mode.enter'];
      expect(needless).toEqual(expect.arrayContaining(gainless));
      expect(own).toEqual(['cpu.io_delay', 'mmu.flush_tlb_kernel', 'mmu.flush_tlb_multi', 'time.sched_clock']);
      await startPrograms(session);
      expect(await ops('unload', name, 'xen-ops')).toMatchObject({ textIsAsBefore: true });
      await startPrograms(session);
    });

    it.runIf(guest === 'debian-i386')("takes plugin xen's operations for the slots that it has", async () => {
      const load = () => startPrograms(session, 16);
      const without = await exitsOf(name, load);
      await ops('load', name, 'xen-ops');
      const [{ slots: own, needless }] = await ops<{ slots: string[]; needless: string[] }[]>('list', name);
      const flushes = ['flush_tlb_global', 'flush_tlb_local', 'flush_tlb_multi', 'flush_tlb_one_user'];
      expect([own.toSorted(), needless]).toEqual([[...flushes, 'io_delay', 'time.sched_clock'], []]);
      const withOps = await exitsOf(name, load);
      expect(without.invlpg).toBeGreaterThan(100);
      expect(withOps).toMatchObject({ invlpg: 0, readCr: expect.any(Number) });
      expect(withOps.hypercall).toBeGreaterThan(100);
      expect(await ops('unload', name, 'xen-ops')).toMatchObject({ textIsAsBefore: true });
      await startPrograms(session);
      const wide = prebuilt('count-cr3/prebuilt/count-cr3.o');
      expect(await refusalOfOps('load', name, wide)).toMatch(
        /^vm: PV5023: .*count-cr3 1\.0\.0 \(irq\.save_fl, mmu\.write_cr3\) is 64-bit code/,
      );
    });

    it('has lost nothing: no complaint of the kernel', () => {
      expect(session.console).not.toMatch(COMPLAINTS);
    });
  });
}

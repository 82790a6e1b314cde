/** Operations in a running stock kernel: `vm ops load`, version after version, under load, and back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, startNativeDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import {
  COMPLAINTS,
  exitsOf,
  type ListedModule,
  type OpsChange,
  type OpsReport,
  ops,
  probeModule,
  refusalOfOps,
  startPrograms,
  underLoad,
} from './ops-commands.ts';

const example = fileURLToPath(new URL('../../docs/examples/count-cr3.ts', import.meta.url));
const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-live-ops-'));
const SWAPS = 5;

const { title, skipped } = await testsOf('debian', "operations in Debian's running kernel");

const moduleFile = (version: string, implementations: string) => probeModule(directory, version, implementations);

describe.skipIf(skipped)(title, () => {
  const name = `live-ops-${process.pid}`;
  let session: GuestSession;
  beforeAll(async () => {
    session = startNativeDebian('--no-reboot', '--name', name, '--exits', 'all');
    await reachShell(session);
  });
  afterAll(async () => {
    await session?.stop();
    rmSync(directory, { recursive: true });
  });
  const load = () => startPrograms(session, 8);

  it('are reported: what each slot has, and how often it is called', async () => {
    // Whoever asks while it is being found waits for that.
    const first = () => ops<OpsReport>('report', '--vm', name);
    expect((await Promise.all([first(), first()])).map(({ strays }) => strays)).toEqual([0, 0]);
    const before = await ops<OpsReport>('report', '--vm', name, '--counts');
    expect(before.slots).toHaveLength(84);
    expect(before.sites + before.leftOut).toBeGreaterThan(3800);
    await load();
    const { slots, strays } = await ops<OpsReport>('report', '--vm', name, '--counts');
    const slot = (wanted: string) => slots.find((each) => each.name === wanted);
    expect(strays).toBe(0);
    expect(slot('mmu.write_cr3')).toMatchObject({ state: 'native', targetName: 'native_write_cr3' });
    expect(slot('mmu.exit_mmap')?.calls).toBeGreaterThanOrEqual(8);
    expect(slot('irq.irq_disable')?.calls).toBeGreaterThan(1000);
    expect(slot('cpu.write_ldt_entry')?.calls).toBe(0);
    await ops('report', '--vm', name, '--no-counts');
  });

  it('the module of the documentation counts writes of CR3', async () => {
    const { sites } = await ops<OpsChange>('load', name, example);
    expect(sites).toBeGreaterThan(0);
    const { slots } = await ops<OpsReport>('report', '--vm', name);
    expect(slots.find((each) => each.name === 'mmu.write_cr3')).toMatchObject({ state: 'own', module: 'count-cr3' });
    await load();
    expect(await ops<OpsChange>('unload', name, 'count-cr3')).toMatchObject({ sites, textIsAsBefore: true });
  });

  it('go from one version to the next and back under load, and leave the code as it was', async () => {
    const one = moduleFile('1.0.0', `{ 'mmu.write_cr3': () => 'previous', 'mmu.read_cr2': () => 'native' }`);
    const two = moduleFile(
      '1.1.0',
      `{ 'mmu.write_cr3': () => 'native', 'irq.save_fl': () => ({ previous: (flags) => flags }),
         'mmu.read_cr2': ({ vcpu }) => vcpu.cr2, 'mmu.exit_mmap': 'nop' }`,
    );
    await underLoad(session, async () => {
      for (let i = 0; i < SWAPS; i++) {
        await ops('load', name, one);
        await ops('load', name, two);
        await ops('load', name, one, '--force');
        await ops('unload', name, 'probe');
      }
    });
    const { strays } = await ops<OpsReport>('report', '--vm', name);
    expect(strays).toBe(0);
    await ops('load', name, two);
    await load();
    expect(await ops<OpsChange>('unload', name, 'probe')).toMatchObject({ textIsAsBefore: true });
  });

  it('one that throws is out of its slot, and the guest goes on', async () => {
    const file = moduleFile('1.2.0', `{ 'mmu.dup_mmap': () => { throw new Error('on purpose'); } }`);
    await ops('load', name, file);
    await load();
    const [module] = await ops<ListedModule[]>('list', name);
    expect(module.failed).toEqual([expect.stringMatching(/^PV5019: .*probe.*mmu\.dup_mmap.*on purpose$/)]);
    await ops('unload', name, 'probe');
  });

  it('those of plug-in xen go in and out again', async () => {
    const without = await exitsOf(name, load);
    const { sites } = await ops<OpsChange>('load', name, 'xen-ops');
    expect(sites).toBeGreaterThan(1000);
    const withOps = await exitsOf(name, load);
    // What the operations are for: these went out, and a hypercall comes for a few of them.
    expect(without.cli + without.sti).toBeGreaterThan(5000);
    expect(withOps.cli + withOps.sti).toBeLessThan((without.cli + without.sti) / 100);
    expect(withOps).toMatchObject({ readCr: 0, writeCr: 0, invlpg: 0 });
    const kinds = ['cli', 'sti', 'readCr', 'writeCr', 'invlpg', 'hlt', 'hypercall', 'native.pushf'];
    const sum = (counts: Record<string, number>) => kinds.reduce((all, kind) => all + (counts[kind] ?? 0), 0);
    expect(sum(withOps)).toBeLessThan(sum(without) / 5);
    const { slots, strays } = await ops<OpsReport>('report', '--vm', name);
    for (const name of ['irq.irq_disable', 'mmu.flush_tlb_user']) {
      expect(slots.find((each) => each.name === name)).toMatchObject({ state: 'own', module: 'xen-ops' });
    }
    expect(strays).toBe(0);
    expect(await ops<OpsChange>('unload', name, 'xen-ops')).toMatchObject({ sites, textIsAsBefore: true });
    await load();
  });

  it('refuses slots that do not exist, and a slot that is taken', async () => {
    const none = moduleFile('2.0.0', `{ 'mmu.nothing': () => 'native' }`);
    expect(await refusalOfOps('load', name, none)).toMatch(/^vm: PV5001: .*mmu\.nothing/);
    await ops('load', name, example);
    const taken = moduleFile('2.0.1', `{ 'mmu.write_cr3': () => 'native' }`);
    expect(await refusalOfOps('load', name, taken)).toMatch(/^vm: PV5024: .*mmu\.write_cr3/);
    await ops('unload', name, 'count-cr3');
  });

  it('has lost nothing: no complaint of the kernel', () => {
    expect(session.console).not.toMatch(COMPLAINTS);
  });
});

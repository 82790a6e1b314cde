/** Plug-ins that come and go while a guest runs, and those that cannot go: the guest runs on them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin, PolyvisorError } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import countExits from '../../docs/examples/count-exits.ts';
import lguest from '../../packages/plugin-lguest-like/src/index.ts';
import vmi from '../../packages/plugin-vmi/src/index.ts';
import xen from '../../packages/plugin-xen/src/index.ts';
import { seen } from './ended.ts';
import { GuestSession } from './guest-session.ts';
import { machineInProcess } from './in-process.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = readFileSync(path.join(root, 'guests/demo/prebuilt/demo32.elf'));
/** More than any of these guests takes. */
const PATIENCE_NS = 300e9;

function refusalOf(act: () => unknown): PolyvisorError | undefined {
  try {
    act();
  } catch (error) {
    return error as PolyvisorError;
  }
  return undefined;
}

type Registry = Awaited<ReturnType<typeof machineInProcess>>['plugins'];
type Machine = Awaited<ReturnType<typeof machineInProcess>>['machine'];

/**
 * The demo guest; `meanwhile` is called between two instructions, once this many have run. Their number is what decides and
 * not what the console shows, since a UART's output comes by slices of the host's time.
 */
async function run(
  plugins: readonly Plugin[],
  entryName: string,
  moments: readonly number[],
  meanwhile: (registry: Registry, machine: Machine) => void,
) {
  const { machine, console, ...guest } = await machineInProcess({
    ...{ name: 'demo32.elf', file, entryName, plugins: plugins.map((plugin) => [plugin] as const) },
    typedFirst: 'time\nops\ntime\npoweroff\n',
  });
  const calls: Promise<unknown>[] = [];
  for (const moment of moments) {
    const attempt = () => {
      if (Number(machine.stats().instructions) < moment) return undefined;
      meanwhile(guest.plugins, machine);
      return true;
    };
    calls.push(machine.attempt(attempt, PATIENCE_NS));
  }
  const { reason } = await machine.run();
  expect(await Promise.all(calls)).toEqual(moments.map(() => true));
  return { ...seen({ machine, reason }), output: console.output };
}

interface Guest {
  readonly what: string;
  readonly entryName: string;
  readonly plugins: readonly Plugin[];
  /** What is said of the last of the plug-ins. */
  readonly inUse: RegExp;
}

// biome-ignore format: a table
const GUESTS: readonly Guest[] = [
  { what: 'a Xen PV domain', entryName: 'pv', plugins: [lguest, xen], inUse: /^its door pv \(Xen PV 32-bit.*\), .*its code before exits, .*its boot of the image, shared_info at 0x\w+, \d+ event channels$/ },
  { what: 'a PVH domain', entryName: 'pvh', plugins: [xen], inUse: /^its door pvh \(Xen PVH\), .*its boot of the image, shared_info at 0x\w+, hypercall page at 0x\w+, [1-9]\d* event channels$/ },
  { what: 'an lguest', entryName: 'lguest', plugins: [xen, lguest], inUse: /^its door lguest \(lguest.*\), .*its boot of the image, .*lguest_data at 0x\w+$/ },
  { what: 'a guest with a VMI ROM', entryName: 'multiboot1', plugins: [vmi], inUse: /^its code before exits, its boot descriptor, ROM at 0xc8000$/ },
];

/** After the guest's greeting, which comes at least 105,000 instructions before its end, and near its last command. */
const momentsOf = (atEnd: number): readonly number[] => [atEnd - 100_000, atEnd - 10_000];

describe.each(GUESTS)('$what', ({ entryName, plugins, inUse }) => {
  const owner = plugins.at(-1)?.name ?? '';
  const others = plugins.slice(0, -1).map(({ name }) => name);

  it('keeps its plug-in, lets go of one that it does not use, and is the same with and without one that counts', async () => {
    const alone = await run(plugins, entryName, [], () => {});
    expect(alone.output).toMatch(/bye\r?\n$/);
    const counted: string[] = [];
    const refusals: (PolyvisorError | undefined)[] = [];
    const leaves: boolean[] = [];
    const watched = await run(plugins, entryName, momentsOf(Number(alone.instructions)), (registry, machine) => {
      refusals.push(refusalOf(() => registry.unload(owner)));
      const before = machine.leaves('cli');
      if (counted.length === 0) {
        for (const name of others) registry.unload(name);
        registry.load(countExits, { where: 'docs/examples/count-exits.ts' });
        counted.push('loaded');
      } else {
        counted.push(...registry.counters().flatMap(({ plugin, name }) => (plugin === countExits.name ? [name] : [])));
        registry.unload(countExits.name);
        expect(registry.plugins.map(({ name }) => name)).toEqual([owner]);
      }
      leaves.push(before, machine.leaves('cli'));
    });
    expect(watched).toEqual(alone);
    expect(counted).toContain('entries');
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({ code: 'PV1019', fix: 'end the guest, and start it without the plug-in' });
      const said = `plug-in ${owner} is in use by guest demo32.elf: `;
      expect(refusal?.message.startsWith(said)).toBe(true);
      expect(refusal?.message.slice(said.length)).toMatch(inUse);
    }
    // Tapped meanwhile, so that each leaves guest code, and then as before.
    expect([leaves[1], leaves[2], leaves[3]]).toEqual([true, true, leaves[0]]);
  });
});

it('in the middle of a hypercall nothing is removed', async () => {
  const refusals: (PolyvisorError | undefined)[] = [];
  const { machine, plugins } = await machineInProcess({
    ...{ name: 'demo32.elf', file, entryName: 'pv', plugins: [[xen], [countExits]], typedFirst: 'poweroff\n' },
  });
  plugins.onTrace('hypercalls', () => refusals.push(refusalOf(() => plugins.unload(countExits.name))));
  expect((await machine.run()).reason).toEqual({ kind: 'poweroff' });
  expect(new Set(refusals.map((refusal) => refusal?.code))).toEqual(new Set(['PV1022']));
  expect(plugins.plugins).toHaveLength(2);
});

describe('vm plugin', () => {
  const vm = path.join(root, 'packages/cli/bin/vm.mjs');
  const name = `plugins-${process.pid}`;
  const plugin = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [vm, 'plugin', ...args], {
      cwd: root,
      encoding: 'utf8',
    });
    return { status, stdout, stderr };
  };
  const counters = (): string => execFileSync(process.execPath, [vm, 'stats', name], { encoding: 'utf8' });

  it('with the demo guest under xen: refused by name, and it runs on', async () => {
    const session = new GuestSession('demo', '--plugin', 'xen', '--name', name);
    try {
      await session.expect('demo> ');
      const refused = plugin('unload', name, 'xen');
      expect(refused).toMatchObject({ status: 10, stdout: '' });
      expect(refused.stderr).toMatch(
        /^vm: PV1019: \S+: plug-in xen is in use by guest demo\.elf: its door pv \(Xen PV 64-bit\), .*: end the guest\b.*\n$/,
      );
      expect(plugin('load', name, 'docs/examples/count-exits.ts').stdout).toMatch(
        /^count-exits 1\.0\.0 loaded from \S+\n$/,
      );
      expect(plugin('list', name).stdout).toMatch(/^xen .* yes\ncount-exits .* no\n/m);
      session.send('time');
      await session.expect('demo> ');
      expect(counters()).toMatch(/^count-exits\.entries +[1-9]\d*$/m);
      expect(plugin('unload', name, 'count-exits')).toEqual({
        status: 0,
        stdout: 'count-exits 1.0.0 unloaded\n',
        stderr: '',
      });
      expect(counters()).not.toMatch(/count-exits/);
      session.send('who');
      expect(await session.expect('demo> ')).toContain('hypervisor xen, ABI 4.17, guest type pv64');
      session.send('poweroff');
      expect((await session.ended()).exitCode).toBe(0);
    } finally {
      await session.stop();
    }
  });
});

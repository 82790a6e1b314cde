/** Starts `guests/vmi` on a whole PC with the plug-in and a ROM, through the 32-bit entry of its bzImage. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Machine } from '../../packages/core/src/machine/machine.ts';
import type { MachineOptions, RunEnd } from '../../packages/core/src/machine/options.ts';
import { PluginRegistry } from '../../packages/core/src/plugin/index.ts';
import { vmiPlugin } from '../../packages/plugin-vmi/src/index.ts';
import xen from '../../packages/plugin-xen/src/index.ts';
import { FakeConsole } from '../../packages/testkit/src/index.ts';

const IMAGE_PATH = path.join(import.meta.dirname, '../../guests/vmi/prebuilt/vmi.bzimage');
const MEMORY_BYTES = 16 << 20;
const TIME_LIMIT_NS = 2_000_000_000;
const image = readFileSync(IMAGE_PATH);

export interface VmiRun {
  readonly printed: string;
  readonly end: RunEnd;
  /** The plug-in's counters. */
  readonly counters: ReadonlyMap<string, number>;
  /** VMCALLs that left guest code. */
  readonly traps: number;
}

/** Run the guest with the ROM that `rom` names; `files` are those that it may name. */
export async function runVmiGuest(
  rom: string,
  files: ReadonlyMap<string, Uint8Array> = new Map(),
  options: Partial<MachineOptions> = {},
): Promise<VmiRun> {
  const registry = new PluginRegistry({
    files: {
      readFile(name) {
        const bytes = files.get(name);
        if (!bytes) throw new Error('no such file');
        return bytes;
      },
    },
  });
  if (rom === 'xen') registry.load(xen, { where: 'xen', options: {} });
  registry.load(vmiPlugin, { where: 'vmi', options: { rom } });
  const console = new FakeConsole();
  const machine = await Machine.create({
    image: { name: 'vmi', description: 'test', format: 'bzimage', file: image },
    entryName: 'linux32',
    commandLine: '',
    memoryBytes: MEMORY_BYTES,
    clockKind: 'icount',
    console,
    plugins: registry,
    wallClock: { nowNs: () => performance.now() * 1e6, epochNs: () => 1_000_000_000n },
    idle: () => new Promise(setImmediate),
    ...options,
  });
  machine.clock.at(TIME_LIMIT_NS, () => machine.stop());
  const end = await machine.run();
  const counters = new Map(registry.counters().map(({ name, count }) => [name, count]));
  return { printed: console.output, end, counters, traps: Number(machine.stats()['exit.hypercall'] ?? 0) };
}

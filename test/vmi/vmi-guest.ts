/** Starts `guests/vmi` on a whole PC with the plug-in and a ROM, at the 32-bit entry. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Machine, type MachineOptions, type RunEnd } from '../../packages/core/src/machine/machine.ts';
import { PluginRegistry } from '../../packages/core/src/plugin/index.ts';
import { Gpr, type Plugin, type Machine as PluginMachine } from '../../packages/plugin-api/src/index.ts';
import { vmiPlugin } from '../../packages/plugin-vmi/src/index.ts';
import { FakeConsole } from '../../packages/testkit/src/index.ts';

const IMAGE_PATH = path.join(import.meta.dirname, '../../guests/vmi/prebuilt/vmi.bzimage');
const MEMORY_BYTES = 16 << 20;
const TIME_LIMIT_NS = 2_000_000_000;
const image = readFileSync(IMAGE_PATH);
/** Boot sector and one sector of setup; the code behind them wants to be at 1 MiB. */
const SETUP_BYTES = 1024;
const CODE_AT = 0x100000;
const ZERO_PAGE_AT = 0x90000;
const COMMAND_LINE_AT = 0x91000;
const COMMAND_LINE_POINTER = 0x228;

/** A door of the PC's own, as the plug-in sees it: the plug-in that offers it has the name of the core's. */
const door: Plugin = {
  name: 'core',
  version: '1.0.0',
  api: '^1.0',
  apply(host) {
    const where = { address: BigInt(CODE_AT), foundIn: 'test', plugin: 'core', priority: 1 };
    const entry = { name: 'test32', abi: '32-bit entry', ...where };
    host.hooks.findEntries.tap('core', () => ({ entries: [entry], missing: [] }));
    host.hooks.boot.tap('core', (request, machine) => {
      place(machine, request.commandLine);
      return true;
    });
  },
};

/** 32-bit protected mode with flat segments and no interrupts, zero page in ESI (Linux, Documentation/arch/x86/boot.rst). */
function place({ memory, vcpus: [vcpu] }: PluginMachine, commandLine: string): void {
  memory.writeBytes(CODE_AT, image.subarray(SETUP_BYTES));
  memory.writeBytes(COMMAND_LINE_AT, new TextEncoder().encode(`${commandLine}\0`));
  memory.write32(ZERO_PAGE_AT + COMMAND_LINE_POINTER, COMMAND_LINE_AT);
  vcpu.cr0 = 0x11n;
  const flat = { base: 0n, limit: 0xffffffff };
  for (const index of [0, 2, 3, 4, 5]) vcpu.setSegment(index, { ...flat, selector: 0x18, accessRights: 0xc093 });
  vcpu.setSegment(1, { ...flat, selector: 0x10, accessRights: 0xc09b });
  vcpu.gpr[Gpr.RSI] = BigInt(ZERO_PAGE_AT);
  vcpu.rip = BigInt(CODE_AT);
}

export interface VmiRun {
  readonly printed: string;
  readonly end: RunEnd;
  /** The plug-in's counters. */
  readonly counters: ReadonlyMap<string, number>;
  /** Its log lines. */
  readonly logged: readonly string[];
}

/** Run the guest with the ROM that `rom` names; `files` are those that it may name. */
export async function runVmiGuest(
  rom: string,
  files: ReadonlyMap<string, Uint8Array> = new Map(),
  options: Partial<MachineOptions> = {},
): Promise<VmiRun> {
  const logged: string[] = [];
  const registry = new PluginRegistry({
    log: (level, _plugin, message) => logged.push(`${level}: ${message}`),
    files: {
      readFile(name) {
        const bytes = files.get(name);
        if (!bytes) throw new Error('no such file');
        return bytes;
      },
    },
  });
  registry.load(vmiPlugin, { where: 'vmi', options: { rom } });
  registry.load(door, { where: 'test' });
  const console = new FakeConsole();
  const machine = await Machine.create({
    image: { name: 'vmi', description: 'test', format: 'unknown', file: image },
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
  return { printed: console.output, end, counters, logged };
}

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Machine } from '../../packages/core/src/machine/machine.ts';
import type { MachineOptions } from '../../packages/core/src/machine/options.ts';
import { PluginRegistry } from '../../packages/core/src/plugin/index.ts';
import type { PluginHost, Machine as PluginMachine } from '../../packages/plugin-api/src/index.ts';
import { FakeConsole } from '../../packages/testkit/src/index.ts';

const PREBUILT = path.join(import.meta.dirname, '../../guests/legacy/prebuilt');
export const IMAGE_PATH = path.join(PREBUILT, 'legacy.bin');
export const EXPECTED_PATH = path.join(PREBUILT, 'legacy.txt');

/** Where the image prints, and where it ends. */
const DEBUG_PORT = 0xe9;
const EXIT_PORT = 0xf4;
/** Multiboot: the image's place, the entry address in its header, EAX at the start (Multiboot 0.6.96, 3.1 and 3.2). */
const LOAD_ADDRESS = 0x100000;
const ENTRY_FIELD = 28;
const MULTIBOOT_MAGIC = 0x2badb002n;
const MEMORY_BYTES = 16 << 20;
const TURN_LIMIT = 4_000_000;

/** Run the image on the engine; answers what it printed. */
export async function runOnEngine(options: Partial<MachineOptions> = {}): Promise<string> {
  const image = readFileSync(IMAGE_PATH);
  let printed = '';
  let machine: Machine | undefined;
  const registry = new PluginRegistry();
  registry.load(
    {
      name: 'multiboot',
      version: '1.0.0',
      api: '^1.0',
      apply(host: PluginHost) {
        host.hooks.findEntries.tap('multiboot', () => ({
          entries: [{ name: 'multiboot', abi: 'test', address: 0n, foundIn: 'test', plugin: 'multiboot', priority: 1 }],
          missing: [],
        }));
        host.hooks.boot.tap('multiboot', (_request, booted) => {
          place(booted, image);
          return true;
        });
        host.hooks.exit.for('io').tap('multiboot', (vcpu, exit) => {
          if (exit.kind !== 'io' || exit.direction !== 'out') return 'pass';
          if (exit.port === DEBUG_PORT) printed += String.fromCharCode(Number(vcpu.gpr[0] & 0xffn));
          if (exit.port === EXIT_PORT) machine?.shutdown({ kind: 'poweroff' });
          return 'pass';
        });
        host.hooks.shutdown.tap('multiboot', (reason) => {
          if (reason.kind !== 'poweroff') printed += `${reason.kind}: ${JSON.stringify(reason)}\n`;
        });
      },
    },
    { where: 'test' },
  );
  machine = await Machine.create({
    image: { name: 'legacy', description: 'multiboot', format: 'unknown', file: image },
    commandLine: '',
    memoryBytes: MEMORY_BYTES,
    clockKind: 'icount',
    console: new FakeConsole(),
    plugins: registry,
    wallClock: { nowNs: () => performance.now() * 1e6, epochNs: () => 0n },
    idle: () => new Promise(setImmediate),
    ...options,
  });
  machine.clock.at(TURN_LIMIT, () => machine.stop());
  await machine.run();
  return printed;
}

/** 32-bit protected mode with flat segments and no interrupts, as multiboot starts an image. */
function place(machine: PluginMachine, image: Uint8Array): void {
  machine.memory.writeBytes(LOAD_ADDRESS, image);
  const [vcpu] = machine.vcpus;
  vcpu.cr0 = 0x11n;
  for (const index of [0, 2, 3, 4, 5])
    vcpu.setSegment(index, { selector: 0x10, base: 0n, limit: 0xffffffff, accessRights: 0xc093 });
  vcpu.setSegment(1, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xc09b });
  vcpu.rip = BigInt(new DataView(image.buffer, image.byteOffset).getUint32(ENTRY_FIELD, true));
  vcpu.gpr[0] = MULTIBOOT_MAGIC;
}

/** Kernels of a few bytes, and a machine on which guests/ops-boot starts them. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { nodeDecompressor } from '../../packages/cli/src/node/decompress/index.ts';
import {
  GuestRegistrations,
  type HandedOver,
  Machine,
  PluginRegistry,
  recogniseImage,
} from '../../packages/core/src/index.ts';
import type { BootModule, ElfImage } from '../../packages/plugin-api/src/index.ts';
import { FakeConsole } from '../../packages/testkit/src/index.ts';

const IMAGE_PATH = path.join(import.meta.dirname, '../../guests/ops-boot/prebuilt/ops-boot.elf');
export const opsBoot = readFileSync(IMAGE_PATH);
const TIME_LIMIT_NS = 1_000_000_000;
const MIB = 1 << 20;
const SECTOR = 512;

/** What setup headers say (Linux, Documentation/arch/x86/boot.rst), by name. */
export interface KernelOptions {
  readonly version?: number;
  readonly loadflags?: number;
  readonly syssizeBytes?: number;
  readonly setupSects?: number;
  readonly prefAddress?: number;
  readonly initSizeBytes?: number;
  readonly alignment?: number;
  readonly relocatable?: boolean;
  readonly code32Start?: number;
  readonly initrdAddressMax?: number;
  readonly commandLineBytes?: number;
  /** Of the protected-mode code. */
  readonly codeBytes?: number;
}

/** `mov dx, 0x604; mov ax, 0x3400; out dx, ax`: ACPI's S5. */
const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef];

/** A bzImage that powers off; the rest of its code is a pattern by which it can be told whether it was moved as a whole. */
export function bzImage(options: KernelOptions = {}): Uint8Array {
  const { setupSects = 1, codeBytes = 4096 } = options;
  const codeAt = (setupSects + 1) * SECTOR;
  const file = new Uint8Array(codeAt + codeBytes);
  const view = new DataView(file.buffer);
  file[0x1f1] = setupSects;
  view.setUint32(0x1f4, Math.ceil((options.syssizeBytes ?? codeBytes) / 16), true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, options.version ?? 0x20f, true);
  file[0x211] = options.loadflags ?? 1;
  view.setUint32(0x214, options.code32Start ?? MIB, true);
  view.setUint32(0x22c, options.initrdAddressMax ?? 0x7fffffff, true);
  view.setUint32(0x230, options.alignment ?? 0x200000, true);
  file[0x234] = options.relocatable === false ? 0 : 1;
  view.setUint32(0x238, options.commandLineBytes ?? 2047, true);
  view.setBigUint64(0x258, BigInt(options.prefAddress ?? 2 * MIB), true);
  view.setUint32(0x260, options.initSizeBytes ?? MIB, true);
  for (let i = 0; i < codeBytes; i++) file[codeAt + i] = (i * 7 + (i >> 8)) & 0xff;
  file.set(POWER_OFF, codeAt);
  return file;
}
export const codeOf = (file: Uint8Array) => file.subarray((file[0x1f1] + 1) * SECTOR);

export interface Given {
  readonly kind: HandedOver;
  readonly bytes: Uint8Array;
}

interface BootOptions {
  readonly door?: 'multiboot1' | 'multiboot2';
  readonly memoryBytes?: number;
  /** Takes what is handed over. `null`: the machine has no such calls. */
  readonly handOver?: ((given: Given) => Promise<void>) | null;
  /** Before the first instruction. */
  readonly prepare?: (machine: Machine) => void;
}

/** Boots `guests/ops-boot` with these modules until its kernel powers off, or nothing more happens. */
export async function boot(modules: readonly BootModule[], options: BootOptions = {}) {
  const { door = 'multiboot2', memoryBytes = 32 * MIB, handOver = async () => {} } = options;
  const console = new FakeConsole();
  const given: Given[] = [];
  const machine = await Machine.create({
    image: await recogniseImage(opsBoot, 'ops-boot.elf', nodeDecompressor),
    ...{ entryName: door, commandLine: '', bootModules: modules, memoryBytes, clockKind: 'icount', console },
    plugins: new PluginRegistry(),
    wallClock: { nowNs: () => 0, epochNs: () => 1_700_000_000_000_000_000n },
    idle: () => new Promise(setImmediate),
  });
  if (handOver) {
    new GuestRegistrations(machine, {
      live: () => undefined,
      report: () => {},
      handOver: async (kind, bytes) => {
        given.push({ kind, bytes });
        await handOver({ kind, bytes });
      },
    });
  }
  options.prepare?.(machine);
  machine.clock.at(TIME_LIMIT_NS, () => machine.stop());
  const end = await machine.run();
  return { machine, end, given, said: console.output.replaceAll('\r', '') };
}

export const module = (bytes: Uint8Array | string, commandLine = ''): BootModule => ({
  bytes: typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes,
  commandLine,
});

/** A kernel of the fixtures of packages/core/src/pvops/testing as a file: ELF64 with sections alone (gABI 4.1, chapter 4). */
export function elfFile({ sections, bytes }: ElfImage): Uint8Array {
  const [headerBytes, rowBytes] = [64, 64];
  const names = ['', ...sections.map(({ name }) => name), '.shstrtab'];
  const text = new TextEncoder().encode(names.map((name) => `${name}\0`).join(''));
  const tableAt = headerBytes + bytes.length + text.length;
  const file = new Uint8Array(tableAt + names.length * rowBytes);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setBigUint64(40, BigInt(tableAt), true);
  [64, 56, 0, rowBytes, names.length, names.length - 1].forEach((value, i) => view.setUint16(52 + 2 * i, value, true));
  file.set(bytes, headerBytes);
  file.set(text, headerBytes + bytes.length);
  let nameAt = 1;
  const rows = [
    ...sections,
    { name: '.shstrtab', type: 3, flags: 0n, address: 0n, offset: bytes.length, sizeBytes: text.length },
  ];
  for (const [i, { name, type, flags, address, offset, sizeBytes }] of rows.entries()) {
    const at = tableAt + (i + 1) * rowBytes;
    view.setUint32(at, nameAt, true);
    view.setUint32(at + 4, type, true);
    [flags, address, BigInt(headerBytes + offset), BigInt(sizeBytes)].forEach((value, word) =>
      view.setBigUint64(at + 8 + 8 * word, value, true),
    );
    // The symbols' names are in the section behind them.
    if (type === 2) view.setUint32(at + 40, i + 2, true);
    nameAt += name.length + 1;
  }
  return file;
}

/** For tests: a bzImage around a few bytes of code, started through the door `native`. */
import { FakeConsole } from '@polyvisor/testkit';
import { hex } from '../../engine/testing/test-bench.ts';
import { PluginRegistry } from '../../plugin/index.ts';
import { Machine } from '../machine.ts';
import type { MachineOptions, RunEnd } from '../options.ts';
import { machineOptions } from './test-guest.ts';

const LOAD_ADDRESS = 0x200000;
/** Where the code given to {@link runNative} stands. */
export const NATIVE_CODE = LOAD_ADDRESS + 0x200;
const IDT = 0x20000;
const HANDLERS = 0x30000;
/** `mov dx, 0x604; mov ax, 0x3400; out dx, ax`: ACPI's S5. */
export const POWER_OFF = '66ba0406 66b80034 66ef';

function bzImage(code: string): Uint8Array {
  const file = new Uint8Array(1024 + 0x1000);
  const view = new DataView(file.buffer);
  file[0x1f1] = 1; // setup_sects
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  file.set(new TextEncoder().encode('HdrS'), 0x202);
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x22c, 0x7fffffff, true); // initrd_addr_max
  view.setUint16(0x236, 1, true); // xloadflags: XLF_KERNEL_64
  view.setUint32(0x238, 255, true); // cmdline_size
  view.setBigUint64(0x258, BigInt(LOAD_ADDRESS), true);
  view.setUint32(0x260, 0x10000, true); // init_size
  file.set(hex(code), 1024 + 0x200);
  return file;
}

export interface NativeRun {
  readonly end: RunEnd;
  readonly machine: Machine;
  readonly console: FakeConsole;
  readonly gpr: BigUint64Array;
}

/**
 * Run code in 64-bit mode at CPL 0 on the whole PC until it ends the machine. `handlers`: interrupt handlers by vector;
 * `prepare`: after everything is in place.
 */
export async function runNative(
  code: string,
  handlers: Readonly<Record<number, string>> = {},
  options: (machine: () => Machine) => Partial<MachineOptions> = () => ({}),
  prepare: (machine: Machine) => void = () => {},
): Promise<NativeRun> {
  const image = { name: 'native', description: 'code', format: 'bzimage' as const, file: bzImage(code) };
  const console = new FakeConsole();
  const registry = new PluginRegistry();
  const others = options(() => machine);
  const all = machineOptions(registry, { image, console, memoryBytes: 4 << 20, ...others });
  const machine: Machine = await Machine.create(all);
  const { memory, vcpus } = machine;
  for (const [key, handler] of Object.entries(handlers)) {
    const vector = Number(key);
    const at = HANDLERS + vector * 64;
    memory.writeBytes(at, hex(handler));
    // A 64-bit interrupt gate to __BOOT_CS.
    memory.write64(IDT + vector * 16, 0x00008e0000100000n | (BigInt(at & 0xffff) | (BigInt(at >> 16) << 48n)));
  }
  vcpus[0].tables.idtr.base = BigInt(IDT);
  vcpus[0].tables.idtr.limit = 0xfff;
  prepare(machine);
  const end = await machine.run();
  return { end, machine, console, gpr: vcpus[0].gpr };
}

/** A small kernel with a paravirt table, and a machine that has it in memory as if it had booted. */
import type { ElfImage } from '@polyvisor/plugin-api';
import type { Machine } from '../../machine/index.ts';
import { LiveOps } from '../live-ops.ts';
import { BASES, buildKernel, DATA, type KernelOptions } from './kernel-fixture.ts';

export const RET = [0xc3];
/** Where the kernel lies in guest-physical memory, and by how much it has moved from where it is linked. */
export const KERNEL_AT = 0x400000;
export const SLIDE = 0x400000n;
const TABLES = 0x1c0000;
const LARGE = 0x83n;
const TABLE = 3n;
const WRITABLE = 2n;
/** The kernel's entry in its page directory. */
const FIRST = Number(((BASES[64] + SLIDE) >> 21n) & 511n);

export const SITE = { halt: 0x40, value: 0x60, crossing: 0x80 } as const;
/** Offset of the function that patches calls: what the tracer leaves, and an instruction. */
export const PATCHING = 0x200;
/** Slots: `halt` adds 1 to RBX; `value` returns 2 RDI. */
export const kernelOptions: KernelOptions = {
  slots: [0x300, 0x310],
  code: {
    [PATCHING]: [0x0f, 0x1f, 0x44, 0x00, 0x00, 0x48, 0xff, 0xc3, ...RET],
    768: [0x48, 0xff, 0xc3, ...RET],
    784: [0x48, 0x8d, 0x04, 0x3f, ...RET],
    [SITE.halt + 6]: RET,
    [SITE.value + 6]: RET,
    [SITE.crossing + 6]: RET,
  },
  parainstructions: [
    { at: SITE.halt, slot: 0 },
    { at: SITE.value, slot: 1 },
    { at: SITE.crossing, slot: 1 },
  ],
  // After the table: the banner, and preempt_dynamic_mode, none.
  after: [0x00_00_78_75_6e_69_4cn, 0n],
  symbols: {
    _stext: 0n,
    _etext: 0x400n,
    _end: 0x40000n,
    alternative_instructions: BigInt(PATCHING),
    native_halt: 0x300n,
    native_value: 0x310n,
    pv_ops: DATA,
    linux_banner: DATA + 16n,
    preempt_dynamic_mode: DATA + 24n,
    asm_exc_page_fault: 0x3f0n,
  },
};
export const kernel = buildKernel(kernelOptions);

/** The kernel in memory as it would be: mapped where it has moved to, pointers relocated, entered by the IDT. */
export function placeKernel(machine: Machine, file: ElfImage = kernel): void {
  const { memory, vcpus } = machine;
  for (const { address, offset, sizeBytes, flags } of file.sections) {
    if (flags === 0n) continue;
    const gpa = KERNEL_AT + Number(address - BASES[64]);
    memory.writeBytes(gpa, file.bytes.subarray(offset, offset + sizeBytes));
  }
  for (const slot of [0, 1]) {
    const at = KERNEL_AT + Number(DATA) + slot * 8;
    memory.write64(at, memory.read64(at) + SLIDE);
  }
  const keys = file.section('.keys');
  for (let at = 0; keys && at < keys.sizeBytes; at += 16) {
    const gpa = KERNEL_AT + Number(keys.address - BASES[64]) + at;
    memory.write64(gpa, memory.read64(gpa) + SLIDE);
  }
  const [pml4, low, lowDirectory, high, highDirectory] = [0, 1, 2, 3, 4].map((page) => TABLES + page * 0x1000);
  memory.fill(TABLES, 5 * 0x1000, 0);
  memory.write64(pml4, BigInt(low) | TABLE);
  memory.write64(low, BigInt(lowDirectory) | TABLE);
  for (const page of [0, 1]) memory.write64(lowDirectory + page * 8, (BigInt(page) << 21n) | LARGE);
  memory.write64(pml4 + 511 * 8, BigInt(high) | TABLE);
  memory.write64(high + 510 * 8, BigInt(highDirectory) | TABLE);
  memory.write64(highDirectory + FIRST * 8, BigInt(KERNEL_AT) | LARGE);
  const [vcpu] = vcpus;
  vcpu.cr3 = BigInt(pml4);
  const gate = BigInt(vcpu.tables.idtr.base) + 14n * 16n;
  const handler = BASES[64] + SLIDE + 0x3f0n;
  const words = [(handler & 0xffffn) | 0x8e0000100000n | (((handler >> 16n) & 0xffffn) << 48n), handler >> 32n];
  words.forEach((word, i) => memory.write64(Number(gate) + i * 8, word));
}

export function makeReadOnly({ memory, vcpus }: Machine): void {
  memory.write64(TABLES + 4 * 0x1000 + FIRST * 8, BigInt(KERNEL_AT) | (LARGE & ~WRITABLE));
  vcpus[0].flushTlb();
}

/** Where something of the kernel is now. */
export const gvaOf = (offset: bigint | number) => BASES[64] + SLIDE + BigInt(offset);

/** While a program runs: by that a kernel is known to have booted that has no types. */
export function attachTo(
  machine: Machine,
  kernel: ElfImage,
  report: (message: string) => void = () => {},
  nowNs: () => number = () => 0,
): LiveOps | undefined {
  const [vcpu] = machine.vcpus;
  vcpu.cpl = 3;
  try {
    return LiveOps.attach(machine, kernel, { nowNs, cpuNs: () => 0, report });
  } finally {
    vcpu.cpl = 0;
  }
}

const le64 = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.toString('hex');
};
/** `mov rax, gva; call rax`. */
export const callTo = (gva: bigint) => `48b8${le64(gva)}ffd0`;
/** `mov rdi, value`. */
export const rdi = (value: bigint) => `48bf${le64(value)}`;

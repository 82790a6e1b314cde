/**
 * Instructions that TypeScript carries out: the engine leaves guest code with RIP at the
 * instruction and the decoded record at hand. Order is the number in EXIT_DETAIL.
 *
 * What stands in the ARG slots, all as i64:
 * - softwareInterrupt: vector
 * - in, out: port, size in bytes
 * - ins, outs: port, size in bytes, address width in bits, segment register index, 1 with REP
 * - sysret, sysexit, iret: operand width in bits
 * - farReturn: operand width in bits, bytes to release
 * - farJump, farCall: selector, offset, operand width in bits
 * - readCr, readDr: register number, GPR index; writeCr, writeDr: register number, GPR index, value
 * - lmsw: value; lgdt, lidt: limit, base; lldt, ltr: selector; invlpg: linear address
 * - invpcid: type, low and high half of the descriptor
 * - loadSegment: segment register index, selector
 * - popSegment: segment register index, operand width in bits; the stack has not been read yet
 * - popf, pushf: operand width in bits; the stack has not been read or written yet
 * - loadFarPointer (LDS, LES, LSS, LFS, LGS): segment register index, selector, offset, GPR index, operand width in bits
 * - lar, lsl: selector, GPR index, operand width in bits (they set ZF); verr, verw: selector (ZF)
 * - monitor: linear address
 * - vmrun, vmload, vmsave, skinit, invlpga: rAX as wide as addresses are
 * - vmxon, vmclear, vmptrld, vmptrst: linear address of the operand
 * - vmread, vmwrite, invept, invvpid: linear address of the r/m operand, or 0; GPR index of it, or 16 for memory; GPR index of the
 *   other; operand width in bits
 */
// biome-ignore format: a table
export const INSTRUCTION_EXITS = [
  'softwareInterrupt', 'syscall', 'sysret', 'sysenter', 'sysexit', 'iret', 'vmcall', 'vmmcall',
  'in', 'out', 'ins', 'outs', 'cpuid', 'rdmsr', 'wrmsr', 'readCr', 'writeCr', 'clts', 'lmsw', 'readDr', 'writeDr',
  'lgdt', 'lidt', 'lldt', 'ltr', 'invlpg', 'invpcid', 'wbinvd', 'invd', 'rdpmc', 'swapgs', 'xsetbv', 'monitor', 'mwait',
  'cli', 'sti', 'hlt', 'farJump', 'farCall', 'farReturn', 'loadSegment', 'popSegment', 'popf', 'undefined', 'int3', 'into',
  'int1', 'loadFarPointer', 'lar', 'lsl', 'verr', 'verw', 'clac', 'stac', 'pushf', 'pause',
  'vmrun', 'vmload', 'vmsave', 'stgi', 'clgi', 'skinit', 'invlpga', 'rdtsc', 'rdtscp', 'rsm',
  'vmxon', 'vmxoff', 'vmclear', 'vmptrld', 'vmptrst', 'vmread', 'vmwrite', 'vmlaunch', 'vmresume', 'invept', 'invvpid',
] as const;
export type InstructionExitName = (typeof INSTRUCTION_EXITS)[number];

const numbers = new Map<InstructionExitName, number>(INSTRUCTION_EXITS.map((name, i) => [name, i]));
export function exitNumber(name: InstructionExitName): number {
  return numbers.get(name) as number;
}

import { GPR, PAGE_BASE } from '../../packages/core/src/cpu/state.ts';
import { decode } from '../../packages/core/src/isa/decoder.ts';
import type { DecodedInstruction } from '../../packages/core/src/isa/types.ts';
import { f80ToNumber, forgive, forgiveFunction, isApproximate, isTranscendental } from './approximate.ts';
import { type CpuImage, codeMode, type ExpandedCase, type Outcome, type Patch } from './case.ts';
import { physicalX87 } from './file.ts';
import { faultsAnywhereInPage, undefinedFlags, undefinedX87Status, unspecifiedBytes } from './undefined.ts';

/** The case's first instruction, as our decoder reads it; undefined if it does not. A copy of its own. */
export function decodeCase({ input }: ExpandedCase): DecodedInstruction | undefined {
  const { code } = input;
  const result = decode((i) => (i < code.length ? code[i] : 0xcc), codeMode(input.mode));
  return result.ok ? { ...result.instruction } : undefined;
}

const AF = 0x10;
/** Linux's TASK_SIZE_MAX. */
const USER_END = 0x7ffffffff000n;

const hex = (value: bigint | number) => value.toString(16);
const hexBytes = (bytes: Uint8Array) => Buffer.from(bytes).reverse().toString('hex');
const GPR_NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
const FLAG_NAMES: readonly (readonly [number, string])[] = [
  [1, 'CF'],
  [4, 'PF'],
  [0x10, 'AF'],
  [0x40, 'ZF'],
  [0x80, 'SF'],
  [0x100, 'TF'],
  [0x200, 'IF'],
  [0x400, 'DF'],
  [0x800, 'OF'],
  [0x3000, 'IOPL'],
  [0x4000, 'NT'],
  [0x10000, 'RF'],
  [0x40000, 'AC'],
  [0x200000, 'ID'],
];
export const flagNames = (bits: number) =>
  FLAG_NAMES.filter(([bit]) => bits & bit)
    .map(([, name]) => name)
    .join(' ');

/**
 * How `got` differs from what the processor did, one line each; empty if it does not. Undefined flags and
 * unspecified bytes of the first instruction are left out when the case is that one instruction.
 */
export function differences(one: ExpandedCase, expected: Outcome, got: Outcome): string[] {
  const first = decodeCase(one);
  // Programs are made of instructions that leave nothing open but AF.
  const isProgram = first !== undefined && first.lengthBytes < one.input.code.length;
  const decoded = isProgram ? undefined : first;
  const found: string[] = [];
  const differ = (what: string, want: string, have: string) => {
    if (want !== have) found.push(`${what}: ${have}, the processor: ${want}`);
  };
  if (isEdgeOfAddresses(expected, got)) return [];
  const coarse = decoded !== undefined && faultsAnywhereInPage(decoded);
  differ('end', endOf(expected, coarse), endOf(got, coarse));
  differ('rip', hex(expected.image.rip), hex(got.image.rip));
  const xmm = decoded && isApproximate(decoded) ? forgive(expected.image.xmm, got.image.xmm) : got.image.xmm;
  const st = decoded && isTranscendental(decoded) ? forgiveFunctions(one, expected, got) : got.image.st;
  const loose = decoded ? undefinedX87Status(decoded, expected.image) : 0;
  const x87Status = (got.image.x87Status & ~loose) | (expected.image.x87Status & loose);
  const image = decoded && isHalfDone(decoded, expected) ? withX87Of(one, expected) : expected.image;
  compareRegisters(image, { ...got.image, xmm, st, x87Status }, differ);
  const ignored = isProgram ? AF : decoded && expected.vector === 3 ? undefinedFlags(decoded, one.image) : 0;
  const wrong = (expected.image.rflags ^ got.image.rflags) & ~ignored;
  if (wrong)
    found.push(
      `flags differ in ${flagNames(wrong)}: ${hex(got.image.rflags)}, the processor: ${hex(expected.image.rflags)}`,
    );
  compareMemory(expected.changes, got.changes, unspecifiedAddresses(one, decoded), differ);
  return found;
}

/**
 * An operand whose first byte is the last below 2^47 or, outside 64-bit mode, 2^32: the processor raises #GP(0) or #SS(0)
 * for the whole, the engine #PF for the first byte where that page is not there. A known deviation.
 */
function isEdgeOfAddresses(expected: Outcome, got: Outcome): boolean {
  if ((expected.vector !== 12 && expected.vector !== 13) || got.vector !== 14) return false;
  return [1n << 32n, 1n << 47n].some((end) => got.cr2 < end && got.cr2 >= end - 16n);
}

/**
 * MMX conversions that raise #XM, and MASKMOVQ that raises #PF: the processor has gone over to the MMX state by then, the
 * engine has not. A known deviation: no fault leaves anything changed.
 */
function isHalfDone({ shape }: DecodedInstruction, { vector }: Outcome): boolean {
  const { name } = shape.encoding;
  if (name.startsWith('MASKMOVQ')) return vector === 14;
  return vector === 19 && name.startsWith('CVT') && /Pq|Qq/.test(name);
}

/** What is expected, but with the x87 state that the case began with. */
function withX87Of({ image }: ExpandedCase, expected: Outcome): CpuImage {
  const { x87Status, x87Tag, st } = image;
  return { ...expected.image, x87Status, x87Tag, st };
}

function forgiveFunctions({ image }: ExpandedCase, expected: Outcome, got: Outcome): Uint8Array {
  return forgiveFunction(expected.image.st, got.image.st, f80ToNumber(image.st, 0));
}

/**
 * How a case ended, with one thing left out: Linux hides from a program whether a kernel address is mapped (bit 0 of the
 * error code). `coarse`: see {@link faultsAnywhereInPage}.
 */
function endOf({ vector, errorCode, cr2 }: Outcome, coarse: boolean): string {
  if (vector === 3) return 'done';
  if (vector !== 14) return `#${vector}(${hex(errorCode)})`;
  const code = cr2 >= USER_END ? errorCode | 1 : errorCode;
  return `#PF(${hex(code)}) at ${hex(coarse ? cr2 & ~0xfffn : cr2)}`;
}

function compareRegisters(
  want: CpuImage,
  have: CpuImage,
  differ: (what: string, want: string, have: string) => void,
): void {
  for (let i = 0; i < 16; i++) differ(GPR_NAMES[i], hex(want.gpr[i]), hex(have.gpr[i]));
  for (const name of ['mxcsr', 'x87Control', 'x87Status', 'x87Tag', 'fsBase', 'gsBase'] as const) {
    differ(name, hex(want[name]), hex(have[name]));
  }
  if (Buffer.compare(want.xmm, have.xmm) !== 0) {
    for (let i = 0; i < 16; i++) {
      differ(
        `xmm${i}`,
        hexBytes(want.xmm.subarray(i * 16, i * 16 + 16)),
        hexBytes(have.xmm.subarray(i * 16, i * 16 + 16)),
      );
    }
  }
  const [wantX87, haveX87] = [physicalX87(want), physicalX87(have)];
  for (let i = 0; i < 8; i++) {
    differ(
      `x87 r${i}`,
      hexBytes(wantX87.subarray(i * 10, i * 10 + 10)),
      hexBytes(haveX87.subarray(i * 10, i * 10 + 10)),
    );
  }
}

function compareMemory(
  want: readonly Patch[],
  have: readonly Patch[],
  ignored: ReadonlySet<number>,
  differ: (what: string, want: string, have: string) => void,
): void {
  const spread = (patches: readonly Patch[]) => {
    const bytes = new Map<number, number>();
    for (const patch of patches) {
      for (let i = 0; i < patch.bytes.length; i++)
        if (!ignored.has(patch.address + i)) bytes.set(patch.address + i, patch.bytes[i]);
    }
    return bytes;
  };
  const [wanted, had] = [spread(want), spread(have)];
  for (const address of new Set([...wanted.keys(), ...had.keys()])) {
    const show = (bytes: Map<number, number>) => (bytes.has(address) ? hex(bytes.get(address) as number) : 'unchanged');
    differ(`memory ${hex(address)}`, show(wanted), show(had));
  }
}

function unspecifiedAddresses(one: ExpandedCase, decoded: DecodedInstruction | undefined): Set<number> {
  const addresses = new Set<number>();
  if (!decoded) return addresses;
  for (const [from, to] of unspecifiedBytes(decoded)) {
    const start = Number(operandAddress(one, decoded));
    for (let i = from; i < to; i++) addresses.add(start + i);
  }
  return addresses;
}

/** Linear address of the case's memory operand. */
export function operandAddress({ image, input }: ExpandedCase, d: DecodedInstruction): bigint {
  const register = (offset: number) => {
    if (offset === PAGE_BASE.offset)
      return (BigInt(input.codeAddress) & ~0xfffn) + BigInt((input.codeAddress & 0xfff) + d.lengthBytes);
    const number = GPR.findIndex((slot) => slot.offset === offset);
    return number < 0 ? 0n : image.gpr[number];
  };
  const disp = (BigInt(d.dispHigh) << 32n) | BigInt(d.dispLow >>> 0);
  const offset = BigInt.asUintN(d.shape.addressWidth, register(d.base) + (register(d.index) << BigInt(d.scale)) + disp);
  const segment = d.segment === 4 ? image.fsBase : d.segment === 5 ? image.gsBase : 0n;
  return BigInt.asUintN(input.mode === 'long64' ? 64 : 32, offset + segment);
}

import { GPR } from '../cpu/state.ts';
import type { EncodingRow, OperandCode, SizeCode } from './encodings/row.ts';
import { type CpuMode, MODES } from './modes.ts';
import type { InstructionShape, OperandShape, Width } from './types.ts';

/** Everything beside the row that decides a shape; packed into a small integer as the cache key. */
export interface Variant {
  readonly mode: CpuMode;
  readonly operandWidth: Width;
  readonly addressWidth: 16 | 32 | 64;
  readonly rm: 'reg' | 'base' | 'full' | 'checked';
  readonly rep: 'none' | 'rep' | 'repne';
  readonly lock: boolean;
  /** −1: none. */
  readonly segmentOverride: number;
  /** Value of the row's static operand that comes from the bytes; 0 if it has none. */
  readonly staticValue: number;
}

export const WIDTHS = [8, 16, 32, 64] as const;
const ADDRESS_WIDTHS = [16, 32, 64] as const;
const RM_KINDS = ['reg', 'base', 'full', 'checked'] as const;
const REP_KINDS = ['none', 'rep', 'repne'] as const;

/** The packed key of a variant, from indices into the lists above; `segment` is −1 to 5. */
export function variantKey(
  mode: number,
  width: number,
  address: number,
  rm: number,
  rep: number,
  lock: number,
  segment: number,
  staticValue: number,
): number {
  return (
    mode |
    (width << 3) |
    (address << 5) |
    (rm << 7) |
    (rep << 9) |
    (lock << 11) |
    ((segment + 1) << 12) |
    (staticValue << 15)
  );
}

function unpackVariant(key: number): Variant {
  return {
    mode: MODES[key & 7],
    operandWidth: WIDTHS[(key >> 3) & 3],
    addressWidth: ADDRESS_WIDTHS[(key >> 5) & 3],
    rm: RM_KINDS[(key >> 7) & 3],
    rep: REP_KINDS[(key >> 9) & 3],
    lock: ((key >> 11) & 1) === 1,
    segmentOverride: ((key >> 12) & 7) - 1,
    staticValue: key >> 15,
  };
}

let shapeCount = 0;

/** Build the shape of a row for a packed variant. The decoder caches what this answers. */
export function buildShape(row: EncodingRow, key: number): InstructionShape {
  const variant = unpackVariant(key);
  const operands = row.operandCodes.map((code) => operandShape(code, variant));
  const words = [row.name, row.pattern, variant.mode, String(variant.operandWidth), `a${variant.addressWidth}`];
  words.push(operands.map(describeOperand).join(','));
  if (variant.rep !== 'none') words.push(variant.rep);
  if (variant.lock) words.push('lock');
  if (variant.segmentOverride >= 0) words.push(`seg${variant.segmentOverride}`);
  return {
    key: words.join('|'),
    id: shapeCount++,
    encoding: row,
    mode: variant.mode,
    operandWidth: variant.operandWidth,
    addressWidth: variant.addressWidth,
    operands,
    rep: variant.rep,
    lock: variant.lock,
    segmentOverride: variant.segmentOverride < 0 ? undefined : variant.segmentOverride,
  };
}

function describeOperand(operand: OperandShape): string {
  switch (operand.kind) {
    case 'gpr':
      return `${operand.field}${operand.width}`;
    case 'fixedGpr':
      return `@${operand.offset}.${operand.width}`;
    case 'xmm':
      return `x${operand.field}`;
    case 'static':
      return `${operand.what}${operand.value}`;
    case 'mem':
      return `mem${operand.sizeBytes}.${operand.addressing}`;
    case 'imm':
      return `imm${operand.width}`;
    case 'rel':
      return 'rel';
  }
}

/** Bits of a size code, given the operand width. */
export function bitsOf(size: SizeCode, operandWidth: Width): number {
  switch (size) {
    case 'b':
      return 8;
    case 'w':
      return 16;
    case 'd':
      return 32;
    case 'q':
      return 64;
    case 'x':
      return 128;
    case 'v':
      return operandWidth;
    case 'z':
      return Math.min(operandWidth, 32);
    case 'y':
      return operandWidth === 64 ? 64 : 32;
    case '':
      return 0;
  }
}

function operandShape(code: OperandCode, variant: Variant): OperandShape {
  const width = bitsOf(code.size, variant.operandWidth) as Width;
  const inMemory = variant.rm !== 'reg';
  const memory = (): OperandShape => ({
    kind: 'mem',
    sizeBytes: bitsOf(code.memorySize, variant.operandWidth) / 8,
    addressing: variant.rm === 'reg' ? 'full' : variant.rm,
  });
  switch (code.letter) {
    case 'E':
      return inMemory ? memory() : { kind: 'gpr', field: 'rm', width };
    case 'W':
      return inMemory ? memory() : { kind: 'xmm', field: 'rm' };
    case 'Q':
      return inMemory ? memory() : { kind: 'gpr', field: 'rm', width: 64 };
    case 'G':
    case 'Z':
      return { kind: 'gpr', field: 'reg', width };
    case 'V':
      return { kind: 'xmm', field: 'reg' };
    case 'P':
      return { kind: 'gpr', field: 'reg', width: 64 };
    case 'O':
      return memory();
    case 'I':
      // 64-bit instructions sign-extend an immediate of 32 bits.
      return { kind: 'imm', width: code.size === 'z' ? variant.operandWidth : width };
    case 'sI':
      return { kind: 'imm', width: variant.operandWidth };
    case 'A':
      return { kind: 'imm', width: 64 };
    case 'J':
      return { kind: 'rel' };
    case 'fixed':
      return fixedOperand(code, width);
    default:
      return { kind: 'static', what: STATIC_NAMES[code.letter], value: variant.staticValue };
  }
}

const STATIC_NAMES: Record<string, string> = { S: 'segment', C: 'cr', D: 'dr', ST: 'st', L: 'level' };
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

function fixedOperand(code: OperandCode, width: Width): OperandShape {
  switch (code.text) {
    case 'AL':
    case 'rAX':
    case 'eAX':
      return { kind: 'fixedGpr', offset: GPR[0].offset, width };
    case 'CL':
      return { kind: 'fixedGpr', offset: GPR[1].offset, width: 8 };
    case 'DX':
      return { kind: 'fixedGpr', offset: GPR[2].offset, width: 16 };
    case '1':
      return { kind: 'static', what: 'one', value: 1 };
    default:
      return { kind: 'static', what: 'segment', value: SEGMENTS.indexOf(code.text) };
  }
}

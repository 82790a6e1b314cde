import type { EncodingRow, OperandCode } from './encodings/row.ts';
import type { InstructionShape, Width } from './types.ts';

/** What a ModRM or opcode register field names. */
export const RegisterClass = { none: 0, gpr: 1, byte: 2, xmm: 3, mmx: 4 } as const;
/** How the operand width comes about: see RowOptions.width. */
export const WidthRule = { fixed: 0, v: 1, y: 2, d64: 3, f64: 4, native: 5 } as const;
export const ImmediateKind = {
  none: 0,
  byte: 1,
  word: 2,
  z: 3,
  v: 4,
  offset: 5,
  far: 6,
  enter: 7,
  relByte: 8,
  relZ: 9,
  dword: 10,
} as const;
export const StaticSource = { none: 0, segment: 1, reg: 2, rm: 3, level: 4 } as const;

/** A row made ready for the decoder's hot path: small integers only. */
export interface DecodePlan {
  readonly row: EncodingRow;
  readonly widthRule: number;
  /** Index of the width (8, 16, 32, 64) when the rule is `fixed`. */
  readonly widthIndex: number;
  /** The 66 prefix is part of the opcode and says nothing about the width. */
  readonly prefix66: boolean;
  readonly usesAddress: boolean;
  readonly repeatable: boolean;
  readonly usesSegmentOverride: boolean;
  readonly lockable: boolean;
  readonly hasModrm: boolean;
  readonly modIgnored: boolean;
  readonly popsBeforeAddress: boolean;
  readonly regClass: number;
  readonly rmClass: number;
  readonly opcodeRegClass: number;
  readonly immediate: number;
  readonly staticSource: number;
  /** Bit n: the static operand may have the value n. */
  readonly staticMask: number;
  readonly shapes: Map<number, InstructionShape>;
}

const CONTROL_REGISTERS = (1 << 0) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 8);

export function planRow(row: EncodingRow): DecodePlan {
  const { options, operandCodes } = row;
  const find = (letters: string) => operandCodes.find((code) => letters.split(' ').includes(code.letter));
  const usesRm = find('E W Q');
  const [widthRule, widthIndex] = widthOf(row);
  const [staticSource, staticMask] = staticOf(operandCodes);
  return {
    row,
    widthRule,
    widthIndex,
    prefix66: row.prefix === 1,
    usesAddress: Boolean(options.address || options.rep || find('O') || (usesRm && row.mod !== 'reg')),
    repeatable: options.rep ?? false,
    usesSegmentOverride: Boolean(options.address || options.rep),
    lockable: options.lock ?? false,
    hasModrm: row.hasModrm,
    modIgnored: options.modIgnored ?? false,
    popsBeforeAddress: options.popsBeforeAddress ?? false,
    regClass: registerClass(find('G V P')),
    rmClass: registerClass(usesRm),
    opcodeRegClass: registerClass(find('Z')),
    immediate: immediateOf(operandCodes),
    staticSource,
    staticMask,
    shapes: new Map(),
  };
}

function registerClass(code: OperandCode | undefined): number {
  if (!code) return RegisterClass.none;
  if (code.letter === 'V' || code.letter === 'W') return RegisterClass.xmm;
  if (code.letter === 'P' || code.letter === 'Q') return RegisterClass.mmx;
  return code.size === 'b' ? RegisterClass.byte : RegisterClass.gpr;
}

function widthOf(row: EncodingRow): [rule: number, index: number] {
  const given = row.options.width;
  if (typeof given === 'string') return [WidthRule[given], 0];
  if (given !== undefined) return [WidthRule.fixed, widthIndex(given)];
  const sizes = row.operandCodes.map((code) => code.size);
  if (sizes.some((size) => size === 'v' || size === 'z')) return [WidthRule.v, 0];
  if (sizes.includes('y')) return [WidthRule.y, 0];
  const first = { b: 8, w: 16, d: 32, q: 64 }[sizes[0] as 'b'] as Width | undefined;
  return [WidthRule.fixed, widthIndex(first ?? 32)];
}
const widthIndex = (width: Width) => Math.log2(width) - 3;

function staticOf(codes: readonly OperandCode[]): [source: number, mask: number] {
  const code = codes.find(({ letter }) => ['S', 'C', 'D', 'ST', 'L'].includes(letter));
  switch (code?.letter) {
    case 'S':
      // CS cannot be the destination of MOV (SDM vol. 2B, MOV).
      return [StaticSource.segment, codes[0] === code ? 0b111101 : 0b111111];
    case 'C':
      return [StaticSource.reg, CONTROL_REGISTERS];
    case 'D':
      return [StaticSource.reg, 0xff];
    case 'ST':
      return [StaticSource.rm, 0xff];
    case 'L':
      return [StaticSource.level, -1];
    default:
      return [StaticSource.none, -1];
  }
}

function immediateOf(codes: readonly OperandCode[]): number {
  if (codes.some(({ letter }) => letter === 'L')) return ImmediateKind.enter;
  const code = codes.find(({ letter }) => ['I', 'sI', 'J', 'O', 'A'].includes(letter));
  if (!code) return ImmediateKind.none;
  if (code.letter === 'O') return ImmediateKind.offset;
  if (code.letter === 'A') return ImmediateKind.far;
  if (code.letter === 'J') return code.size === 'b' ? ImmediateKind.relByte : ImmediateKind.relZ;
  const kind = { b: 'byte', w: 'word', z: 'z', v: 'v', d: 'dword' }[code.size as 'b'] as
    | keyof typeof ImmediateKind
    | undefined;
  if (!kind) throw new Error(`immediate ${code.text} has no known size`);
  return ImmediateKind[kind];
}

import type { EncodingRow } from '../../../packages/core/src/isa/encodings/row.ts';
import type { Width } from '../../../packages/core/src/isa/types.ts';
import type { CaseMode } from '../case.ts';

/** A memory operand in terms of ModRM and SIB. */
export interface MemoryForm {
  /** Register numbers; undefined: none. */
  readonly base: number | undefined;
  readonly index: number | undefined;
  /** log2 of the scale. */
  readonly scale: number;
  readonly disp: number;
  readonly dispBytes: 0 | 1 | 2 | 4;
  /** 64-bit mode, no base: RIP-relative; `disp` is then the target address, and the assembler makes the distance. */
  readonly ripRelative: boolean;
}

/** All that is free to choose about an encoding's bytes. */
export interface Choice {
  readonly mode: CaseMode;
  readonly width: Width;
  readonly reg: number;
  readonly rm: number | MemoryForm;
  readonly immediate: bigint;
  readonly addressWidth: 16 | 32 | 64;
  /** Bytes of further prefixes, before all others. */
  readonly prefixes: readonly number[];
  /** A REX prefix although nothing needs it (it changes what byte registers 4–7 are). */
  readonly forceRex: boolean;
  readonly codeAddress: number;
}

export type WidthRule = 'v' | 'y' | 'd64' | 'f64' | 'fixed';

/** How an encoding's operand width comes about. */
export function widthRule(row: EncodingRow): WidthRule {
  const given = row.options.width;
  if (given === 'native' || typeof given === 'number') return 'fixed';
  if (given !== undefined) return given;
  const sizes = row.operandCodes.map(({ size }) => size);
  if (sizes.includes('v') || sizes.includes('z')) return 'v';
  return sizes.includes('y') ? 'y' : 'fixed';
}

const MANDATORY = [undefined, 0x66, 0xf3, 0xf2];

export function needsRexW(row: EncodingRow, choice: Choice): boolean {
  if (choice.mode !== 'long64') return false;
  if (row.rexW !== undefined) return row.rexW === 1;
  const rule = widthRule(row);
  return choice.width === 64 && (rule === 'v' || rule === 'y');
}

function needs66(row: EncodingRow, choice: Choice): boolean {
  const rule = widthRule(row);
  return choice.width === 16 && row.prefix !== 1 && rule !== 'fixed' && rule !== 'y';
}

const REGISTER_LETTERS = 'GVPSCD';

/** The bytes of one instruction. */
export function assemble(row: EncodingRow, choice: Choice): number[] {
  const bytes = [...choice.prefixes];
  const nativeAddress = choice.mode === 'long64' ? 64 : 32;
  if (choice.addressWidth !== nativeAddress) bytes.push(0x67);
  if (needs66(row, choice)) bytes.push(0x66);
  const mandatory = row.prefix === undefined ? undefined : MANDATORY[row.prefix];
  if (mandatory !== undefined) bytes.push(mandatory);
  const usesRegField = row.operandCodes.some(({ letter }) => REGISTER_LETTERS.includes(letter));
  const opcodeRegister = row.opcodeCount === 8;
  pushRex(bytes, row, choice, usesRegField, opcodeRegister);
  if (row.map > 0) bytes.push(0x0f);
  if (row.map > 1) bytes.push(row.map === 2 ? 0x38 : 0x3a);
  bytes.push(opcodeRegister ? row.opcode + (choice.reg & 7) : row.opcode);
  const immediate = immediateBytes(row, choice);
  if (row.exactModrm !== undefined) bytes.push(row.exactModrm);
  else if (row.hasModrm) pushModrm(bytes, choice, row.digit ?? choice.reg & 7, immediate.length);
  return [...bytes, ...immediate];
}

function pushRex(
  bytes: number[],
  row: EncodingRow,
  choice: Choice,
  usesRegField: boolean,
  opcodeRegister: boolean,
): void {
  if (choice.mode !== 'long64') return;
  let rex = needsRexW(row, choice) ? 8 : 0;
  if (usesRegField && choice.reg & 8) rex |= 4;
  if (opcodeRegister && choice.reg & 8) rex |= 1;
  if (row.hasModrm && row.exactModrm === undefined) {
    if (typeof choice.rm === 'number') rex |= choice.rm >> 3;
    else rex |= (((choice.rm.index ?? 0) & 8) >> 2) | ((choice.rm.base ?? 0) >> 3);
  }
  if (rex || choice.forceRex) bytes.push(0x40 | rex);
}

function littleEndian(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function pushModrm(bytes: number[], choice: Choice, reg: number, immediateBytesAfter: number): void {
  const { rm } = choice;
  if (typeof rm === 'number') {
    bytes.push(0xc0 | (reg << 3) | (rm & 7));
    return;
  }
  if (choice.addressWidth === 16) {
    bytes.push((reg << 3) | 6, ...littleEndian(BigInt(rm.disp), 2));
    return;
  }
  const mod = rm.base === undefined || rm.dispBytes === 0 ? 0 : rm.dispBytes === 1 ? 1 : 2;
  if (rm.base === undefined && rm.index === undefined && (choice.mode !== 'long64' || rm.ripRelative)) {
    bytes.push((reg << 3) | 5);
    const next = choice.codeAddress + bytes.length + 4 + immediateBytesAfter;
    bytes.push(...littleEndian(BigInt(rm.ripRelative ? rm.disp - next : rm.disp), 4));
    return;
  }
  if (rm.index === undefined && rm.base !== undefined && (rm.base & 7) !== 4) {
    bytes.push((mod << 6) | (reg << 3) | (rm.base & 7));
  } else {
    bytes.push((mod << 6) | (reg << 3) | 4, (rm.scale << 6) | (((rm.index ?? 4) & 7) << 3) | ((rm.base ?? 5) & 7));
  }
  bytes.push(...littleEndian(BigInt(rm.disp), rm.base === undefined ? 4 : rm.dispBytes));
}

/** Number of immediate bytes of an encoding in a given choice. */
function immediateBytes(row: EncodingRow, choice: Choice): number[] {
  const z = choice.width === 16 ? 2 : 4;
  return row.operandCodes.flatMap((code) => {
    switch (code.letter) {
      case 'I':
        return littleEndian(choice.immediate, { b: 1, w: 2, d: 4, z, v: choice.width / 8 }[code.size as 'b'] ?? 1);
      case 'sI':
      case 'L':
        return littleEndian(choice.immediate >> (code.letter === 'L' ? 16n : 0n), 1);
      case 'J':
        return littleEndian(choice.immediate, code.size === 'b' ? 1 : z);
      case 'O':
        return littleEndian(choice.immediate, choice.addressWidth / 8);
      case 'A':
        return littleEndian(choice.immediate, z + 2);
      default:
        return [];
    }
  });
}

/**
 * What the manual leaves undefined: RFLAGS bits by instruction (SDM vol. 2, "Flags Affected" of each), and bytes of
 * save areas that processors fill differently. Nothing else is exempt from comparison.
 */

import { X87, XMM } from '../../packages/core/src/cpu/state.ts';
import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';
import type { DecodedInstruction } from '../../packages/core/src/isa/types.ts';
import { f80ToNumber, isTranscendental } from './approximate.ts';
import type { CpuImage } from './case.ts';
import { physicalX87 } from './file.ts';

const CF = 1,
  PF = 4,
  AF = 0x10,
  ZF = 0x40,
  SF = 0x80,
  OF = 0x800;

/** Undefined whatever the operands are. */
const ALWAYS: Record<string, number> = {
  AND: AF,
  OR: AF,
  XOR: AF,
  TEST: AF,
  ANDN: AF | PF,
  MUL: SF | ZF | AF | PF,
  IMUL: SF | ZF | AF | PF,
  DIV: CF | PF | AF | ZF | SF | OF,
  IDIV: CF | PF | AF | ZF | SF | OF,
  BSF: CF | OF | SF | AF | PF,
  BSR: CF | OF | SF | AF | PF,
  BT: OF | SF | AF | PF,
  BTS: OF | SF | AF | PF,
  BTR: OF | SF | AF | PF,
  BTC: OF | SF | AF | PF,
  TZCNT: OF | SF | AF | PF,
  LZCNT: OF | SF | AF | PF,
  BLSI: AF | PF,
  BLSR: AF | PF,
  BLSMSK: AF | PF,
  BEXTR: AF | SF | PF,
  BZHI: AF | PF,
  AAA: OF | SF | ZF | PF,
  AAS: OF | SF | ZF | PF,
  DAA: OF,
  DAS: OF,
  AAM: OF | AF | CF,
  AAD: OF | AF | CF,
};

const SHIFTS = new Set(['SHL', 'SAL', 'SHR', 'SAR']);
const ROTATES = new Set(['ROL', 'ROR', 'RCL', 'RCR']);
const DOUBLE_SHIFTS = new Set(['SHLD', 'SHRD']);

/** The count that a shift or rotate uses, after masking. */
export function maskedCount(decoded: DecodedInstruction, image: CpuImage): number {
  const { shape } = decoded;
  const last = shape.operands[shape.operands.length - 1];
  const bits = destinationBits(decoded) === 64 ? 63 : 31;
  if (last.kind === 'imm') return decoded.immLow & bits;
  if (last.kind === 'fixedGpr') return Number(image.gpr[1] & 0xffn) & bits;
  return 1;
}

function destinationBits({ shape }: DecodedInstruction): number {
  const [first] = shape.operands;
  return first.kind === 'mem'
    ? first.sizeBytes * 8
    : first.kind === 'gpr' || first.kind === 'fixedGpr'
      ? first.width
      : shape.operandWidth;
}

/** RFLAGS bits that the manual leaves undefined after this instruction. */
export function undefinedFlags(decoded: DecodedInstruction, image: CpuImage): number {
  const { mnemonic } = decoded.shape.encoding as EncodingRow;
  const always = ALWAYS[mnemonic];
  if (always !== undefined) return always;
  const isShift = SHIFTS.has(mnemonic) || DOUBLE_SHIFTS.has(mnemonic);
  if (!isShift && !ROTATES.has(mnemonic)) return 0;
  const count = maskedCount(decoded, image);
  if (count === 0) return 0;
  if (!isShift) return count === 1 ? 0 : OF;
  const carry = mnemonic !== 'SAR' && count >= destinationBits(decoded) ? CF : 0;
  return AF | (count === 1 ? 0 : OF) | carry;
}

/**
 * The result itself is undefined: SHLD and SHRD by more than the operand's size (16-bit operands only); F2XM1 and
 * FYL2XP1 outside of their domains; whether MASKMOVDQU or MASKMOVQ of no byte at all can fault; FPTAN of so much that
 * π's bits have run out.
 */
export function resultIsUndefined(decoded: DecodedInstruction, image: CpuImage): boolean {
  const { mnemonic } = decoded.shape.encoding as EncodingRow;
  const magnitude = Math.abs(f80ToNumber(image.st, 0));
  if (mnemonic === 'MASKMOVDQU') return masksNothing(image.xmm, decoded.rm - XMM[0].offset, 16);
  if (mnemonic === 'MASKMOVQ') return masksNothing(physicalX87(image), ((decoded.rm - X87[0].offset) / 16) * 10, 8);
  if (mnemonic === 'F2XM1') return magnitude > 1;
  if (mnemonic === 'FYL2XP1') return magnitude > 1 - Math.SQRT1_2;
  if (/^F(PTAN|SIN|COS|SINCOS)$/.test(mnemonic)) return magnitude > 2 ** 50 && magnitude < 2 ** 63;
  return DOUBLE_SHIFTS.has(mnemonic) && maskedCount(decoded, image) > destinationBits(decoded);
}

/**
 * x87 save areas: the last instruction's opcode and pointers (processors differ in when they keep them, CPUID
 * leaf 80000008 EBX bit 2), MXCSR_MASK, and what the image reserves. Ranges [from, to) from the start of the area.
 */
export function unspecifiedBytes({ shape }: DecodedInstruction): readonly (readonly [number, number])[] {
  const { mnemonic } = shape.encoding as EncodingRow;
  if (/^(FXSAVE|XSAVE)/.test(mnemonic))
    return [
      [6, 24],
      [28, 32],
      [416, 512],
    ];
  if (/^FN?(STENV|SAVE)/.test(mnemonic)) return shape.operandWidth === 16 ? [[6, 14]] : [[12, 28]];
  return [];
}

/** Accesses to more than one operand's worth of memory: which of its bytes in the page faults is the processor's choice. */
export function faultsAnywhereInPage({ shape }: DecodedInstruction): boolean {
  return /^(F?XSAVE|F?XRSTOR|MASKMOV|FN?SAVE|FRSTOR|FLDENV|FN?STENV)/.test((shape.encoding as EncodingRow).mnemonic);
}

function masksNothing(registers: Uint8Array, at: number, sizeBytes: number): boolean {
  return registers.subarray(at, at + sizeBytes).every((byte) => byte < 0x80);
}

const C1 = 0x200,
  CONDITION_CODES = 0x4700,
  PRECISION = 0x20,
  SUMMARY = 0x80,
  INVALID = 1;

/**
 * Bits of the x87 status word left open ("FPU Flags Affected", SDM vol. 2). With an unmasked exception (`after` has ES
 * set) processors differ in whether a comparison still reports and whether a result that is not stored is inexact.
 */
export function undefinedX87Status(decoded: DecodedInstruction, { x87Status: after, st }: CpuImage): number {
  const { mnemonic } = decoded.shape.encoding as EncodingRow;
  if (!mnemonic.startsWith('F')) return 0;
  if (after & SUMMARY) return CONDITION_CODES | PRECISION;
  if (/^FFREEP?$/.test(mnemonic)) return CONDITION_CODES;
  if (/^F(CMOV|U?COMI)/.test(mnemonic)) return C1;
  if (/^FPREM1?$/.test(mnemonic)) return after & INVALID || Number.isNaN(f80ToNumber(st, 0)) ? CONDITION_CODES : 0;
  return isTranscendental(decoded) ? C1 | PRECISION : 0;
}

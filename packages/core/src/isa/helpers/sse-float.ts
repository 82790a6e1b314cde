/**
 * SSE floating point off the fast path: exact results and flags for every operand and every MXCSR, and #XM
 * (SDM vol. 1, 11.5). The IR comes here for anything but ordinary numbers under default controls.
 */
import { ARG, CR4, MXCSR, RESULT, VECTOR_SCRATCH } from '../../cpu/state.ts';
import {
  type BinaryFormat,
  type BinaryOperation,
  binary32,
  binary64,
  binaryOperation,
  convertFormat,
  infinity,
  Mxcsr,
  type Outcome,
  pack,
  type Relation,
  relation,
  squareRootOperation,
  unpack,
} from './ieee.ts';
import { Flags, Rounding, toInteger } from './softfloat.ts';
import { exactOrInexact } from './sse-quick.ts';
import { DONE, type Helper } from './types.ts';

const UD = 6;
const XM = 19;
const CR4_OSXMMEXCPT = 1n << 10n;
const FLAG_BITS = 0x3f;
/** Exceptions found before a result is computed (SDM vol. 1, 4.9.2): they keep the others from being reported. */
const BEFORE_RESULT = Flags.invalid | Flags.denormal | Flags.divideByZero;

/** Numbers of the arithmetic operations, as IR passes them. */
export const SSE_OPERATIONS = ['add', 'sub', 'mul', 'div', 'min', 'max', 'sqrt', 'compare'] as const;
export type SseOperation = (typeof SSE_OPERATIONS)[number];
export const sseOperationNumber = (name: SseOperation): number => SSE_OPERATIONS.indexOf(name);
/** Bits above the operation's number: the predicate of CMPxx. */
export const PREDICATE_SHIFT = 4;

const mxcsrOf = (state: DataView, base: number) => state.getInt32(base + MXCSR.offset, true);

/** Record exception flags; an unmasked one is #XM, or #UD if CR4.OSXMMEXCPT is clear. */
function report(state: DataView, base: number, flags: number): number {
  const mxcsr = mxcsrOf(state, base);
  const unmasked = ~(mxcsr >> Mxcsr.masksShift) & FLAG_BITS;
  const seen = flags & BEFORE_RESULT & unmasked ? flags & BEFORE_RESULT : flags;
  state.setInt32(base + MXCSR.offset, mxcsr | seen, true);
  if ((seen & unmasked) === 0) return DONE;
  return state.getBigUint64(base + CR4.offset, true) & CR4_OSXMMEXCPT ? XM : UD;
}

/** Bit n of an entry: the relation satisfies predicate n of CMPxx (SDM vol. 2A, CMPPD, table 3-1). */
export const PREDICATES: Record<Relation, number> = {
  equal: 0b10100101,
  less: 0b10010110,
  greater: 0b11110000,
  unordered: 0b01111000,
};
/** LT, LE, NLT, NLE signal quiet NaNs. */
const SIGNALING_PREDICATES = 0b01100110;

function compareLane(format: BinaryFormat, predicate: number, a: bigint, c: bigint, mxcsr: number): Outcome {
  const { relation: found, flags } = relation(format, a, c, mxcsr, ((SIGNALING_PREDICATES >> predicate) & 1) === 1);
  const ones = (1n << BigInt(format.bits)) - 1n;
  return { bits: (PREDICATES[found] >> predicate) & 1 ? ones : 0n, flags };
}

function operate(format: BinaryFormat, code: number, a: bigint, c: bigint, mxcsr: number): Outcome {
  const name = SSE_OPERATIONS[code & ((1 << PREDICATE_SHIFT) - 1)];
  if (name === 'compare') return compareLane(format, (code >> PREDICATE_SHIFT) & 7, a, c, mxcsr);
  const quick = exactOrInexact(format === binary64, name, a, c, mxcsr);
  if (quick) return quick;
  if (name === 'sqrt') return squareRootOperation(format, c, mxcsr);
  return binaryOperation(format, name as BinaryOperation, a, c, mxcsr);
}

/** ARG: operation, destination, source; RESULT[0]: the new low lane. */
const scalar =
  (format: BinaryFormat): Helper =>
  (state, base) => {
    const argument = (i: number) => BigInt.asUintN(format.bits, state.getBigUint64(base + ARG[i].offset, true));
    const { bits, flags } = operate(
      format,
      state.getInt32(base + ARG[0].offset, true),
      argument(1),
      argument(2),
      mxcsrOf(state, base),
    );
    state.setBigUint64(base + RESULT[0].offset, bits, true);
    return report(state, base, flags);
  };

type Vector = bigint[];
function readVector(state: DataView, base: number, index: number, laneBits: number): Vector {
  const at = base + VECTOR_SCRATCH[index].offset;
  if (laneBits === 64) return [0, 8].map((offset) => state.getBigUint64(at + offset, true));
  return [0, 4, 8, 12].map((offset) => BigInt(state.getUint32(at + offset, true)));
}
/** Lanes that are not given become 0. */
function writeVector(state: DataView, base: number, index: number, laneBits: number, lanes: Vector): void {
  const at = base + VECTOR_SCRATCH[index].offset;
  for (let i = 0; i < 128 / laneBits; i++) {
    const value = BigInt.asUintN(laneBits, lanes[i] ?? 0n);
    if (laneBits === 64) state.setBigUint64(at + i * 8, value, true);
    else state.setUint32(at + i * 4, Number(value), true);
  }
}

/** ARG[0]: operation; VECTOR_SCRATCH 0 and 1: destination and source; 2: result. */
const packed =
  (format: BinaryFormat): Helper =>
  (state, base) => {
    const code = state.getInt32(base + ARG[0].offset, true);
    const right = readVector(state, base, 1, format.bits);
    const mxcsr = mxcsrOf(state, base);
    const outcomes = readVector(state, base, 0, format.bits).map((a, i) => operate(format, code, a, right[i], mxcsr));
    return finish(state, base, format.bits, outcomes);
  };

function finish(state: DataView, base: number, laneBits: number, outcomes: Outcome[]): number {
  writeVector(
    state,
    base,
    2,
    laneBits,
    outcomes.map(({ bits }) => bits),
  );
  return report(
    state,
    base,
    outcomes.reduce((all, { flags }) => all | flags, 0),
  );
}

/** COMISx, UCOMISx. ARG: signal quiet NaNs, destination, source; RESULT[0]: ZF, PF and CF at their places in RFLAGS. */
const COMPARISON_FLAGS: Record<Relation, bigint> = { unordered: 0x45n, greater: 0n, less: 1n, equal: 0x40n };
const compareFlags =
  (format: BinaryFormat): Helper =>
  (state, base) => {
    const argument = (i: number) => BigInt.asUintN(format.bits, state.getBigUint64(base + ARG[i].offset, true));
    const found = relation(format, argument(1), argument(2), mxcsrOf(state, base), argument(0) !== 0n);
    state.setBigUint64(base + RESULT[0].offset, COMPARISON_FLAGS[found.relation], true);
    return report(state, base, found.flags);
  };

/** To a signed integer; what does not fit gives the integer indefinite (SDM vol. 1, 4.8.3.7 … table 4-1). */
function toSigned(format: BinaryFormat, raw: bigint, bits: 32 | 64, truncate: boolean, mxcsr: number): Outcome {
  const limit = 1n << BigInt(bits - 1);
  const a = unpack(format, raw, mxcsr);
  const indefinite = { bits: limit, flags: Flags.invalid };
  if (a.isNan || a.isInfinite) return indefinite;
  const { value, inexact } = toInteger(a.number, truncate ? Rounding.zero : (mxcsr >> Mxcsr.roundingShift) & 3);
  if (value >= limit || value < -limit) return indefinite;
  return { bits: BigInt.asUintN(bits, value), flags: inexact ? Flags.inexact : 0 };
}

const fromSigned = (format: BinaryFormat, value: bigint, mxcsr: number): Outcome =>
  pack(format, { sign: value < 0n ? 1 : 0, significand: value < 0n ? -value : value, exponent: 0 }, mxcsr);

type Conversion = (raw: bigint, mxcsr: number) => Outcome;
const convertScalar =
  (bits: number, convert: Conversion): Helper =>
  (state, base) => {
    const { bits: result, flags } = convert(
      BigInt.asUintN(bits, state.getBigUint64(base + ARG[0].offset, true)),
      mxcsrOf(state, base),
    );
    state.setBigUint64(base + RESULT[0].offset, result, true);
    return report(state, base, flags);
  };
/** VECTOR_SCRATCH[0] → [2], as many lanes as both have; the rest becomes 0. */
const convertPacked =
  (fromBits: number, toBits: number, convert: Conversion): Helper =>
  (state, base) => {
    const mxcsr = mxcsrOf(state, base);
    const count = Math.min(128 / fromBits, 128 / toBits);
    const outcomes = readVector(state, base, 0, fromBits)
      .slice(0, count)
      .map((raw) => convert(raw, mxcsr));
    return finish(state, base, toBits, outcomes);
  };

const f32 = binary32;
const f64 = binary64;

/**
 * RCP and RSQRT: 1/x and 1/√x rounded to binary32, well inside the 1.5 × 2^−12 that SDM vol. 2B allows. Denormal
 * operands count as zeros and tiny results are zeros, whatever MXCSR says; no flags.
 */
function approximate(raw: bigint, root: boolean): bigint {
  const a = unpack(f32, raw, Mxcsr.DAZ);
  if (a.isNan) return a.bits | 0x400000n;
  if (a.isZero) return infinity(f32, a.sign);
  if (root && a.sign) return f32.defaultNan;
  if (a.isInfinite) return a.sign ? 0x80000000n : 0n;
  const value = Number(a.number.significand) * 2 ** a.number.exponent * (a.sign ? -1 : 1);
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, root ? 1 / Math.sqrt(value) : 1 / value);
  return BigInt(unpackTiny(view.getUint32(0)));
}
const unpackTiny = (bits: number) => ((bits & 0x7f800000) === 0 ? (bits & 0x80000000) >>> 0 : bits);

const approximation =
  (root: boolean): Helper =>
  (state, base) => {
    writeVector(
      state,
      base,
      2,
      32,
      readVector(state, base, 1, 32).map((raw) => approximate(raw, root)),
    );
    return DONE;
  };

export const sseFloatHelpers: Record<string, Helper> = {
  sseScalar32: scalar(f32),
  sseScalar64: scalar(f64),
  ssePacked32: packed(f32),
  ssePacked64: packed(f64),
  sseCompare32: compareFlags(f32),
  sseCompare64: compareFlags(f64),
  sseReciprocal: approximation(false),
  sseReciprocalRoot: approximation(true),
  sseF32FromI64: convertScalar(64, (raw, mxcsr) => fromSigned(f32, BigInt.asIntN(64, raw), mxcsr)),
  sseF64FromI64: convertScalar(64, (raw, mxcsr) => fromSigned(f64, BigInt.asIntN(64, raw), mxcsr)),
  sseF64FromF32: convertScalar(32, (raw, mxcsr) => convertFormat(f32, f64, raw, mxcsr)),
  sseF32FromF64: convertScalar(64, (raw, mxcsr) => convertFormat(f64, f32, raw, mxcsr)),
  sseI32FromF32: convertScalar(32, (raw, mxcsr) => toSigned(f32, raw, 32, false, mxcsr)),
  sseI32FromF64: convertScalar(64, (raw, mxcsr) => toSigned(f64, raw, 32, false, mxcsr)),
  sseI64FromF32: convertScalar(32, (raw, mxcsr) => toSigned(f32, raw, 64, false, mxcsr)),
  sseI64FromF64: convertScalar(64, (raw, mxcsr) => toSigned(f64, raw, 64, false, mxcsr)),
  sseI32FromF32Truncated: convertScalar(32, (raw, mxcsr) => toSigned(f32, raw, 32, true, mxcsr)),
  sseI32FromF64Truncated: convertScalar(64, (raw, mxcsr) => toSigned(f64, raw, 32, true, mxcsr)),
  sseI64FromF32Truncated: convertScalar(32, (raw, mxcsr) => toSigned(f32, raw, 64, true, mxcsr)),
  sseI64FromF64Truncated: convertScalar(64, (raw, mxcsr) => toSigned(f64, raw, 64, true, mxcsr)),
  ssePackedF32FromI32: convertPacked(32, 32, (raw, mxcsr) => fromSigned(f32, BigInt.asIntN(32, raw), mxcsr)),
  ssePackedI32FromF32: convertPacked(32, 32, (raw, mxcsr) => toSigned(f32, raw, 32, false, mxcsr)),
  ssePackedI32FromF32Truncated: convertPacked(32, 32, (raw, mxcsr) => toSigned(f32, raw, 32, true, mxcsr)),
  ssePackedI32FromF64: convertPacked(64, 32, (raw, mxcsr) => toSigned(f64, raw, 32, false, mxcsr)),
  ssePackedI32FromF64Truncated: convertPacked(64, 32, (raw, mxcsr) => toSigned(f64, raw, 32, true, mxcsr)),
  ssePackedF64FromF32: convertPacked(32, 64, (raw, mxcsr) => convertFormat(f32, f64, raw, mxcsr)),
  ssePackedF32FromF64: convertPacked(64, 32, (raw, mxcsr) => convertFormat(f64, f32, raw, mxcsr)),
};

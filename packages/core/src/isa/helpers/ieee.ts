/** Binary32 and binary64 as SSE computes with them (SDM vol. 1, 11.5 and appendix E of volume 1). */
import {
  add,
  compare,
  divide,
  type Finite,
  Flags,
  type Format,
  multiply,
  overflowsToInfinity,
  Rounding,
  round,
  squareRoot,
  zeroSumSign,
} from './softfloat.ts';

/** MXCSR control bits. */
export const Mxcsr = { DAZ: 1 << 6, masksShift: 7, roundingShift: 13, FTZ: 1 << 15 } as const;

/** A format and its bit layout. */
export interface BinaryFormat extends Format {
  readonly bits: number;
  readonly fractionBits: bigint;
  readonly exponentMask: bigint;
  readonly defaultNan: bigint;
}
function binaryFormat(bits: number, precision: number, maxExponent: number): BinaryFormat {
  const fractionBits = BigInt(precision - 1);
  const exponentMask = BigInt(2 * maxExponent + 1);
  const defaultNan = (1n << BigInt(bits - 1)) | (exponentMask << fractionBits) | (1n << (fractionBits - 1n));
  return { bits, precision, minExponent: 1 - maxExponent, maxExponent, fractionBits, exponentMask, defaultNan };
}
export const binary32 = binaryFormat(32, 24, 127);
export const binary64 = binaryFormat(64, 53, 1023);

/** A result and the exception flags that it raised. */
export interface Outcome {
  readonly bits: bigint;
  readonly flags: number;
}
const exactly = (bits: bigint): Outcome => ({ bits, flags: 0 });

/** Bits taken apart. `number` is meaningful for zeros, denormal and normal numbers. */
export interface Operand {
  readonly bits: bigint;
  readonly sign: number;
  readonly isNan: boolean;
  readonly isSignaling: boolean;
  readonly isInfinite: boolean;
  readonly isZero: boolean;
  readonly isDenormal: boolean;
  readonly number: Finite;
}

/** Take a number apart; with DAZ a denormal is a zero of its sign and not reported. */
export function unpack(format: BinaryFormat, raw: bigint, mxcsr: number): Operand {
  const { fractionBits, exponentMask } = format;
  const sign = Number(raw >> BigInt(format.bits - 1)) & 1;
  const biased = (raw >> fractionBits) & exponentMask;
  const fraction = raw & ((1n << fractionBits) - 1n);
  const special = biased === exponentMask;
  const isNan = special && fraction !== 0n;
  const subnormal = biased === 0n && fraction !== 0n;
  const flushed = subnormal && (mxcsr & Mxcsr.DAZ) !== 0;
  const significand = biased === 0n ? (flushed ? 0n : fraction) : fraction | (1n << fractionBits);
  const exponent = (biased === 0n ? 1 : Number(biased)) - format.maxExponent - Number(fractionBits);
  return {
    bits: flushed ? (raw >> fractionBits) << fractionBits : raw,
    sign,
    isNan,
    isSignaling: isNan && fraction >> (fractionBits - 1n) === 0n,
    isInfinite: special && fraction === 0n,
    isZero: biased === 0n && significand === 0n,
    isDenormal: subnormal && !flushed,
    number: { sign, significand, exponent },
  };
}

const quiet = (format: BinaryFormat, bits: bigint) => bits | (1n << (format.fractionBits - 1n));
const signBit = (format: BinaryFormat, sign: number) => (sign ? 1n << BigInt(format.bits - 1) : 0n);
export const infinity = (format: BinaryFormat, sign: number) =>
  signBit(format, sign) | (format.exponentMask << format.fractionBits);
const zero = signBit;
const roundingOf = (mxcsr: number) => (mxcsr >> Mxcsr.roundingShift) & 3;
const isMasked = (mxcsr: number, flag: number) => ((mxcsr >> Mxcsr.masksShift) & flag) !== 0;

/** The result of an operation with a NaN among its operands: the first NaN, made quiet. */
function propagate(format: BinaryFormat, ...operands: Operand[]): Outcome {
  const nan = operands.find(({ isNan }) => isNan) as Operand;
  return { bits: quiet(format, nan.bits), flags: operands.some(({ isSignaling }) => isSignaling) ? Flags.invalid : 0 };
}
const invalid = (format: BinaryFormat): Outcome => ({ bits: format.defaultNan, flags: Flags.invalid });

/** Round and encode; overflow, underflow, FTZ and inexactness as MXCSR says. */
export function pack(format: BinaryFormat, number: Finite, mxcsr: number, flagsBefore = 0): Outcome {
  const { sign } = number;
  if (number.significand === 0n) return { bits: zero(format, sign), flags: flagsBefore };
  const rounding = roundingOf(mxcsr);
  const rounded = round(number, format, rounding);
  if (rounded.overflow) {
    const largest = infinity(format, sign) - (overflowsToInfinity(sign, rounding) ? 0n : 1n);
    const inexact = isMasked(mxcsr, Flags.overflow) || rounded.unbounded.inexact;
    return { bits: largest, flags: flagsBefore | Flags.overflow | (inexact ? Flags.inexact : 0) };
  }
  const underflowMasked = isMasked(mxcsr, Flags.underflow);
  if (rounded.tiny && underflowMasked && mxcsr & Mxcsr.FTZ) {
    return { bits: zero(format, sign), flags: flagsBefore | Flags.underflow | Flags.inexact };
  }
  const underflow = rounded.tiny && (rounded.inexact || !underflowMasked);
  const inexact = rounded.tiny && !underflowMasked ? rounded.unbounded.inexact : rounded.inexact;
  const flags = flagsBefore | (inexact ? Flags.inexact : 0) | (underflow ? Flags.underflow : 0);
  return { bits: encode(format, sign, rounded.significand, rounded.exponent), flags };
}

function encode(format: BinaryFormat, sign: number, significand: bigint, exponent: number): bigint {
  const { fractionBits } = format;
  const biased = exponent + Number(fractionBits) + format.maxExponent;
  // A denormal that rounded up to the least normal number has its leading one and so gets exponent 1 by itself.
  const hidden = significand >> fractionBits ? BigInt(biased - 1) : 0n;
  return signBit(format, sign) | ((hidden << fractionBits) + significand);
}

const denormalFlag = (...operands: Operand[]) => (operands.some(({ isDenormal }) => isDenormal) ? Flags.denormal : 0);

export type BinaryOperation = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max';

export function binaryOperation(
  format: BinaryFormat,
  name: BinaryOperation,
  left: bigint,
  right: bigint,
  mxcsr: number,
): Outcome {
  const a = unpack(format, left, mxcsr);
  const c = unpack(format, right, mxcsr);
  if (name === 'min' || name === 'max') return extremum(name, a, c);
  if (a.isNan || c.isNan) return propagate(format, a, c);
  switch (name) {
    case 'add':
      return sum(format, a, c, c.sign, mxcsr);
    case 'sub':
      return sum(format, a, c, c.sign ^ 1, mxcsr);
    case 'mul':
      return product(format, a, c, mxcsr);
    case 'div':
      return quotient(format, a, c, mxcsr);
  }
}

function sum(format: BinaryFormat, a: Operand, c: Operand, signOfC: number, mxcsr: number): Outcome {
  const flags = denormalFlag(a, c);
  if (a.isInfinite && c.isInfinite && a.sign !== signOfC) return invalid(format);
  if (a.isInfinite) return { bits: a.bits, flags };
  if (c.isInfinite) return { bits: infinity(format, signOfC), flags };
  const total = add(a.number, { ...c.number, sign: signOfC });
  if (total.significand !== 0n) return pack(format, total, mxcsr, flags);
  const sign = a.isZero && c.isZero && a.sign === signOfC ? a.sign : zeroSumSign(roundingOf(mxcsr));
  return { bits: zero(format, sign), flags };
}

function product(format: BinaryFormat, a: Operand, c: Operand, mxcsr: number): Outcome {
  if ((a.isInfinite && c.isZero) || (a.isZero && c.isInfinite)) return invalid(format);
  const flags = denormalFlag(a, c);
  if (a.isInfinite || c.isInfinite) return { bits: infinity(format, a.sign ^ c.sign), flags };
  return pack(format, multiply(a.number, c.number), mxcsr, flags);
}

function quotient(format: BinaryFormat, a: Operand, c: Operand, mxcsr: number): Outcome {
  if ((a.isInfinite && c.isInfinite) || (a.isZero && c.isZero)) return invalid(format);
  const sign = a.sign ^ c.sign;
  const flags = denormalFlag(a, c);
  if (a.isInfinite) return { bits: infinity(format, sign), flags };
  if (c.isInfinite) return { bits: zero(format, sign), flags };
  if (c.isZero) return { bits: infinity(format, sign), flags: Flags.divideByZero };
  if (a.isZero) return { bits: zero(format, sign), flags };
  return pack(format, divide(a.number, c.number), mxcsr, flags);
}

/** MIN and MAX: the second operand if either is a NaN or both are zeros (SDM vol. 2B, MINPS). */
function extremum(name: 'min' | 'max', a: Operand, c: Operand): Outcome {
  if (a.isNan || c.isNan) return { bits: c.bits, flags: Flags.invalid };
  const order = order3(a, c);
  const first = name === 'min' ? order < 0 : order > 0;
  return { bits: first ? a.bits : c.bits, flags: denormalFlag(a, c) };
}

/** −1, 0, 1 for operands that are not NaN. */
function order3(a: Operand, c: Operand): number {
  if (a.isInfinite || c.isInfinite) {
    const rank = (x: Operand) => (x.isInfinite ? (x.sign ? -1 : 1) : 0);
    return Math.sign(rank(a) - rank(c));
  }
  return compare(a.number, c.number);
}

export function squareRootOperation(format: BinaryFormat, raw: bigint, mxcsr: number): Outcome {
  const a = unpack(format, raw, mxcsr);
  if (a.isNan) return propagate(format, a);
  if (a.isZero) return exactly(a.bits);
  if (a.sign) return invalid(format);
  if (a.isInfinite) return exactly(a.bits);
  return pack(format, squareRoot(a.number), mxcsr, denormalFlag(a));
}

export type Relation = 'less' | 'equal' | 'greater' | 'unordered';

/** Compare; `signalQuiet`: a quiet NaN is invalid too. */
export function relation(
  format: BinaryFormat,
  left: bigint,
  right: bigint,
  mxcsr: number,
  signalQuiet: boolean,
): { relation: Relation; flags: number } {
  const a = unpack(format, left, mxcsr);
  const c = unpack(format, right, mxcsr);
  if (a.isNan || c.isNan) {
    const flags = signalQuiet || a.isSignaling || c.isSignaling ? Flags.invalid : 0;
    return { relation: 'unordered', flags };
  }
  const order = order3(a, c);
  return { relation: order < 0 ? 'less' : order > 0 ? 'greater' : 'equal', flags: denormalFlag(a, c) };
}

/** Between binary32 and binary64. */
export function convertFormat(from: BinaryFormat, to: BinaryFormat, raw: bigint, mxcsr: number): Outcome {
  const a = unpack(from, raw, mxcsr);
  if (a.isNan) {
    const payload = a.bits & ((1n << from.fractionBits) - 1n);
    const shift = to.fractionBits - from.fractionBits;
    const moved = shift >= 0n ? payload << shift : payload >> -shift;
    return { bits: quiet(to, infinity(to, a.sign) | moved), flags: a.isSignaling ? Flags.invalid : 0 };
  }
  if (a.isInfinite) return exactly(infinity(to, a.sign));
  return pack(to, a.number, mxcsr, denormalFlag(a));
}

export { Rounding };

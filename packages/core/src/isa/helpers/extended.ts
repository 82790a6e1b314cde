/** The x87 double extended format: 64-bit significand with explicit leading one, 15-bit exponent (SDM vol. 1, 4.2.2, 8.2). */
import { type BinaryFormat, unpack } from './ieee.ts';
import { bitLength, type Finite, Flags, type Format, overflowsToInfinity, round } from './softfloat.ts';

/** A register's bits: significand (unsigned 64 bits), sign in bit 15 and biased exponent in bits 14–0 of the other. */
export interface Extended {
  readonly significand: bigint;
  readonly signExponent: number;
}

export const EXPONENT_MASK = 0x7fff;
export const SIGN = 0x8000;
const BIAS = 16383;
const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;
const SIGNIFICAND_MASK = (1n << 64n) - 1n;

export type Kind = 'zero' | 'normal' | 'denormal' | 'infinity' | 'quiet' | 'signaling' | 'unsupported';

export function kindOf({ significand, signExponent }: Extended): Kind {
  const exponent = signExponent & EXPONENT_MASK;
  if (exponent === 0) return significand === 0n ? 'zero' : 'denormal';
  if ((significand & INTEGER_BIT) === 0n) return 'unsupported';
  if (exponent !== EXPONENT_MASK) return 'normal';
  if (significand === INTEGER_BIT) return 'infinity';
  return significand & QUIET_BIT ? 'quiet' : 'signaling';
}
export const isNan = (kind: Kind): boolean => kind === 'quiet' || kind === 'signaling';
export const signOf = (value: Extended): number => value.signExponent >> 15;

/** Value of a zero, denormal (pseudo-denormals too) or normal number. */
export function toFinite({ significand, signExponent }: Extended): Finite {
  const exponent = signExponent & EXPONENT_MASK;
  return { sign: signExponent >> 15, significand, exponent: (exponent === 0 ? 1 : exponent) - BIAS - 63 };
}

/** The QNaN that answers invalid operations (SDM vol. 1, 4.8.3.7). */
export const INDEFINITE: Extended = { significand: INTEGER_BIT | QUIET_BIT, signExponent: SIGN | EXPONENT_MASK };
export const zeroOf = (sign: number): Extended => ({ significand: 0n, signExponent: sign ? SIGN : 0 });
export const infinityOf = (sign: number): Extended => ({
  significand: INTEGER_BIT,
  signExponent: (sign ? SIGN : 0) | EXPONENT_MASK,
});
export const quieted = (value: Extended): Extended => ({ ...value, significand: value.significand | QUIET_BIT });
export const ONE: Extended = { significand: INTEGER_BIT, signExponent: BIAS };

/** A result, the exception flags that it raised, and whether its magnitude was rounded up (C1). */
export interface Result {
  readonly value: Extended;
  readonly flags: number;
  readonly roundedUp: boolean;
}
export const exact = (value: Extended, flags = 0): Result => ({ value, flags, roundedUp: false });
export const invalid: Result = exact(INDEFINITE, Flags.invalid);

/** Control word fields. */
export const roundingOf = (control: number): number => (control >> 10) & 3;
const PRECISIONS = [24, 64, 53, 64] as const;
export const precisionOf = (control: number): number => PRECISIONS[(control >> 8) & 3];
const isMasked = (control: number, flag: number) => (control & flag) !== 0;

/** The exponent by which unmasked overflow and underflow scale their result (SDM vol. 1, 8.5.4). */
const WRAP_EXPONENT = 24576;

function extendedFormat(precision: number): Format {
  return { precision, minExponent: 1 - BIAS, maxExponent: BIAS };
}

function encode(sign: number, significand: bigint, exponent: number): Extended {
  if (significand === 0n) return zeroOf(sign);
  const shift = 64 - bitLength(significand);
  const biased = exponent - shift + 63 + BIAS;
  const signPart = sign ? SIGN : 0;
  if (biased >= 1) return { significand: significand << BigInt(shift), signExponent: signPart | biased };
  return { significand: significand << BigInt(exponent + 62 + BIAS), signExponent: signPart };
}

/** Round a number for a register, to a precision of 24, 53 or 64 bits. */
export function fromFinite(number: Finite, control: number, precision = precisionOf(control)): Result {
  const { sign } = number;
  if (number.significand === 0n) return exact(zeroOf(sign));
  const rounding = roundingOf(control);
  const rounded = round(number, extendedFormat(precision), rounding);
  if (rounded.overflow) return overflow(sign, rounded.unbounded, control, precision);
  if (rounded.tiny && !isMasked(control, Flags.underflow)) {
    const { significand, exponent, inexact, roundedUp } = rounded.unbounded;
    const value = encode(sign, significand, exponent + WRAP_EXPONENT);
    const flags = Flags.underflow | (inexact || value.significand === 0n ? Flags.inexact : 0);
    return { value, flags, roundedUp };
  }
  const flags = rounded.inexact ? Flags.inexact | (rounded.tiny ? Flags.underflow : 0) : 0;
  return { value: encode(sign, rounded.significand, rounded.exponent), flags, roundedUp: rounded.roundedUp };
}

function overflow(
  sign: number,
  unbounded: { significand: bigint; exponent: number; inexact: boolean; roundedUp: boolean },
  control: number,
  precision: number,
): Result {
  const unmasked = !isMasked(control, Flags.overflow);
  // FSCALE can go beyond the scaled range too: infinity then, whatever the rounding.
  const beyond = unbounded.exponent + bitLength(unbounded.significand) - 1 - WRAP_EXPONENT > BIAS;
  if (unmasked && !beyond) {
    const flags = Flags.overflow | (unbounded.inexact ? Flags.inexact : 0);
    return {
      value: encode(sign, unbounded.significand, unbounded.exponent - WRAP_EXPONENT),
      flags,
      roundedUp: unbounded.roundedUp,
    };
  }
  const flags = Flags.overflow | Flags.inexact;
  if (unmasked || overflowsToInfinity(sign, roundingOf(control)))
    return { value: infinityOf(sign), flags, roundedUp: true };
  const significand = SIGNIFICAND_MASK ^ ((1n << BigInt(64 - precision)) - 1n);
  return { value: { significand, signExponent: (sign ? SIGN : 0) | (EXPONENT_MASK - 1) }, flags, roundedUp: false };
}

/** Widen binary32 or binary64 bits; NaNs keep their kind. `denormal` tells that the source was one. */
export function widen(bits: bigint, format: BinaryFormat): { value: Extended; denormal: boolean } {
  const source = unpack(format, bits, 0);
  const signPart = source.sign ? SIGN : 0;
  if (source.isNan || source.isInfinite) {
    const fraction = (bits & ((1n << format.fractionBits) - 1n)) << (63n - format.fractionBits);
    return { value: { significand: INTEGER_BIT | fraction, signExponent: signPart | EXPONENT_MASK }, denormal: false };
  }
  const { significand, exponent } = source.number;
  return { value: encode(source.sign, significand, exponent), denormal: source.isDenormal };
}

export function fromInteger(value: bigint): Extended {
  return encode(value < 0n ? 1 : 0, value < 0n ? -value : value, 0);
}

/** Of two operands, one at least a NaN: which answers, made quiet (SDM vol. 1, table 4-7, x87 column). */
export function propagateNan(a: Extended, c: Extended): Extended {
  const [ka, kc] = [kindOf(a), kindOf(c)];
  if (!isNan(kc)) return quieted(a);
  if (!isNan(ka)) return quieted(c);
  if (ka !== kc) return ka === 'quiet' ? a : c;
  const [qa, qc] = [quieted(a), quieted(c)];
  if (qa.significand !== qc.significand) return qa.significand > qc.significand ? qa : qc;
  return signOf(qa) === 0 ? qa : qc;
}

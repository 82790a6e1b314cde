/**
 * Exact binary arithmetic on numbers of any precision, and the one rounding step at its end
 * (IEEE 754-2019, 4.3 and 7). x87 and the exact path of SSE are built on it.
 */

/** Rounding control as MXCSR and the x87 control word encode it. */
export const Rounding = { nearest: 0, down: 1, up: 2, zero: 3 } as const;

/** Exception flags, at the same places in MXCSR and in the x87 status word. */
export const Flags = { invalid: 1, denormal: 2, divideByZero: 4, overflow: 8, underflow: 16, inexact: 32 } as const;

/** significand × 2^exponent with a sign; the significand may have any number of bits, 0 is zero. */
export interface Finite {
  readonly sign: number;
  readonly significand: bigint;
  readonly exponent: number;
}

/** Precision in bits (leading one included) and the exponents of the least and the largest normal number. */
export interface Format {
  readonly precision: number;
  readonly minExponent: number;
  readonly maxExponent: number;
}

export interface Rounded {
  /** At most `precision` bits; fewer when tiny. */
  readonly significand: bigint;
  /** Of the significand's lowest bit. */
  readonly exponent: number;
  readonly inexact: boolean;
  /** What rounding with unbounded exponent gives: unmasked overflow and underflow report it (IEEE 754-2019, 7.4 and 7.5). */
  readonly unbounded: {
    readonly significand: bigint;
    readonly exponent: number;
    readonly inexact: boolean;
    readonly roundedUp: boolean;
  };
  /** The magnitude grew in rounding. */
  readonly roundedUp: boolean;
  /** Below the least normal number after rounding with unbounded exponent (SDM vol. 1, 4.9.1.5). */
  readonly tiny: boolean;
  readonly overflow: boolean;
}

export function bitLength(value: bigint): number {
  if (value < 0x100000000n) return 32 - Math.clz32(Number(value));
  if (value < 0x10000000000000000n) return 64 - Math.clz32(Number(value >> 32n));
  const hex = value.toString(16);
  return hex.length * 4 - Math.clz32(Number.parseInt(hex[0], 16)) + 28;
}

/** Drop `count` low bits, rounding. */
function dropBits(
  significand: bigint,
  count: number,
  sign: number,
  rounding: number,
): { value: bigint; inexact: boolean; up: boolean } {
  if (count <= 0) return { value: significand << BigInt(-count), inexact: false, up: false };
  const shift = BigInt(count);
  const value = significand >> shift;
  const rest = significand - (value << shift);
  if (rest === 0n) return { value, inexact: false, up: false };
  let up = false;
  if (rounding === Rounding.nearest) {
    const half = 1n << (shift - 1n);
    up = rest > half || (rest === half && (value & 1n) === 1n);
  } else {
    up = rounding === (sign ? Rounding.down : Rounding.up);
  }
  return { value: up ? value + 1n : value, inexact: true, up };
}

/** Round a nonzero number to a format. Overflow and tininess are reported, not acted on. */
export function round(number: Finite, format: Format, rounding: number): Rounded {
  const { significand, exponent, sign } = number;
  const { precision, minExponent, maxExponent } = format;
  const excess = bitLength(significand) - precision;
  const normal = dropBits(significand, excess, sign, rounding);
  const top = exponent + excess + bitLength(normal.value) - 1;
  const carried = bitLength(normal.value) > precision;
  const unbounded = {
    significand: carried ? normal.value >> 1n : normal.value,
    exponent: exponent + excess + (carried ? 1 : 0),
    inexact: normal.inexact,
    roundedUp: normal.up,
  };
  if (top >= minExponent) return { ...unbounded, unbounded, tiny: false, overflow: top > maxExponent };
  const lowest = minExponent - precision + 1;
  const denormal = dropBits(significand, lowest - exponent, sign, rounding);
  return {
    significand: denormal.value,
    exponent: lowest,
    inexact: denormal.inexact,
    roundedUp: denormal.up,
    unbounded,
    tiny: true,
    overflow: false,
  };
}

/** Whether an overflow gives infinity rather than the largest finite number (SDM vol. 1, table 4-11). */
export function overflowsToInfinity(sign: number, rounding: number): boolean {
  return rounding === Rounding.nearest || rounding === (sign ? Rounding.down : Rounding.up);
}

/** Beyond this distance the smaller operand of an addition is only a sticky bit (precisions up to 64). */
const FAR_BITS = 200;

/** a + c, exact but for a sticky bit far below. Sign of an exact zero is that of rounding: see {@link zeroSumSign}. */
export function add(a: Finite, c: Finite): Finite {
  if (a.significand === 0n) return c;
  if (c.significand === 0n) return a;
  const [big, small] = a.exponent >= c.exponent ? [a, c] : [c, a];
  const distance = big.exponent - small.exponent;
  const topDistance = distance + bitLength(big.significand) - bitLength(small.significand);
  const far = distance > FAR_BITS && topDistance > FAR_BITS;
  const exponent = far ? big.exponent - FAR_BITS : small.exponent;
  const low = far ? 1n : small.significand;
  const high = big.significand << BigInt(big.exponent - exponent);
  const sum = (big.sign ? -high : high) + (small.sign ? -low : low);
  return sum < 0n ? { sign: 1, significand: -sum, exponent } : { sign: 0, significand: sum, exponent };
}

/** Sign of x − x, and of a sum of zeros with different signs. */
export const zeroSumSign = (rounding: number): number => (rounding === Rounding.down ? 1 : 0);

export function multiply(a: Finite, c: Finite): Finite {
  return { sign: a.sign ^ c.sign, significand: a.significand * c.significand, exponent: a.exponent + c.exponent };
}

/** Bits that a quotient or root is computed to: any precision in use, and a sticky bit. */
const QUOTIENT_BITS = 68;

/** a / c for nonzero c; the lowest bit is sticky. */
export function divide(a: Finite, c: Finite): Finite {
  const shift = Math.max(0, QUOTIENT_BITS + bitLength(c.significand) - bitLength(a.significand));
  const numerator = a.significand << BigInt(shift);
  const quotient = numerator / c.significand;
  const sticky = quotient * c.significand === numerator ? 0n : 1n;
  return {
    sign: a.sign ^ c.sign,
    significand: (quotient << 1n) | sticky,
    exponent: a.exponent - c.exponent - shift - 1,
  };
}

/** Largest integer whose square is not above `value`. */
export function integerSquareRoot(value: bigint): bigint {
  if (value === 0n) return 0n;
  let root = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** Square root of a positive number; the lowest bit is sticky. */
export function squareRoot(a: Finite): Finite {
  const wanted = Math.max(0, 2 * QUOTIENT_BITS - bitLength(a.significand));
  const shift = wanted + ((a.exponent - wanted) & 1);
  const radicand = a.significand << BigInt(shift);
  const root = integerSquareRoot(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  return { sign: 0, significand: (root << 1n) | sticky, exponent: (a.exponent - shift) / 2 - 1 };
}

/** −1, 0, 1: a below, equal to, above c. Zeros of either sign are equal. */
export function compare(a: Finite, c: Finite): number {
  if (a.significand === 0n && c.significand === 0n) return 0;
  const difference = add(a, { ...c, sign: c.sign ^ 1 });
  return difference.significand === 0n ? 0 : difference.sign ? -1 : 1;
}

/** A number rounded to an integer: its signed value and what rounding did. */
export function toInteger(a: Finite, rounding: number): { value: bigint; inexact: boolean; roundedUp: boolean } {
  // Far below one half all that counts is that something is there.
  const tiny = a.significand !== 0n && bitLength(a.significand) + a.exponent < -1;
  const dropped = tiny ? dropBits(1n, 2, a.sign, rounding) : dropBits(a.significand, -a.exponent, a.sign, rounding);
  return { value: a.sign ? -dropped.value : dropped.value, inexact: dropped.inexact, roundedUp: dropped.up };
}

/** x87 arithmetic on two operands and its kin, without the stack (SDM vol. 2, FADD to FXTRACT). */
import {
  type Extended,
  exact,
  fromFinite,
  fromInteger,
  infinityOf,
  invalid,
  isNan,
  type Kind,
  kindOf,
  propagateNan,
  type Result,
  roundingOf,
  signOf,
  toFinite,
  zeroOf,
} from './extended.ts';
import {
  add,
  bitLength,
  compare,
  divide,
  type Finite,
  Flags,
  multiply,
  squareRoot,
  toInteger,
  zeroSumSign,
} from './softfloat.ts';

/** In the order of the ModRM digits of D8, compares left out of it. */
export type X87Operation = 'add' | 'mul' | 'sub' | 'subr' | 'div' | 'divr';

/** The answer where an operand is a NaN or unsupported, else undefined. */
export function specialOperands(a: Extended, c: Extended): Result | undefined {
  const [ka, kc] = [kindOf(a), kindOf(c)];
  if (ka === 'unsupported' || kc === 'unsupported') return invalid;
  if (!isNan(ka) && !isNan(kc)) return undefined;
  return exact(propagateNan(a, c), ka === 'signaling' || kc === 'signaling' ? Flags.invalid : 0);
}
/** The same for one operand. */
export const specialOperand = (a: Extended): Result | undefined => specialOperands(a, a);

export const denormalFlag = (...kinds: Kind[]): number => (kinds.includes('denormal') ? Flags.denormal : 0);
const withFlags = (result: Result, flags: number): Result => ({ ...result, flags: result.flags | flags });

export function arithmetic(operation: X87Operation, left: Extended, right: Extended, control: number): Result {
  const special = specialOperands(left, right);
  if (special) return special;
  switch (operation) {
    case 'add':
      return sum(left, right, signOf(right), control);
    case 'sub':
      return sum(left, right, signOf(right) ^ 1, control);
    case 'subr':
      return sum(right, left, signOf(left) ^ 1, control);
    case 'mul':
      return product(left, right, control);
    case 'div':
      return quotient(left, right, control);
    case 'divr':
      return quotient(right, left, control);
  }
}

function sum(a: Extended, c: Extended, signOfC: number, control: number): Result {
  const [ka, kc] = [kindOf(a), kindOf(c)];
  const flags = denormalFlag(ka, kc);
  if (ka === 'infinity' && kc === 'infinity') return signOf(a) === signOfC ? exact(a) : invalid;
  if (ka === 'infinity') return exact(a, flags);
  if (kc === 'infinity') return exact(infinityOf(signOfC), flags);
  const total = add(toFinite(a), { ...toFinite(c), sign: signOfC });
  if (total.significand !== 0n) return withFlags(fromFinite(total, control), flags);
  const sign = ka === 'zero' && kc === 'zero' && signOf(a) === signOfC ? signOfC : zeroSumSign(roundingOf(control));
  return exact(zeroOf(sign), flags);
}

function product(a: Extended, c: Extended, control: number): Result {
  const [ka, kc] = [kindOf(a), kindOf(c)];
  if ((ka === 'infinity' && kc === 'zero') || (ka === 'zero' && kc === 'infinity')) return invalid;
  const flags = denormalFlag(ka, kc);
  if (ka === 'infinity' || kc === 'infinity') return exact(infinityOf(signOf(a) ^ signOf(c)), flags);
  return withFlags(fromFinite(multiply(toFinite(a), toFinite(c)), control), flags);
}

function quotient(a: Extended, c: Extended, control: number): Result {
  const [ka, kc] = [kindOf(a), kindOf(c)];
  if ((ka === 'infinity' && kc === 'infinity') || (ka === 'zero' && kc === 'zero')) return invalid;
  const sign = signOf(a) ^ signOf(c);
  const flags = denormalFlag(ka, kc);
  if (ka === 'infinity') return exact(infinityOf(sign), flags);
  if (kc === 'zero') return exact(infinityOf(sign), Flags.divideByZero);
  if (kc === 'infinity' || ka === 'zero') return exact(zeroOf(sign), flags);
  return withFlags(fromFinite(divide(toFinite(a), toFinite(c)), control), flags);
}

export function root(a: Extended, control: number): Result {
  const special = specialOperand(a);
  if (special) return special;
  const kind = kindOf(a);
  if (kind === 'zero') return exact(a);
  if (signOf(a)) return invalid;
  if (kind === 'infinity') return exact(a);
  return withFlags(fromFinite(squareRoot(toFinite(a)), control), denormalFlag(kind));
}

/** FRNDINT. */
export function roundToInteger(a: Extended, control: number): Result {
  const special = specialOperand(a);
  if (special) return special;
  const kind = kindOf(a);
  if (kind === 'infinity' || kind === 'zero' || toFinite(a).exponent >= 0) return exact(a);
  const { value, inexact, roundedUp } = toInteger(toFinite(a), roundingOf(control));
  const result = value === 0n ? zeroOf(signOf(a)) : fromInteger(value);
  return { value: result, flags: denormalFlag(kind) | (inexact ? Flags.inexact : 0), roundedUp };
}

/** FSCALE: a × 2^trunc(c). Scales beyond any result are cut so that the exponent stays a small number. */
export function scale(a: Extended, c: Extended, control: number): Result {
  const special = specialOperands(a, c);
  if (special) return special;
  const [ka, kc] = [kindOf(a), kindOf(c)];
  const flags = denormalFlag(ka, kc);
  if (kc === 'infinity') {
    const shrink = signOf(c) === 1;
    if (shrink ? ka === 'infinity' : ka === 'zero') return invalid;
    return exact(shrink ? zeroOf(signOf(a)) : infinityOf(signOf(a)), flags);
  }
  if (ka === 'infinity' || ka === 'zero') return exact(a, flags);
  const by = truncatedExponent(c);
  const number = toFinite(a);
  return withFlags(fromFinite({ ...number, exponent: number.exponent + by }, control, 64), flags);
}
const SCALE_LIMIT = 0x10000;
function truncatedExponent(c: Extended): number {
  const number = toFinite(c);
  if (number.significand !== 0n && bitLength(number.significand) + number.exponent > 17)
    return signOf(c) ? -SCALE_LIMIT : SCALE_LIMIT;
  return Number(toInteger(number, 3).value);
}

/** FXTRACT: the unbiased exponent, and the significand with exponent 0. */
export function extract(a: Extended): { exponent: Result; significand: Result } {
  const special = specialOperand(a);
  if (special) return { exponent: special, significand: special };
  const kind = kindOf(a);
  if (kind === 'zero') return { exponent: exact(infinityOf(1), Flags.divideByZero), significand: exact(a) };
  if (kind === 'infinity') return { exponent: exact(infinityOf(0)), significand: exact(a) };
  const number = toFinite(a);
  const exponent = number.exponent + bitLength(number.significand) - 1;
  const significand = fromFinite({ ...number, exponent: number.exponent - exponent }, 0x37f);
  return { exponent: exact(fromInteger(BigInt(exponent)), denormalFlag(kind)), significand };
}

/** What FPREM and FPREM1 leave: the remainder, three low bits of the quotient if there is one, or (`partial`) C2. */
export interface Remainder {
  readonly result: Result;
  readonly quotient: number | undefined;
  readonly partial: boolean;
}
const noQuotient = (result: Result): Remainder => ({ result, quotient: undefined, partial: false });

/** Exponent distances from 64 on are worked off in steps: 2^N with N of 32 to 63 (SDM vol. 2A, FPREM). */
const FULL_STEP_BITS = 64;

export function remainder(a: Extended, c: Extended, nearest: boolean, control: number): Remainder {
  const special = specialOperands(a, c);
  if (special) return noQuotient(special);
  const [ka, kc] = [kindOf(a), kindOf(c)];
  if (ka === 'infinity' || kc === 'zero') return noQuotient(invalid);
  const flags = denormalFlag(ka, kc);
  if (ka === 'zero' || kc === 'infinity') {
    const result = ka === 'denormal' ? withFlags(fromFinite(toFinite(a), control, 64), flags) : exact(a, flags);
    return { result, quotient: 0, partial: false };
  }
  const [x, y] = [toFinite(a), toFinite(c)];
  const distance = x.exponent + bitLength(x.significand) - (y.exponent + bitLength(y.significand));
  if (distance >= FULL_STEP_BITS) {
    const step = distance - ((distance & 31) | 32);
    const left = modulo(x, { ...y, exponent: y.exponent + step }).rest;
    return { result: withFlags(remainderResult(left, a, control), flags), quotient: 0, partial: true };
  }
  const { rest, quotient } = nearest ? nearestModulo(x, y) : modulo(x, y);
  return {
    result: withFlags(remainderResult(rest, a, control), flags),
    quotient: Number(quotient & 7n),
    partial: false,
  };
}
const remainderResult = (rest: Finite, a: Extended, control: number): Result =>
  rest.significand === 0n ? exact(zeroOf(signOf(a))) : fromFinite(rest, control, 64);

function modulo(x: Finite, y: Finite): { rest: Finite; quotient: bigint } {
  const exponent = Math.min(x.exponent, y.exponent);
  const dividend = x.significand << BigInt(x.exponent - exponent);
  const divisor = y.significand << BigInt(y.exponent - exponent);
  const quotient = dividend / divisor;
  return { rest: { sign: x.sign, significand: dividend - quotient * divisor, exponent }, quotient };
}
function nearestModulo(x: Finite, y: Finite): { rest: Finite; quotient: bigint } {
  const { rest, quotient } = modulo(x, y);
  const twice = compare({ ...rest, sign: 0, exponent: rest.exponent + 1 }, { ...y, sign: 0 });
  if (twice < 0 || (twice === 0 && (quotient & 1n) === 0n)) return { rest, quotient };
  return { rest: add(rest, { ...y, sign: x.sign ^ 1 }), quotient: quotient + 1n };
}

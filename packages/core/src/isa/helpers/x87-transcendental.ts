/**
 * x87 helpers: FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1 (SDM vol. 1, 8.3.6 to 8.3.8). Results are
 * correctly rounded to 64 bits (helpers/elementary.ts); processors may differ from them, and do from each other, by one
 * unit in the last place. Angles are reduced with a π of 66 bits, as the manual says.
 */
import {
  angle,
  exp2MinusOne,
  log2,
  log2OnePlus,
  magnitude,
  ONE as ONE_FINITE,
  over,
  pi,
  sineCosine,
  times,
} from './elementary.ts';
import {
  type Extended,
  exact,
  fromFinite,
  infinityOf,
  invalid,
  kindOf,
  ONE,
  type Result,
  signOf,
  toFinite,
  zeroOf,
} from './extended.ts';
import { add, type Finite, Flags } from './softfloat.ts';
import type { Helper } from './types.ts';
import { denormalFlag, specialOperand, specialOperands } from './x87-arithmetic.ts';
import { onUnit, unary } from './x87-operate.ts';
import { Status, type X87State } from './x87-state.ts';

/** Arguments of FSIN and its kin have to be smaller in magnitude than 2^63. */
const ANGLE_LIMIT_EXPONENT = 63;

/** Below 2^−80 the next term of a series is beyond 64 bits: it only decides directed rounding. */
const LINEAR_EXPONENT = -80;
const STICKY_BITS = 150;
/** A number moved by a hair towards (`shrink`) or away from zero. */
function nudge(a: Finite, shrink: boolean): Finite {
  const significand = (a.significand << BigInt(STICKY_BITS)) + (shrink ? -1n : 1n);
  return { sign: a.sign, significand, exponent: a.exponent - STICKY_BITS };
}

/** Round an irrational result; `flags` come from the operands. PE is always there. */
function irrational(number: Finite, control: number, flags: number): Result {
  const result = fromFinite(number, control, 64);
  return { ...result, flags: result.flags | flags | Flags.inexact };
}

function sine(x: Finite): Finite {
  return magnitude(x) < LINEAR_EXPONENT ? nudge(x, true) : sineCosine(x).sine;
}
function cosine(x: Finite): Finite {
  return magnitude(x) < LINEAR_EXPONENT ? nudge(ONE_FINITE, true) : sineCosine(x).cosine;
}
function tangent(x: Finite): Finite {
  if (magnitude(x) < LINEAR_EXPONENT) return nudge(x, false);
  const { sine: s, cosine: c } = sineCosine(x);
  return over(s, c);
}

const isTooLarge = (value: Extended) =>
  kindOf(value) === 'normal' && magnitude(toFinite(value)) >= ANGLE_LIMIT_EXPONENT;

/** Answers other than by the series: NaN, infinity, zero. */
function trigonometricSpecial(a: Extended, ofZero: (a: Extended) => Extended): Result | undefined {
  const special = specialOperand(a);
  if (special) return special;
  const kind = kindOf(a);
  if (kind === 'infinity') return invalid;
  return kind === 'zero' ? exact(ofZero(a)) : undefined;
}
const trigonometric =
  (f: (x: Finite) => Finite, ofZero: (a: Extended) => Extended) =>
  (a: Extended, control: number): Result =>
    trigonometricSpecial(a, ofZero) ?? irrational(f(toFinite(a)), control, denormalFlag(kindOf(a)));

const sineOf = trigonometric(sine, (a) => a);
const cosineOf = trigonometric(cosine, () => ONE);
const tangentOf = trigonometric(tangent, (a) => a);

/** C2 and nothing else for an argument out of range. */
function refuse(unit: X87State): void {
  unit.setCodes(Status.C2 | Status.C1, Status.C2);
}

/** FSIN, FCOS. */
const withRange = (f: (a: Extended, control: number) => Result): Helper =>
  onUnit((unit) => {
    const write = (value: Extended) => unit.write(0, value);
    unit.setCodes(Status.C2, 0);
    if (unit.isEmpty(0)) return unit.underflow(write);
    const argument = unit.read(0);
    if (isTooLarge(argument)) return refuse(unit);
    return unit.complete(f(argument, unit.control), write);
  });

/** FSINCOS and FPTAN: the result replaces ST0, then `second` is pushed. */
const withPush = (
  first: (a: Extended, control: number) => Result,
  second: (a: Extended, control: number) => Extended,
): Helper =>
  onUnit((unit) => {
    const both = (value: Extended) => {
      unit.write(0, value);
      unit.push(value);
    };
    unit.setCodes(Status.C2, 0);
    if (unit.isEmpty(0)) return unit.underflow(both);
    if (!unit.isEmpty(7)) return unit.overflow(both);
    const argument = unit.read(0);
    if (isTooLarge(argument)) return refuse(unit);
    const special = kindOf(argument) === 'infinity' || specialOperand(argument) !== undefined;
    const pushed = special ? undefined : second(argument, unit.control);
    return unit.complete(first(argument, unit.control), (value) => {
      unit.write(0, value);
      unit.push(pushed ?? value);
    });
  });

/** F2XM1, for |x| up to 1; beyond, where the manual leaves it open, x comes back. */
function exponential(a: Extended, control: number): Result {
  const special = specialOperand(a);
  if (special) return special;
  const kind = kindOf(a);
  if (kind === 'zero') return exact(a);
  if (kind === 'infinity') return exact(signOf(a) ? { ...ONE, signExponent: ONE.signExponent | 0x8000 } : a);
  const x = toFinite(a);
  const isOne = x.significand === ONE.significand && magnitude(x) === 0;
  if (isOne) return exact(x.sign ? { significand: ONE.significand, signExponent: 0xbffe } : ONE, Flags.inexact);
  if (magnitude(x) >= 0) return exact(a, Flags.inexact);
  return irrational(exp2MinusOne(x), control, denormalFlag(kind));
}

/** An operation on ST1 and ST0 that pops: the result is the new ST0. */
const binary = (f: (top: Extended, below: Extended, control: number) => Result): Helper =>
  onUnit((unit) => {
    const write = (value: Extended) => {
      unit.write(1, value);
      unit.pop(1);
    };
    if (unit.isEmpty(0) || unit.isEmpty(1)) return unit.underflow(write);
    unit.complete(f(unit.read(0), unit.read(1), unit.control), write);
  });

/** FYL2X: ST1 × log2 ST0 (SDM vol. 2A, table 3-33). */
function yLog2(x: Extended, y: Extended, control: number): Result {
  const special = specialOperands(x, y);
  if (special) return special;
  const [kx, ky] = [kindOf(x), kindOf(y)];
  if (kx !== 'zero' && signOf(x)) return invalid;
  const flags = denormalFlag(kx, ky);
  if (kx === 'zero') {
    if (ky === 'zero') return invalid;
    return exact(infinityOf(signOf(y) ^ 1), ky === 'infinity' ? 0 : Flags.divideByZero);
  }
  const isOne = x.significand === ONE.significand && x.signExponent === ONE.signExponent;
  if (kx === 'infinity') return ky === 'zero' ? invalid : exact(infinityOf(signOf(y)), flags);
  const logarithmSign = magnitude(toFinite(x)) < 0 ? 1 : 0;
  if (ky === 'infinity') return isOne ? invalid : exact(infinityOf(signOf(y) ^ logarithmSign), flags);
  if (isOne || ky === 'zero') return exact(zeroOf(signOf(y) ^ logarithmSign), flags);
  return irrational(times(log2(toFinite(x)), toFinite(y)), control, flags);
}

/** FYL2XP1: ST1 × log2(ST0 + 1); up to −1, where the manual leaves it open, ST0 comes back. */
function yLog2OnePlus(x: Extended, y: Extended, control: number): Result {
  const special = specialOperands(x, y);
  if (special) return special;
  const [kx, ky] = [kindOf(x), kindOf(y)];
  const sign = signOf(x) ^ signOf(y);
  const flags = denormalFlag(kx, ky);
  if (kx === 'infinity') return signOf(x) || ky === 'zero' ? invalid : exact(infinityOf(signOf(y)), flags);
  if (ky === 'infinity') return kx === 'zero' ? invalid : exact(infinityOf(sign), flags);
  if (kx === 'zero' || ky === 'zero') return exact(zeroOf(sign), flags);
  const number = toFinite(x);
  const onePlus = add(ONE_FINITE, number);
  if (number.sign && (onePlus.sign || onePlus.significand === 0n)) return exact(x, flags | Flags.inexact);
  const logarithm = magnitude(number) < -2 ? log2OnePlus(number) : log2(onePlus);
  return irrational(times(logarithm, toFinite(y)), control, flags);
}

/** FPATAN: the angle of the point (ST0, ST1) (SDM vol. 2A, table 3-31). */
function arctangent(x: Extended, y: Extended, control: number): Result {
  const special = specialOperands(x, y);
  if (special) return special;
  const [kx, ky] = [kindOf(x), kindOf(y)];
  const flags = denormalFlag(kx, ky);
  const fractionOfPi = (numerator: bigint, exponent: number): Result => {
    const { significand, exponent: e } = pi();
    return irrational(
      { sign: signOf(y), significand: significand * numerator, exponent: e + exponent },
      control,
      flags,
    );
  };
  if (ky === 'infinity')
    return kx === 'infinity' ? (signOf(x) ? fractionOfPi(3n, -2) : fractionOfPi(1n, -2)) : fractionOfPi(1n, -1);
  if (ky === 'zero' || kx === 'infinity') return signOf(x) ? fractionOfPi(1n, 0) : exact(zeroOf(signOf(y)), flags);
  if (kx === 'zero') return fractionOfPi(1n, -1);
  return irrational(angle(toFinite(y), toFinite(x)), control, flags);
}

export const x87TranscendentalHelpers: Record<string, Helper> = {
  x87Sine: withRange(sineOf),
  x87Cosine: withRange(cosineOf),
  x87SineCosine: withPush(sineOf, (a, control) => cosineOf(a, control).value),
  x87Tangent: withPush(tangentOf, () => ONE),
  x87Exponential: unary(exponential),
  x87YLog2: binary(yLog2),
  x87YLog2OnePlus: binary(yLog2OnePlus),
  x87Arctangent: binary(arctangent),
};

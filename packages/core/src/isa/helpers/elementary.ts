/**
 * Elementary functions on long binary numbers, for x87's transcendental instructions. Each answer has a relative error
 * below 2^−150 or so: rounding it to 64 bits gives the correctly rounded result but for cases that no table has shown.
 */
import { add, bitLength, type Finite, integerSquareRoot, toInteger } from './softfloat.ts';

const WORKING_BITS = 192;
/** Series stop when a term is this far below their sum. */
const SERIES_BITS = 180;

/** Cut to the working precision. */
function trim(a: Finite): Finite {
  const excess = bitLength(a.significand) - WORKING_BITS;
  if (excess <= 0) return a;
  return { sign: a.sign, significand: a.significand >> BigInt(excess), exponent: a.exponent + excess };
}
const sum = (a: Finite, c: Finite): Finite => trim(add(a, c));
const negate = (a: Finite): Finite => ({ ...a, sign: a.sign ^ 1 });
const difference = (a: Finite, c: Finite): Finite => sum(a, negate(c));
export const times = (a: Finite, c: Finite): Finite =>
  trim({ sign: a.sign ^ c.sign, significand: a.significand * c.significand, exponent: a.exponent + c.exponent });
export function over(a: Finite, c: Finite): Finite {
  const shift = WORKING_BITS + bitLength(c.significand);
  const significand = (a.significand << BigInt(shift)) / c.significand;
  return trim({ sign: a.sign ^ c.sign, significand, exponent: a.exponent - c.exponent - shift });
}
const integer = (value: number): Finite => ({
  sign: value < 0 ? 1 : 0,
  significand: BigInt(Math.abs(value)),
  exponent: 0,
});
export const ONE = integer(1);
/** Position of the leading bit: floor(log2 |a|). */
export const magnitude = (a: Finite): number => a.exponent + bitLength(a.significand) - 1;

function squareRoot(a: Finite): Finite {
  const shift = 2 * WORKING_BITS + ((a.exponent - 2 * WORKING_BITS) & 1);
  return trim({
    sign: 0,
    significand: integerSquareRoot(a.significand << BigInt(shift)),
    exponent: (a.exponent - shift) / 2,
  });
}

/** first + first·r₁ + first·r₁·r₂ + …, where `ratio(n)` is the factor from term n − 1 to term n. */
function series(first: Finite, ratio: (n: number) => Finite): Finite {
  let total = first;
  let term = first;
  for (let n = 1; n < 400; n++) {
    term = times(term, ratio(n));
    if (term.significand === 0n || magnitude(term) < magnitude(total) - SERIES_BITS) return total;
    total = sum(total, term);
  }
  return total;
}

/** Σ z^(2n+1) / (2n+1), alternating (arctangent) or not (inverse hyperbolic tangent). */
function oddPowers(z: Finite, alternating: boolean): Finite {
  const square = times(z, z);
  let total = z;
  let power = z;
  for (let n = 1; n < 400; n++) {
    power = times(power, alternating ? negate(square) : square);
    const term = over(power, integer(2 * n + 1));
    if (term.significand === 0n || magnitude(term) < magnitude(total) - SERIES_BITS) return total;
    total = sum(total, term);
  }
  return total;
}

function lazy<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

/** 16 arctan 1/5 − 4 arctan 1/239 (Machin), in fixed point. */
const PI_BITS = 200;
export const pi = lazy((): Finite => {
  const arctangentOfInverse = (n: bigint): bigint => {
    let power = (1n << BigInt(PI_BITS + 16)) / n;
    let total = 0n;
    for (let k = 1n; power > 0n; k += 2n) {
      total += k & 2n ? -(power / k) : power / k;
      power /= n * n;
    }
    return total;
  };
  return {
    sign: 0,
    significand: 16n * arctangentOfInverse(5n) - 4n * arctangentOfInverse(239n),
    exponent: -(PI_BITS + 16),
  };
});
/** The π of 66 bits by which processors reduce angles (SDM vol. 1, 8.3.8), halved. */
const REDUCTION_HALF_PI: Finite = { sign: 0, significand: 0xc90fdaa22168c234cn, exponent: -67 };
const ln2 = lazy((): Finite => {
  const half = oddPowers(over(ONE, integer(3)), false);
  return { ...half, exponent: half.exponent + 1 };
});

/** 2^x − 1. */
export function exp2MinusOne(x: Finite): Finite {
  const y = times(x, ln2());
  return series(y, (n) => over(y, integer(n + 1)));
}

/** ln(1 + x) for 1 + x near 1: 2 artanh(x / (2 + x)). */
function naturalLogOnePlus(x: Finite): Finite {
  const half = oddPowers(over(x, sum(integer(2), x)), false);
  return { ...half, exponent: half.exponent + 1 };
}
/** log2(1 + x) for x between −0.3 and 0.5. */
export const log2OnePlus = (x: Finite): Finite => over(naturalLogOnePlus(x), ln2());

/** log2 of a positive number. */
export function log2(x: Finite): Finite {
  let exponent = magnitude(x);
  let mantissa: Finite = { ...x, exponent: x.exponent - exponent };
  const root2 = squareRoot(integer(2));
  if (difference(mantissa, root2).sign === 0) {
    mantissa = { ...mantissa, exponent: mantissa.exponent - 1 };
    exponent++;
  }
  const fraction = add(mantissa, negate(ONE));
  if (fraction.significand === 0n) return integer(exponent);
  return sum(integer(exponent), log2OnePlus(fraction));
}

/** x = quadrant·π/2 + rest with |rest| at most π/4; the quadrant is modulo 4. */
function reduceAngle(x: Finite): { quadrant: number; rest: Finite } {
  const halfPi = REDUCTION_HALF_PI;
  const quotient = toInteger(over(x, halfPi), 0).value;
  if (quotient === 0n) return { quadrant: 0, rest: x };
  const multiple: Finite = {
    sign: quotient < 0n ? 0 : 1,
    significand: (quotient < 0n ? -quotient : quotient) * halfPi.significand,
    exponent: halfPi.exponent,
  };
  return { quadrant: Number(((quotient % 4n) + 4n) % 4n), rest: trim(exactSum(x, multiple)) };
}
/** Sum with no bit lost: the shorter exponent distance here is bounded by the format. */
function exactSum(a: Finite, c: Finite): Finite {
  const exponent = Math.min(a.exponent, c.exponent);
  const at = ({ sign, significand, exponent: e }: Finite) =>
    (sign ? -significand : significand) << BigInt(e - exponent);
  const total = at(a) + at(c);
  return { sign: total < 0n ? 1 : 0, significand: total < 0n ? -total : total, exponent };
}

function sineSeries(x: Finite): Finite {
  const square = negate(times(x, x));
  return series(x, (n) => over(square, integer(2 * n * (2 * n + 1))));
}
function cosineSeries(x: Finite): Finite {
  const square = negate(times(x, x));
  return series(ONE, (n) => over(square, integer(2 * n * (2 * n - 1))));
}

/** Sine and cosine of a nonzero number below 2^63. */
export function sineCosine(x: Finite): { sine: Finite; cosine: Finite } {
  const { quadrant, rest } = reduceAngle(x);
  const [s, c] = [sineSeries(rest), cosineSeries(rest)];
  const turned = quadrant & 1 ? { sine: c, cosine: negate(s) } : { sine: s, cosine: c };
  return quadrant & 2 ? { sine: negate(turned.sine), cosine: negate(turned.cosine) } : turned;
}

/** arctan t for t from 0 to 1: halved three times, then the series. */
function arctangent(t: Finite): Finite {
  let reduced = t;
  const halvings = magnitude(t) < -8 ? 0 : 3;
  for (let i = 0; i < halvings; i++) {
    const hypotenuse = squareRoot(sum(ONE, times(reduced, reduced)));
    reduced = over(reduced, sum(ONE, hypotenuse));
  }
  const result = oddPowers(reduced, true);
  return { ...result, exponent: result.exponent + halvings };
}

/** Angle of the point (x, y), both nonzero, from −π to π. */
export function angle(y: Finite, x: Finite): Finite {
  const [up, right] = [
    { ...y, sign: 0 },
    { ...x, sign: 0 },
  ];
  const steep = difference(right, up).sign === 1;
  const acute = arctangent(steep ? over(right, up) : over(up, right));
  const quarter: Finite = { ...pi(), exponent: pi().exponent - 1 };
  const first = steep ? difference(quarter, acute) : acute;
  const folded = x.sign ? difference(pi(), first) : first;
  return { ...folded, sign: y.sign };
}

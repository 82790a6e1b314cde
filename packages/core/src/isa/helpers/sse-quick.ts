/**
 * Ordinary operands in the host's own arithmetic: the rounding error is computed exactly by error-free
 * transformations (Dekker 1971, Knuth TAOCP vol. 2, 4.2.2), so that PE is known without big integers.
 */
import { f32FromBits, f32ToBits, f64FromBits, f64ToBits } from '../../ir/float-ops.ts';
import type { Outcome } from './ieee.ts';
import { Flags } from './softfloat.ts';

/** DAZ, FTZ, rounding to nearest and the masks: what MXCSR holds after reset, flags aside. */
const CONTROL_BITS = 0xffc0;
const DEFAULT_CONTROL = 0x1f80;

/** Magnitudes for which neither results nor the parts of error computation leave the normal range. */
const SAFE = { single: { low: 2 ** -60, high: 2 ** 60 }, double: { low: 2 ** -400, high: 2 ** 400 } } as const;

const SPLITTER = 2 ** 27 + 1;
/** The rounding error of a × c = p, exact. */
function productError(a: number, c: number, p: number): number {
  const aHigh = SPLITTER * a - (SPLITTER * a - a);
  const cHigh = SPLITTER * c - (SPLITTER * c - c);
  const aLow = a - aHigh;
  const cLow = c - cHigh;
  return aLow * cLow - (p - aHigh * cHigh - aLow * cHigh - aHigh * cLow);
}
/** The rounding error of a + c = s, exact. */
function sumError(a: number, c: number, s: number): number {
  const cPart = s - a;
  return a - (s - cPart) + (c - cPart);
}

/** The result before the last rounding to `single`, and whether it is already inexact. */
function compute(name: string, a: number, c: number): { value: number; inexact: boolean } | undefined {
  switch (name) {
    case 'add':
    case 'sub': {
      const right = name === 'add' ? c : -c;
      const value = a + right;
      return { value, inexact: sumError(a, right, value) !== 0 };
    }
    case 'mul': {
      const value = a * c;
      return { value, inexact: productError(a, c, value) !== 0 };
    }
    case 'div': {
      const value = a / c;
      return { value, inexact: value * c !== a || productError(value, c, a) !== 0 };
    }
    case 'sqrt': {
      const value = Math.sqrt(c);
      return { value, inexact: value * value !== c || productError(value, value, c) !== 0 };
    }
    default:
      return undefined;
  }
}

/** Result and PE of add, sub, mul, div, sqrt; `undefined` where the general path is needed. */
export function exactOrInexact(
  isDouble: boolean,
  name: string,
  left: bigint,
  right: bigint,
  mxcsr: number,
): Outcome | undefined {
  if ((mxcsr & CONTROL_BITS) !== DEFAULT_CONTROL) return undefined;
  const { low, high } = isDouble ? SAFE.double : SAFE.single;
  const safe = (x: number) => Math.abs(x) >= low && Math.abs(x) <= high;
  const c = isDouble ? f64FromBits(right) : f32FromBits(Number(right));
  const a = name === 'sqrt' ? 1 : isDouble ? f64FromBits(left) : f32FromBits(Number(left));
  const additive = name === 'add' || name === 'sub';
  if (!(safe(a) || (a === 0 && additive)) || !(safe(c) || (c === 0 && additive)) || (name === 'sqrt' && c < 0))
    return undefined;
  const found = compute(name, a, c);
  if (!found) return undefined;
  const value = isDouble ? found.value : Math.fround(found.value);
  if (!safe(value) && value !== 0) return undefined;
  const bits = isDouble ? BigInt.asUintN(64, f64ToBits(value)) : BigInt(f32ToBits(value) >>> 0);
  return { bits, flags: found.inexact || value !== found.value ? Flags.inexact : 0 };
}

/**
 * Shuffles and interleaves of SSE and SSE2. Selectors stand in the record, not in the shape, so the
 * ones with an immediate make their byte indices at run time: selector bits are multiplied to one place of
 * each lane, cut out, and spread over the lane's bytes.
 */
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import type { Semantics } from '../types.ts';
import { constantBytes, readAligned, repeated, shuffle, sse, writeXmm } from './sse-common.ts';
import { combine } from './sse-integer.ts';

const { i8x16, i16x8, i32x4, i64x2, v128 } = vectorOps;

const words16 = (b: Builder, values: readonly number[]) =>
  constantBytes(
    b,
    values.flatMap((v) => [v & 0xff, v >> 8]),
  );
const words32 = (b: Builder, values: readonly number[]) =>
  constantBytes(
    b,
    values.flatMap((v) => [v & 0xff, (v >> 8) & 0xff, (v >> 16) & 0xff, v >>> 24]),
  );

/** Byte indices that choose, for each 32-bit lane, the lane that two bits of the immediate name. */
function doublewordIndices(b: Builder): Value {
  const spread = b.pure(i32x4.mul, b.pure(i32x4.splat, b.wrap(b.immediate())), words32(b, [64, 16, 4, 1]));
  const lane = b.pure(i32x4.shr_u, b.pure(v128.and, spread, repeated(b, 4, 0xc0n)), b.i32(4));
  return b.pure(i32x4.add, b.pure(i32x4.mul, lane, repeated(b, 4, 0x01010101n)), repeated(b, 4, 0x03020100n));
}

/** The same for the four words of one half (word 0 or 4); the other half stays as it is. */
export function wordIndices(b: Builder, half: 0 | 4): Value {
  const factors = [64, 16, 4, 1];
  const none = [0, 0, 0, 0];
  const spread = b.pure(
    i16x8.mul,
    b.pure(i16x8.splat, b.wrap(b.immediate())),
    words16(b, half ? [...none, ...factors] : [...factors, ...none]),
  );
  const lane = b.pure(i16x8.shr_u, b.pure(v128.and, spread, repeated(b, 2, 0xc0n)), b.i32(5));
  const identity = (word: number) => ((word * 2 + 1) << 8) | (word * 2);
  const start = Array.from({ length: 8 }, (_, i) => identity(i >= half && i < half + 4 ? half : i));
  return b.pure(i16x8.add, b.pure(i16x8.mul, lane, repeated(b, 2, 0x0101n)), words16(b, start));
}

const permute = (indices: (b: Builder) => Value): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    writeXmm(b, destination, b.pure(i8x16.swizzle, readAligned(b, shape, source), indices(b)));
  });
/** PSHUFD, PSHUFLW, PSHUFHW. */
export const shuffleDoublewords = permute(doublewordIndices);
export const shuffleLowWords = permute((b) => wordIndices(b, 0));
export const shuffleHighWords = permute((b) => wordIndices(b, 4));

const LOW_HALF_THEN_HIGH_HALF = [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31];

/** SHUFPS: two lanes of the destination, then two of the source. */
export const shuffleSingles = combine((b, a, c) => {
  const indices = doublewordIndices(b);
  return shuffle(b, LOW_HALF_THEN_HIGH_HALF, b.pure(i8x16.swizzle, a, indices), b.pure(i8x16.swizzle, c, indices));
});

/** SHUFPD: one lane of the destination, then one of the source. */
export const shuffleDoubles = combine((b, a, c) => {
  const selector = b.wrap(b.immediate());
  const pick = (from: Value, bit: number) =>
    b.select(b.and(selector, b.i32(bit)), b.pureWith(i64x2.extract, [1], from), b.pureWith(i64x2.extract, [0], from));
  return b.pureWith(i64x2.replace, [1], b.pure(i64x2.splat, pick(a, 1)), pick(c, 2));
});

/** PUNPCKL*, PUNPCKH*, UNPCKL*, UNPCKH*: lanes of one half of both, alternately. */
export const interleave = (laneBytes: 1 | 2 | 4 | 8, half: 'low' | 'high'): Semantics => {
  const start = half === 'low' ? 0 : 8;
  const bytes = Array.from({ length: 16 }, (_, i) => {
    const lane = Math.floor(i / laneBytes);
    return start + (lane >> 1) * laneBytes + (i % laneBytes) + (lane & 1 ? 16 : 0);
  });
  return combine((b, a, c) => shuffle(b, bytes, a, c));
};

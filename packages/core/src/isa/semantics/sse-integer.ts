/** SSE2 integer arithmetic, comparison, logic and shifts on XMM registers (SDM vol. 1, 11.4.3). */
import type { Builder } from '../../ir/builder.ts';
import type { PureOp, Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { linearAddress } from '../operands.ts';
import type { Semantics } from '../types.ts';
import { constantBytes, readAligned, repeated, shuffle, sse, writeXmm, xmmField, zeroVector } from './sse-common.ts';

const { i8x16, i16x8, i32x4, i64x2, v128 } = vectorOps;

/** destination = f(destination, source), all 16 bytes; memory is aligned. */
export const combine = (f: (b: Builder, a: Value, c: Value) => Value): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const right = readAligned(b, shape, source);
    writeXmm(b, destination, f(b, b.getRegister(xmmField(destination), 16), right));
  });

/** One vector operation, destination first. */
export const lanes = (op: PureOp): Semantics => combine((b, a, c) => b.pure(op, a, c));

/** ANDNPS, ANDNPD, PANDN: NOT destination AND source. */
export const andNot = combine((b, a, c) => b.pure(v128.andnot, c, a));

/** PMULHW, PMULHUW: the high halves of 32-bit products. */
export const multiplyHigh = (low: PureOp, high: PureOp): Semantics =>
  combine((b, a, c) => {
    const highWords = [2, 3, 6, 7, 10, 11, 14, 15];
    return shuffle(b, [...highWords, ...highWords.map((i) => i + 16)], b.pure(low, a, c), b.pure(high, a, c));
  });

/** PMULUDQ: unsigned products of lanes 0 and 2. */
export const multiplyDoublewords = combine((b, a, c) => {
  const even = (value: Value) => shuffle(b, [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11], value, value);
  return b.pure(i64x2.extmul_low_u, even(a), even(c));
});

/** PSADBW: sums of absolute differences of unsigned bytes, one for each eight. */
export const sumAbsoluteDifferences = combine((b, a, c) => {
  const difference = b.pure(v128.or, b.pure(i8x16.sub_sat_u, a, c), b.pure(i8x16.sub_sat_u, c, a));
  const quarters = b.pure(i32x4.extadd_u, b.pure(i16x8.extadd_u, difference));
  const low = b.pure(v128.and, quarters, repeated(b, 8, 0xffffffffn));
  return b.pure(i64x2.add, low, b.pure(i64x2.shr_u, quarters, b.i32(32)));
});

const SHIFTS = {
  16: i16x8,
  32: i32x4,
  64: { shl: i64x2.shl, shr_u: i64x2.shr_u, shr_s: i64x2.shr_u },
} as const;

/** A count of the lane's width or more gives 0, or the sign in every bit. `count` is an unsigned i32 or i64. */
export function shiftLanes(
  b: Builder,
  width: 16 | 32 | 64,
  kind: 'shl' | 'shr_u' | 'shr_s',
  value: Value,
  count: Value,
): Value {
  const tooLarge = b.gtU(count, b.constant(count, width - 1));
  const amount = b.wrap(count);
  if (kind === 'shr_s') return b.pure(SHIFTS[width].shr_s, value, b.select(tooLarge, b.i32(width - 1), amount));
  return b.select(tooLarge, zeroVector(b), b.pure(SHIFTS[width][kind], value, amount));
}

/** PSLLW xmm, xmm/m128 and its like: one 64-bit count for all lanes. */
export const shiftByVector = (width: 16 | 32 | 64, kind: 'shl' | 'shr_u' | 'shr_s'): Semantics =>
  combine((b, a, c) => shiftLanes(b, width, kind, a, b.pureWith(i64x2.extract, [0], c)));

/** PSLLW xmm, imm8 and its like. */
export const shiftByImmediate = (width: 16 | 32 | 64, kind: 'shl' | 'shr_u' | 'shr_s'): Semantics =>
  sse((b, shape) => {
    const [destination] = shape.operands;
    const count = b.and(b.wrap(b.immediate()), b.i32(0xff));
    writeXmm(b, destination, shiftLanes(b, width, kind, b.getRegister(xmmField(destination), 16), count));
  });

const IOTA = Array.from({ length: 16 }, (_, i) => i);

/** PSLLDQ, PSRLDQ: by bytes. Indices outside 0 to 15 make swizzle answer 0. */
export const shiftBytes = (direction: 'left' | 'right'): Semantics =>
  sse((b, shape) => {
    const [destination] = shape.operands;
    const count = b.and(b.wrap(b.immediate()), b.i32(0xff));
    const clipped = b.pure(i8x16.splat, b.select(b.gtU(count, b.i32(16)), b.i32(16), count));
    const indices = b.pure(direction === 'left' ? i8x16.sub : i8x16.add, constantBytes(b, IOTA), clipped);
    writeXmm(b, destination, b.pure(i8x16.swizzle, b.getRegister(xmmField(destination), 16), indices));
  });

/** PINSRW xmm, r32/m16, imm8. */
export const insertWord: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  const word = source.kind === 'mem' ? b.load(linearAddress(b, shape, source, 'read', 2), 2) : generalLow(b, source);
  const lane = b.pure(i16x8.splat, b.and(b.wrap(b.immediate()), b.i32(7)));
  const selected = b.pure(
    i16x8.eq,
    lane,
    constantBytes(
      b,
      IOTA.map((i) => (i & 1 ? 0 : i >> 1)),
    ),
  );
  const old = b.getRegister(xmmField(destination), 16);
  writeXmm(b, destination, b.pure(v128.bitselect, b.pure(i16x8.splat, word), old, selected));
});

function generalLow(b: Builder, operand: { readonly kind: string }): Value {
  const gpr = operand as { kind: string; field?: 'reg' | 'rm' };
  if (gpr.kind !== 'gpr' || !gpr.field) throw new Error(`a general register is expected, not ${gpr.kind}`);
  return b.getRegister(gpr.field, 4);
}

/** PEXTRW r32, xmm, imm8. */
export const extractWord: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  const at = b.shl(b.and(b.wrap(b.immediate()), b.i32(7)), b.i32(1));
  const indices = b.pure(i8x16.add, b.pure(i8x16.splat, at), constantBytes(b, IOTA));
  const moved = b.pure(i8x16.swizzle, b.getRegister(xmmField(source), 16), indices);
  if (destination.kind !== 'gpr') throw new Error('PEXTRW writes a general register');
  b.setRegister(destination.field, 8, b.extendU(b.pureWith(i16x8.extract_u, [0], moved)));
});

/** SSE and SSE2 conversions (SDM vol. 1, 10.4.2.3, 11.4.1.6). Fast paths as in sse-float.ts. */
import { MXCSR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import { floatOps } from '../../ir/float-ops.ts';
import type { Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { read, write } from '../operands.ts';
import type { Semantics } from '../types.ts';
import { readAligned, readLow, sse, writeLow, writeXmm } from './sse-common.ts';
import {
  callPacked,
  DOUBLE,
  type FloatKind,
  fastOr,
  inexactIsSilent,
  masked,
  notDenormal,
  SINGLE,
  wellNormal,
} from './sse-float.ts';

const { convert } = floatOps;

/** CVTSI2SS, CVTSI2SD: exact while the integer has no more bits than the significand. */
export const integerToScalar = (kind: FloatKind): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const value = read(b, shape, source);
    const wide = value.type === 'i64';
    const double = kind.bytes === 8;
    const op = double
      ? wide
        ? convert.f64FromI64
        : convert.f64FromI32
      : wide
        ? convert.f32FromI64
        : convert.f32FromI32;
    const fast = b.pure(kind.toBits, b.pure(op, value));
    if (double && !wide) return writeLow(b, destination, 8, fast);
    const limit = double ? 1n << 53n : 1n << 24n;
    const exact = b.ltU(b.add(value, b.constant(value, limit)), b.constant(value, 2n * limit));
    const slow = () => {
      const argument = wide ? value : b.extendS(value);
      return b.helper(double ? 'sseF64FromI64' : 'sseF32FromI64', [argument], {
        result: double ? 'i64' : 'i32',
        mayFault: true,
      });
    };
    writeLow(b, destination, kind.bytes, fastOr(b, b.or(exact, inexactIsSilent(b)), fast, slow));
  });

/** CVTSD2SI, CVTTSS2SI and the others: fast for numbers inside the range whose PE is known. */
export const scalarToInteger = (kind: FloatKind, truncate: boolean): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const bits = readLow(b, shape, source, kind.bytes);
    const wide = shape.operandWidth === 64;
    const value = b.pure(kind.fromBits, bits);
    const single = kind.bytes === 4;
    const integral = truncate ? value : b.pure(kind.scalar.nearest, value);
    const fast = b.pure(
      single ? (wide ? convert.i64FromF32 : convert.i32FromF32) : wide ? convert.i64FromF64 : convert.i32FromF64,
      integral,
    );
    const back = b.pure(
      single ? (wide ? convert.f32FromI64 : convert.f32FromI32) : wide ? convert.f64FromI64 : convert.f64FromI32,
      fast,
    );
    const exact = b.pure(kind.scalar.eq, back, value);
    // Below the magnitude of the least integer, with room for rounding up: 2^31 − 1 rounds to no more than 2^31.
    const limit = b.pure(kind.fromBits, b.constant(bits, powerOfTwoBits(kind, wide ? 62 : 30)));
    const inside = b.pure(kind.scalar.lt, b.pure(kind.scalar.abs, value), limit);
    const precisionSeen = b.and(b.get(MXCSR), b.i32(1 << 5));
    const roundingKnown = truncate ? masked(b) : b.eq(b.and(b.get(MXCSR), b.i32(0x7fc0)), b.i32(0x1f80));
    const ordinary = b.and(b.and(roundingKnown, inside), b.or(exact, b.ne(precisionSeen, b.i32(0))));
    const name = `sseI${wide ? 64 : 32}FromF${kind.suffix}${truncate ? 'Truncated' : ''}`;
    const slow = () => b.helper(name, [bits], { result: wide ? 'i64' : 'i32', mayFault: true });
    write(b, shape, destination, fastOr(b, ordinary, fast, slow));
  });

function powerOfTwoBits(kind: FloatKind, exponent: number): bigint {
  return kind.bytes === 8 ? BigInt(1023 + exponent) << 52n : BigInt(127 + exponent) << 23n;
}

/** CVTSS2SD: exact; a NaN or denormal goes to the helper. */
export const singleToDouble: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  const bits = readLow(b, shape, source, 4);
  const value = b.pure(convert.f32OfBits, bits);
  const fast = b.pure(convert.f64Bits, b.pure(convert.promote, value));
  const ordinary = b.and(b.and(masked(b), b.pure(floatOps.f32.eq, value, value)), notDenormal(b, SINGLE, bits));
  const slow = () => b.helper('sseF64FromF32', [bits], { result: 'i64', mayFault: true });
  writeLow(b, destination, 8, fastOr(b, ordinary, fast, slow));
});

/** CVTSD2SS. */
export const doubleToSingle: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  const bits = readLow(b, shape, source, 8);
  const fast = b.pure(convert.f32Bits, b.pure(convert.demote, b.pure(convert.f64OfBits, bits)));
  const ordinary = b.and(b.and(inexactIsSilent(b), notDenormal(b, DOUBLE, bits)), wellNormal(b, SINGLE, fast));
  const slow = () => b.helper('sseF32FromF64', [bits], { result: 'i32', mayFault: true });
  writeLow(b, destination, 4, fastOr(b, ordinary, fast, slow));
});

/** CVTDQ2PD: four-byte integers of the low half; always exact. */
export const packedIntegerToDouble: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  const lanes = b.pure(vectorOps.i64x2.splat, readLow(b, shape, source, 8));
  writeXmm(b, destination, b.pure(vectorOps.f64x2.convertLow, lanes));
});

/** CVTDQ2PS. */
export const packedIntegerToSingle: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  const lanes = readAligned(b, shape, source);
  const fast = b.pure(vectorOps.f32x4.convert, lanes);
  writeXmm(
    b,
    destination,
    fastOr(b, inexactIsSilent(b), fast, () => callPacked(b, 'ssePackedF32FromI32', [], lanes, lanes)),
  );
});

/** The other packed conversions, by a helper. CVTPS2PD reads eight bytes, the others sixteen. */
export const packedConversion = (helper: string, sourceBytes: 8 | 16): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const value = sourceBytes === 16 ? readAligned(b, shape, source) : lowHalf(b, readLow(b, shape, source, 8));
    writeXmm(b, destination, callPacked(b, helper, [], value, value));
  });
const lowHalf = (b: Builder, value: Value): Value => b.pure(vectorOps.i64x2.splat, value);

/**
 * SSE and SSE2 arithmetic and comparison (SDM vol. 1, 10.4.2, 11.4.1 and 11.5).
 *
 * Ordinary operands go through WebAssembly's arithmetic, everything else through a helper that is exact. Ordinary:
 * MXCSR has its default controls; no operand is denormal; the result is neither infinite, NaN nor (where it could be
 * inexact) near or below the least normal number; and PE is set already or the result is seen to be exact. Then no
 * exception flag can change, the rounding is WebAssembly's, and no bits of a NaN made by the host get out.
 */
import { FS, FZ, MXCSR, VECTOR_SCRATCH } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import { floatOps } from '../../ir/float-ops.ts';
import type { Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { setCarryOverflow, unpackArithmeticFlags } from '../flags.ts';
import { PREDICATE_SHIFT, PREDICATES, sseOperationNumber } from '../helpers/sse-float.ts';
import type { Semantics } from '../types.ts';
import { readAligned, readLow, repeated, sse, writeLow, writeXmm, xmmField } from './sse-common.ts';

/** What differs between binary32 and binary64. */
export const SINGLE = {
  bytes: 4,
  suffix: '32',
  vector: vectorOps.f32x4,
  scalar: floatOps.f32,
  fromBits: floatOps.convert.f32OfBits,
  toBits: floatOps.convert.f32Bits,
  leastNormal: 0x00800000n,
  infinity: 0x7f800000n,
} as const;
export const DOUBLE = {
  bytes: 8,
  suffix: '64',
  vector: vectorOps.f64x2,
  scalar: floatOps.f64,
  fromBits: floatOps.convert.f64OfBits,
  toBits: floatOps.convert.f64Bits,
  leastNormal: 1n << 52n,
  infinity: 0x7ffn << 52n,
} as const;
export type FloatKind = typeof SINGLE | typeof DOUBLE;
type Arithmetic = 'add' | 'sub' | 'mul' | 'div';

/** Default controls and PE set: an inexact result changes nothing in MXCSR. */
export const inexactIsSilent = (b: Builder): Value => b.eq(b.and(b.get(MXCSR), b.i32(0xffe0)), b.i32(0x1fa0));
/** Default controls, whatever the flags. */
const defaultControls = (b: Builder): Value => b.eq(b.and(b.get(MXCSR), b.i32(0xffc0)), b.i32(0x1f80));
/** All exceptions masked and no DAZ: enough where nothing is rounded. */
export const masked = (b: Builder): Value => b.eq(b.and(b.get(MXCSR), b.i32(0x1fc0)), b.i32(0x1f80));

/** The magnitude's bits times two: order and class without the sign. */
const doubled = (b: Builder, bits: Value): Value => b.shl(bits, b.constant(bits, 1));
/** Not denormal (zero counts as ordinary: it wraps to the top). */
export const notDenormal = (b: Builder, kind: FloatKind, bits: Value): Value =>
  b.geU(b.sub(doubled(b, bits), b.constant(bits, 1)), b.constant(bits, 2n * kind.leastNormal - 1n));
/** Finite: neither infinity nor NaN. */
const finite = (b: Builder, kind: FloatKind, bits: Value): Value =>
  b.ltU(doubled(b, bits), b.constant(bits, 2n * kind.infinity));
/** Finite and above the least normal number. */
export const wellNormal = (b: Builder, kind: FloatKind, bits: Value): Value => {
  const offset = 2n * kind.leastNormal + 1n;
  return b.ltU(b.sub(doubled(b, bits), b.constant(bits, offset)), b.constant(bits, 2n * kind.infinity - offset));
};

/** `fast` where `ordinary` holds, else the helper's answer. */
export function fastOr(b: Builder, ordinary: Value, fast: Value, slow: () => Value): Value {
  const result = b.variable(fast);
  b.when(b.eqz(ordinary), () => b.assign(result, slow()));
  return b.current(result);
}

function callScalar(b: Builder, kind: FloatKind, code: Value, a: Value, c: Value): Value {
  return b.helper(`sseScalar${kind.suffix}`, [code, a, c], {
    result: kind.bytes === 8 ? 'i64' : 'i32',
    mayFault: true,
  });
}

/** The rounding error of a sum is 0 (Knuth, TAOCP vol. 2, 4.2.2, theorem B; holds for all finite operands and sums). */
function sumIsExact(b: Builder, kind: FloatKind, name: 'add' | 'sub', a: Value, c: Value, sum: Value): Value {
  const { add, sub, eq } = kind.scalar;
  const [plus, minus] = name === 'add' ? [add, sub] : [sub, add];
  const [x, y, s] = [a, c, sum].map((bits) => b.pure(kind.fromBits, bits));
  // The part of s that y contributed (negated for sub), what is missing of x and of y.
  const part = b.pure(sub, s, x);
  const missingX = b.pure(sub, x, b.pure(sub, s, part));
  const missingY = b.pure(minus, y, part);
  return b.pure(eq, b.pure(plus, missingX, missingY), b.pure(kind.fromBits, b.constant(sum, 0)));
}
/** Few enough significant bits in both that their product has no more than the format. */
function productIsShort(b: Builder, kind: FloatKind, x: Value, y: Value): Value {
  const [low, lower] = kind.bytes === 8 ? [(1n << 27n) - 1n, (1n << 26n) - 1n] : [(1n << 12n) - 1n, (1n << 12n) - 1n];
  return b.eqz(b.or(b.and(x, b.constant(x, low)), b.and(y, b.constant(y, lower))));
}
/** `result` is exact; ordinary operands and result are known. */
function isExact(b: Builder, kind: FloatKind, name: Arithmetic, a: Value, c: Value, result: Value): Value {
  if (name === 'add' || name === 'sub') return sumIsExact(b, kind, name, a, c, result);
  if (name === 'mul') return productIsShort(b, kind, a, c);
  const product = b.pure(kind.scalar.mul, b.pure(kind.fromBits, result), b.pure(kind.fromBits, c));
  return b.and(productIsShort(b, kind, result, c), b.eq(b.pure(kind.toBits, product), a));
}

/** An operand and the result are zero: exact under any controls. */
const zeroOfZero = (b: Builder, a: Value, c: Value, result: Value): Value => {
  const isZero = (bits: Value) => b.eqz(doubled(b, bits));
  return b.and(isZero(result), b.or(isZero(a), isZero(c)));
};

/** ADDSS, SUBSD and their like. */
export const scalarArithmetic = (kind: FloatKind, name: Arithmetic): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readLow(b, shape, source, kind.bytes);
    const a = b.getRegister(xmmField(destination), kind.bytes);
    const fast = b.pure(kind.toBits, b.pure(kind.scalar[name], b.pure(kind.fromBits, a), b.pure(kind.fromBits, c)));
    const operands = b.and(notDenormal(b, kind, a), notDenormal(b, kind, c));
    // Sums below the normal range are exact, so only their upper end matters.
    const range = name === 'add' || name === 'sub' ? finite(b, kind, fast) : wellNormal(b, kind, fast);
    const ordinary = b.and(operands, range);
    const result = b.variable(fast);
    b.when(b.eqz(b.and(inexactIsSilent(b), ordinary)), () => {
      let exact = b.and(b.and(defaultControls(b), ordinary), isExact(b, kind, name, a, c, fast));
      if (name === 'mul' || name === 'div') exact = b.or(exact, b.and(operands, zeroOfZero(b, a, c, fast)));
      b.when(b.eqz(exact), () => b.assign(result, callScalar(b, kind, b.i32(sseOperationNumber(name)), a, c)));
    });
    writeLow(b, destination, kind.bytes, b.current(result));
  });

/** SQRTSS, SQRTSD: fast for positive normal numbers. */
export const scalarRoot = (kind: FloatKind): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readLow(b, shape, source, kind.bytes);
    const fast = b.pure(kind.toBits, b.pure(kind.scalar.sqrt, b.pure(kind.fromBits, c)));
    const normal = b.ltU(b.sub(c, b.constant(c, kind.leastNormal)), b.constant(c, kind.infinity - kind.leastNormal));
    const ordinary = b.and(inexactIsSilent(b), normal);
    writeLow(
      b,
      destination,
      kind.bytes,
      fastOr(b, ordinary, fast, () => callScalar(b, kind, b.i32(sseOperationNumber('sqrt')), c, c)),
    );
  });

/** Neither is NaN nor denormal, and exceptions are masked: comparisons report nothing. */
function comparable(b: Builder, kind: FloatKind, a: Value, c: Value): Value {
  const [left, right] = [b.pure(kind.fromBits, a), b.pure(kind.fromBits, c)];
  const ordered = b.or(b.pure(kind.scalar.le, left, right), b.pure(kind.scalar.gt, left, right));
  return b.and(b.and(masked(b), ordered), b.and(notDenormal(b, kind, a), notDenormal(b, kind, c)));
}

/** MINSS, MAXSD: the source unless the destination is strictly beyond it. */
export const scalarExtremum = (kind: FloatKind, name: 'min' | 'max'): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readLow(b, shape, source, kind.bytes);
    const a = b.getRegister(xmmField(destination), kind.bytes);
    const beyond = b.pure(
      name === 'min' ? kind.scalar.lt : kind.scalar.gt,
      b.pure(kind.fromBits, a),
      b.pure(kind.fromBits, c),
    );
    const fast = b.select(beyond, a, c);
    const slow = () => callScalar(b, kind, b.i32(sseOperationNumber(name)), a, c);
    writeLow(b, destination, kind.bytes, fastOr(b, comparable(b, kind, a, c), fast, slow));
  });

const predicate = (b: Builder): Value => b.and(b.wrap(b.immediate()), b.i32(7));
/** All ones (i32) if the predicate of the immediate holds for this relation. */
const predicateMask = (b: Builder, table: number): Value => b.neg(b.and(b.shrU(b.i32(table), predicate(b)), b.i32(1)));
const compareCode = (b: Builder): Value =>
  b.or(b.i32(sseOperationNumber('compare')), b.shl(predicate(b), b.i32(PREDICATE_SHIFT)));

/** CMPSS, CMPSD. */
export const scalarCompare = (kind: FloatKind): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readLow(b, shape, source, kind.bytes);
    const a = b.getRegister(xmmField(destination), kind.bytes);
    const [left, right] = [b.pure(kind.fromBits, a), b.pure(kind.fromBits, c)];
    const lessOrEqual = b.select(
      b.pure(kind.scalar.lt, left, right),
      predicateMask(b, PREDICATES.less),
      predicateMask(b, PREDICATES.equal),
    );
    const mask = b.select(b.pure(kind.scalar.gt, left, right), predicateMask(b, PREDICATES.greater), lessOrEqual);
    const fast = kind.bytes === 8 ? b.extendS(mask) : mask;
    writeLow(
      b,
      destination,
      kind.bytes,
      fastOr(b, comparable(b, kind, a, c), fast, () => callScalar(b, kind, compareCode(b), a, c)),
    );
  });

/** COMISS, UCOMISD…: ZF PF CF, the other arithmetic flags 0. COMI signals quiet NaNs. */
export const compareToFlags = (kind: FloatKind, signalQuiet: boolean): Semantics =>
  sse((b, shape) => {
    const [first, second] = shape.operands;
    const c = readLow(b, shape, second, kind.bytes);
    const a = readLow(b, shape, first, kind.bytes);
    const [left, right] = [b.pure(kind.fromBits, a), b.pure(kind.fromBits, c)];
    b.when(
      comparable(b, kind, a, c),
      () => {
        setCarryOverflow(b, b.pure(kind.scalar.lt, left, right), b.i32(0));
        b.set(FZ, b.extendU(b.pure(kind.scalar.ne, left, right)));
        b.set(FS, b.i64(1));
      },
      () => {
        const args = [b.i32(signalQuiet ? 1 : 0), a, c];
        unpackArithmeticFlags(b, b.helper(`sseCompare${kind.suffix}`, args, { result: 'i32', mayFault: true }));
      },
    );
  });

// ---- packed ----

const { and, andnot, or, not, any_true } = vectorOps.v128;

function packedConstant(b: Builder, kind: FloatKind, value: bigint): Value {
  return repeated(b, kind.bytes, value);
}
/** Lanes (all ones) that hold a denormal number. */
function denormalLanes(b: Builder, kind: FloatKind, value: Value): Value {
  const magnitude = b.pure(kind.vector.abs, value);
  const small = b.pure(kind.vector.lt, magnitude, packedConstant(b, kind, kind.leastNormal));
  return b.pure(andnot, small, b.pure(kind.vector.eq, magnitude, packedConstant(b, kind, 0n)));
}
/** Lanes that are infinite or NaN, or (`strict`) not above the least normal number. */
function extremeLanes(b: Builder, kind: FloatKind, value: Value, strict: boolean): Value {
  const magnitude = b.pure(kind.vector.abs, value);
  const large = b.pure(not, b.pure(kind.vector.lt, magnitude, packedConstant(b, kind, kind.infinity)));
  if (!strict) return large;
  return b.pure(or, large, b.pure(kind.vector.le, magnitude, packedConstant(b, kind, kind.leastNormal)));
}

/** Hand vectors to a helper that answers in VECTOR_SCRATCH[2]. */
export function callPacked(b: Builder, name: string, args: readonly Value[], a: Value, c: Value): Value {
  b.set(VECTOR_SCRATCH[0], a);
  b.set(VECTOR_SCRATCH[1], c);
  b.helper(name, args, { mayFault: true });
  return b.get(VECTOR_SCRATCH[2]);
}

const ordinaryIf = (b: Builder, mode: Value, bad: Value): Value => b.and(mode, b.eqz(b.pure(any_true, bad)));

/** ADDPS, DIVPD and their like. */
export const packedArithmetic = (kind: FloatKind, name: Arithmetic): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readAligned(b, shape, source);
    const a = b.getRegister(xmmField(destination), 16);
    const fast = b.pure(kind.vector[name], a, c);
    const strict = name === 'mul' || name === 'div';
    const denormal = b.pure(or, denormalLanes(b, kind, a), denormalLanes(b, kind, c));
    const ordinary = ordinaryIf(b, inexactIsSilent(b), b.pure(or, denormal, extremeLanes(b, kind, fast, strict)));
    const slow = () => callPacked(b, `ssePacked${kind.suffix}`, [b.i32(sseOperationNumber(name))], a, c);
    writeXmm(b, destination, fastOr(b, ordinary, fast, slow));
  });

/** SQRTPS, SQRTPD. */
export const packedRoot = (kind: FloatKind): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readAligned(b, shape, source);
    const fast = b.pure(kind.vector.sqrt, c);
    const bad = b.pure(or, extremeLanes(b, kind, fast, false), denormalLanes(b, kind, c));
    const slow = () => callPacked(b, `ssePacked${kind.suffix}`, [b.i32(sseOperationNumber('sqrt'))], c, c);
    writeXmm(b, destination, fastOr(b, ordinaryIf(b, inexactIsSilent(b), bad), fast, slow));
  });

/** No lane of either is NaN or denormal, and exceptions are masked. */
function comparableLanes(b: Builder, kind: FloatKind, a: Value, c: Value): Value {
  const nan = b.pure(or, b.pure(kind.vector.ne, a, a), b.pure(kind.vector.ne, c, c));
  return ordinaryIf(b, masked(b), b.pure(or, nan, b.pure(or, denormalLanes(b, kind, a), denormalLanes(b, kind, c))));
}

/** MINPS, MAXPD: WebAssembly's pseudo-minimum with its operands exchanged is just this. */
export const packedExtremum = (kind: FloatKind, name: 'min' | 'max'): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readAligned(b, shape, source);
    const a = b.getRegister(xmmField(destination), 16);
    const fast = b.pure(name === 'min' ? kind.vector.pmin : kind.vector.pmax, c, a);
    const slow = () => callPacked(b, `ssePacked${kind.suffix}`, [b.i32(sseOperationNumber(name))], a, c);
    writeXmm(b, destination, fastOr(b, comparableLanes(b, kind, a, c), fast, slow));
  });

/** CMPPS, CMPPD. */
export const packedCompare = (kind: FloatKind): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readAligned(b, shape, source);
    const a = b.getRegister(xmmField(destination), 16);
    const lanesOf = (table: number) => b.pure(vectorOps.i32x4.splat, predicateMask(b, table));
    const equal = b.pure(kind.vector.eq, a, c);
    const less = b.pure(kind.vector.lt, a, c);
    const ordered = b.pure(
      or,
      b.pure(and, equal, lanesOf(PREDICATES.equal)),
      b.pure(and, less, lanesOf(PREDICATES.less)),
    );
    const greater = b.pure(andnot, lanesOf(PREDICATES.greater), b.pure(or, equal, less));
    const slow = () => callPacked(b, `ssePacked${kind.suffix}`, [compareCode(b)], a, c);
    writeXmm(b, destination, fastOr(b, comparableLanes(b, kind, a, c), b.pure(or, ordered, greater), slow));
  });

/** RCPPS, RSQRTPS. */
export const packedApproximation = (helper: 'sseReciprocal' | 'sseReciprocalRoot'): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = readAligned(b, shape, source);
    writeXmm(b, destination, callPacked(b, helper, [], c, c));
  });
/** RCPSS, RSQRTSS. */
export const scalarApproximation = (helper: 'sseReciprocal' | 'sseReciprocalRoot'): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const c = b.pure(vectorOps.i32x4.splat, readLow(b, shape, source, 4));
    writeLow(b, destination, 4, b.pureWith(vectorOps.i32x4.extract, [0], callPacked(b, helper, [], c, c)));
  });

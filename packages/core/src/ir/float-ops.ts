import type { Evaluated, PureOp, ValueType } from './types.ts';

const n = (value: Evaluated) => value as number;
const big = (value: Evaluated) => value as bigint;

const scratch = new DataView(new ArrayBuffer(8));
const CANONICAL_NAN_32 = 0x7fc00000;
const CANONICAL_NAN_64 = 0x7ff8000000000000n;

/** Numeric value of 32 bits. */
export function f32FromBits(bits: number): number {
  scratch.setInt32(0, bits);
  return scratch.getFloat32(0);
}
/** Bits (signed) of a value, rounded to nearest even; any NaN becomes WebAssembly's canonical one. */
export function f32ToBits(value: number): number {
  if (value !== value) return CANONICAL_NAN_32;
  scratch.setFloat32(0, value);
  return scratch.getInt32(0);
}
/** Numeric value of 64 bits. */
export function f64FromBits(bits: bigint): number {
  scratch.setBigInt64(0, bits);
  return scratch.getFloat64(0);
}
/** Bits (signed) of a value; any NaN becomes WebAssembly's canonical one. */
export function f64ToBits(value: number): bigint {
  if (value !== value) return CANONICAL_NAN_64;
  scratch.setFloat64(0, value);
  return scratch.getBigInt64(0);
}

function op(
  name: string,
  params: readonly ValueType[],
  result: ValueType,
  wasm: readonly number[],
  evaluate: PureOp['evaluate'],
): PureOp {
  return { name, params, result, wasm, evaluate };
}

type Binary = (a: number, b: number) => number;
type Unary = (a: number) => number;
type Predicate = (a: number, b: number) => boolean;

const f32Binary = (name: string, wasm: number, f: Binary) =>
  op(`f32.${name}`, ['f32', 'f32'], 'f32', [wasm], ([a, b]) => f32ToBits(f(f32FromBits(n(a)), f32FromBits(n(b)))));
const f64Binary = (name: string, wasm: number, f: Binary) =>
  op(`f64.${name}`, ['f64', 'f64'], 'f64', [wasm], ([a, b]) => f64ToBits(f(f64FromBits(big(a)), f64FromBits(big(b)))));
const f32Unary = (name: string, wasm: number, f: Unary) =>
  op(`f32.${name}`, ['f32'], 'f32', [wasm], ([a]) => f32ToBits(f(f32FromBits(n(a)))));
const f64Unary = (name: string, wasm: number, f: Unary) =>
  op(`f64.${name}`, ['f64'], 'f64', [wasm], ([a]) => f64ToBits(f(f64FromBits(big(a)))));
const f32Compare = (name: string, wasm: number, f: Predicate) =>
  op(`f32.${name}`, ['f32', 'f32'], 'i32', [wasm], ([a, b]) => (f(f32FromBits(n(a)), f32FromBits(n(b))) ? 1 : 0));
const f64Compare = (name: string, wasm: number, f: Predicate) =>
  op(`f64.${name}`, ['f64', 'f64'], 'i32', [wasm], ([a, b]) => (f(f64FromBits(big(a)), f64FromBits(big(b))) ? 1 : 0));

/** Truncate and clamp to a signed range; NaN gives 0 (core specification, 4.3.3 trunc_sat). */
export function truncateSaturated(value: number, bits: 32 | 64): bigint {
  if (value !== value) return 0n;
  const limit = 1n << BigInt(bits - 1);
  if (value >= Number(limit)) return limit - 1n;
  if (value <= -Number(limit)) return -limit;
  return BigInt(Math.trunc(value));
}

/** A 64-bit integer rounded once to f32: the low bits are folded into a sticky bit before the double is made. */
function f32FromInteger64(value: bigint): number {
  const magnitude = value < 0n ? -value : value;
  if (magnitude < 1n << 53n) return Math.fround(Number(value));
  const folded = (magnitude >> 11n) | (magnitude & 0x7ffn ? 1n : 0n);
  return Math.fround(Number(folded)) * (value < 0n ? -2048 : 2048);
}

/** To the nearest integer, ties to even; magnitudes from 2^52 on are integers already. */
function nearest(value: number): number {
  if (!(Math.abs(value) < 2 ** 52)) return value;
  const rounded = Math.abs(value) + 2 ** 52 - 2 ** 52;
  return value < 0 || Object.is(value, -0) ? -rounded : rounded;
}

/**
 * Scalar floating-point operations (core specification, 4.3.3). The bits of a NaN that arithmetic
 * makes are WebAssembly's choice and differ between hosts: semantics must not let them out.
 */
// biome-ignore format: a table
export const floatOps = {
  f32: {
    abs: op('f32.abs', ['f32'], 'f32', [0x8b], ([a]) => n(a) & 0x7fffffff),
    nearest: f32Unary('nearest', 0x90, nearest),
    sqrt: f32Unary('sqrt', 0x91, Math.sqrt),
    add: f32Binary('add', 0x92, (a, b) => a + b),
    sub: f32Binary('sub', 0x93, (a, b) => a - b),
    mul: f32Binary('mul', 0x94, (a, b) => a * b),
    div: f32Binary('div', 0x95, (a, b) => a / b),
    eq: f32Compare('eq', 0x5b, (a, b) => a === b),
    ne: f32Compare('ne', 0x5c, (a, b) => a !== b),
    lt: f32Compare('lt', 0x5d, (a, b) => a < b),
    gt: f32Compare('gt', 0x5e, (a, b) => a > b),
    le: f32Compare('le', 0x5f, (a, b) => a <= b),
    ge: f32Compare('ge', 0x60, (a, b) => a >= b),
  },
  f64: {
    abs: op('f64.abs', ['f64'], 'f64', [0x99], ([a]) => big(a) & 0x7fffffffffffffffn),
    nearest: f64Unary('nearest', 0x9e, nearest),
    sqrt: f64Unary('sqrt', 0x9f, Math.sqrt),
    add: f64Binary('add', 0xa0, (a, b) => a + b),
    sub: f64Binary('sub', 0xa1, (a, b) => a - b),
    mul: f64Binary('mul', 0xa2, (a, b) => a * b),
    div: f64Binary('div', 0xa3, (a, b) => a / b),
    eq: f64Compare('eq', 0x61, (a, b) => a === b),
    ne: f64Compare('ne', 0x62, (a, b) => a !== b),
    lt: f64Compare('lt', 0x63, (a, b) => a < b),
    gt: f64Compare('gt', 0x64, (a, b) => a > b),
    le: f64Compare('le', 0x65, (a, b) => a <= b),
    ge: f64Compare('ge', 0x66, (a, b) => a >= b),
  },
  convert: {
    f32FromI32: op('f32.convert_i32_s', ['i32'], 'f32', [0xb2], ([a]) => f32ToBits(n(a))),
    f32FromI64: op('f32.convert_i64_s', ['i64'], 'f32', [0xb4], ([a]) => f32ToBits(f32FromInteger64(big(a)))),
    f64FromI32: op('f64.convert_i32_s', ['i32'], 'f64', [0xb7], ([a]) => f64ToBits(n(a))),
    f64FromI64: op('f64.convert_i64_s', ['i64'], 'f64', [0xb9], ([a]) => f64ToBits(Number(big(a)))),
    demote: op('f32.demote_f64', ['f64'], 'f32', [0xb6], ([a]) => f32ToBits(f64FromBits(big(a)))),
    promote: op('f64.promote_f32', ['f32'], 'f64', [0xbb], ([a]) => f64ToBits(f32FromBits(n(a)))),
    i32FromF32: op('i32.trunc_sat_f32_s', ['f32'], 'i32', [0xfc, 0x00], ([a]) => Number(truncateSaturated(f32FromBits(n(a)), 32))),
    i32FromF64: op('i32.trunc_sat_f64_s', ['f64'], 'i32', [0xfc, 0x02], ([a]) => Number(truncateSaturated(f64FromBits(big(a)), 32))),
    i64FromF32: op('i64.trunc_sat_f32_s', ['f32'], 'i64', [0xfc, 0x04], ([a]) => truncateSaturated(f32FromBits(n(a)), 64)),
    i64FromF64: op('i64.trunc_sat_f64_s', ['f64'], 'i64', [0xfc, 0x06], ([a]) => truncateSaturated(f64FromBits(big(a)), 64)),
    f32Bits: op('i32.reinterpret_f32', ['f32'], 'i32', [0xbc], ([a]) => a),
    f64Bits: op('i64.reinterpret_f64', ['f64'], 'i64', [0xbd], ([a]) => a),
    f32OfBits: op('f32.reinterpret_i32', ['i32'], 'f32', [0xbe], ([a]) => a),
    f64OfBits: op('f64.reinterpret_i64', ['i64'], 'f64', [0xbf], ([a]) => a),
  },
} as const;

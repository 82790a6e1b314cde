import type { Evaluated, PureOp, ValueType } from './types.ts';

type I = number;
type L = bigint;
const n = (value: Evaluated) => value as number;
const big = (value: Evaluated) => value as bigint;
const u64 = (value: bigint) => BigInt.asUintN(64, value);
const s64 = (value: bigint) => BigInt.asIntN(64, value);

function op(
  name: string,
  params: readonly ValueType[],
  result: ValueType,
  wasm: number,
  evaluate: PureOp['evaluate'],
): PureOp {
  return { name, params, result, wasm: [wasm], evaluate };
}
const binary32 = (name: string, wasm: number, f: (a: I, b: I) => I) =>
  op(`i32.${name}`, ['i32', 'i32'], 'i32', wasm, ([a, b]) => f(n(a), n(b)) | 0);
const binary64 = (name: string, wasm: number, f: (a: L, b: L) => L) =>
  op(`i64.${name}`, ['i64', 'i64'], 'i64', wasm, ([a, b]) => s64(f(big(a), big(b))));
const compare32 = (name: string, wasm: number, f: (a: I, b: I) => boolean) =>
  op(`i32.${name}`, ['i32', 'i32'], 'i32', wasm, ([a, b]) => (f(n(a), n(b)) ? 1 : 0));
const compare64 = (name: string, wasm: number, f: (a: L, b: L) => boolean) =>
  op(`i64.${name}`, ['i64', 'i64'], 'i32', wasm, ([a, b]) => (f(big(a), big(b)) ? 1 : 0));
const unary32 = (name: string, wasm: number, f: (a: I) => I) =>
  op(`i32.${name}`, ['i32'], 'i32', wasm, ([a]) => f(n(a)) | 0);
const unary64 = (name: string, wasm: number, f: (a: L) => L) =>
  op(`i64.${name}`, ['i64'], 'i64', wasm, ([a]) => s64(f(big(a))));

function clz64(value: bigint): bigint {
  const v = u64(value);
  return v === 0n ? 64n : BigInt(64 - v.toString(2).length);
}
function ctz64(value: bigint): bigint {
  const low = u64(value) & u64(-value);
  return low === 0n ? 64n : BigInt(low.toString(2).length - 1);
}
function popcnt64(value: bigint): bigint {
  let count = 0n;
  for (let v = u64(value); v !== 0n; v &= v - 1n) count++;
  return count;
}
function popcnt32(value: number): number {
  return Number(popcnt64(BigInt(value >>> 0)));
}
const ctz32 = (a: number) => (a === 0 ? 32 : 31 - Math.clz32(a & -a));

const select = (type: ValueType) =>
  op(`select.${type}`, [type, type, 'i32'], type, 0x1b, ([a, b, c]) => (n(c) !== 0 ? a : b));

/** The integer operations: WebAssembly core specification, 4.3.2; one record each. */
// biome-ignore format: a table
export const integerOps = {
  i32: {
    add: binary32('add', 0x6a, (a, b) => a + b),
    sub: binary32('sub', 0x6b, (a, b) => a - b),
    mul: binary32('mul', 0x6c, Math.imul),
    div_s: binary32('div_s', 0x6d, (a, b) => Math.trunc(a / b)),
    div_u: binary32('div_u', 0x6e, (a, b) => Math.floor((a >>> 0) / (b >>> 0))),
    rem_s: binary32('rem_s', 0x6f, (a, b) => a % b),
    rem_u: binary32('rem_u', 0x70, (a, b) => (a >>> 0) % (b >>> 0)),
    and: binary32('and', 0x71, (a, b) => a & b),
    or: binary32('or', 0x72, (a, b) => a | b),
    xor: binary32('xor', 0x73, (a, b) => a ^ b),
    shl: binary32('shl', 0x74, (a, b) => a << b),
    shr_s: binary32('shr_s', 0x75, (a, b) => a >> b),
    shr_u: binary32('shr_u', 0x76, (a, b) => a >>> b),
    rotl: binary32('rotl', 0x77, (a, b) => (a << (b & 31)) | (a >>> (-b & 31))),
    rotr: binary32('rotr', 0x78, (a, b) => (a >>> (b & 31)) | (a << (-b & 31))),
    clz: unary32('clz', 0x67, Math.clz32),
    ctz: unary32('ctz', 0x68, ctz32),
    popcnt: unary32('popcnt', 0x69, popcnt32),
    eqz: op('i32.eqz', ['i32'], 'i32', 0x45, ([a]) => (n(a) === 0 ? 1 : 0)),
    eq: compare32('eq', 0x46, (a, b) => a === b),
    ne: compare32('ne', 0x47, (a, b) => a !== b),
    lt_s: compare32('lt_s', 0x48, (a, b) => a < b),
    lt_u: compare32('lt_u', 0x49, (a, b) => a >>> 0 < b >>> 0),
    gt_s: compare32('gt_s', 0x4a, (a, b) => a > b),
    gt_u: compare32('gt_u', 0x4b, (a, b) => a >>> 0 > b >>> 0),
    le_s: compare32('le_s', 0x4c, (a, b) => a <= b),
    le_u: compare32('le_u', 0x4d, (a, b) => a >>> 0 <= b >>> 0),
    ge_s: compare32('ge_s', 0x4e, (a, b) => a >= b),
    ge_u: compare32('ge_u', 0x4f, (a, b) => a >>> 0 >= b >>> 0),
    extend8_s: unary32('extend8_s', 0xc0, (a) => (a << 24) >> 24),
    extend16_s: unary32('extend16_s', 0xc1, (a) => (a << 16) >> 16),
  },
  i64: {
    add: binary64('add', 0x7c, (a, b) => a + b),
    sub: binary64('sub', 0x7d, (a, b) => a - b),
    mul: binary64('mul', 0x7e, (a, b) => a * b),
    div_s: binary64('div_s', 0x7f, (a, b) => a / b),
    div_u: binary64('div_u', 0x80, (a, b) => u64(a) / u64(b)),
    rem_s: binary64('rem_s', 0x81, (a, b) => a % b),
    rem_u: binary64('rem_u', 0x82, (a, b) => u64(a) % u64(b)),
    and: binary64('and', 0x83, (a, b) => a & b),
    or: binary64('or', 0x84, (a, b) => a | b),
    xor: binary64('xor', 0x85, (a, b) => a ^ b),
    shl: binary64('shl', 0x86, (a, b) => a << (b & 63n)),
    shr_s: binary64('shr_s', 0x87, (a, b) => a >> (b & 63n)),
    shr_u: binary64('shr_u', 0x88, (a, b) => u64(a) >> (b & 63n)),
    rotl: binary64('rotl', 0x89, (a, b) => (a << (b & 63n)) | (u64(a) >> (-b & 63n))),
    rotr: binary64('rotr', 0x8a, (a, b) => (u64(a) >> (b & 63n)) | (a << (-b & 63n))),
    clz: unary64('clz', 0x79, clz64),
    ctz: unary64('ctz', 0x7a, ctz64),
    popcnt: unary64('popcnt', 0x7b, popcnt64),
    eqz: op('i64.eqz', ['i64'], 'i32', 0x50, ([a]) => (big(a) === 0n ? 1 : 0)),
    eq: compare64('eq', 0x51, (a, b) => a === b),
    ne: compare64('ne', 0x52, (a, b) => a !== b),
    lt_s: compare64('lt_s', 0x53, (a, b) => a < b),
    lt_u: compare64('lt_u', 0x54, (a, b) => u64(a) < u64(b)),
    gt_s: compare64('gt_s', 0x55, (a, b) => a > b),
    gt_u: compare64('gt_u', 0x56, (a, b) => u64(a) > u64(b)),
    le_s: compare64('le_s', 0x57, (a, b) => a <= b),
    le_u: compare64('le_u', 0x58, (a, b) => u64(a) <= u64(b)),
    ge_s: compare64('ge_s', 0x59, (a, b) => a >= b),
    ge_u: compare64('ge_u', 0x5a, (a, b) => u64(a) >= u64(b)),
    extend8_s: unary64('extend8_s', 0xc2, (a) => BigInt.asIntN(8, a)),
    extend16_s: unary64('extend16_s', 0xc3, (a) => BigInt.asIntN(16, a)),
  },
  convert: {
    wrap: op('i32.wrap_i64', ['i64'], 'i32', 0xa7, ([a]) => Number(BigInt.asIntN(32, big(a)))),
    extend_s: op('i64.extend_i32_s', ['i32'], 'i64', 0xac, ([a]) => BigInt(n(a))),
    extend_u: op('i64.extend_i32_u', ['i32'], 'i64', 0xad, ([a]) => BigInt(n(a) >>> 0)),
    extend32_s: op('i64.extend32_s', ['i64'], 'i64', 0xc4, ([a]) => BigInt.asIntN(32, big(a))),
  },
  select: {
    i32: select('i32'),
    i64: select('i64'),
    f32: select('f32'),
    f64: select('f64'),
    // The untyped select of WebAssembly does not take v128; the typed form does.
    v128: { ...select('v128'), wasm: [0x1c, 0x01, 0x7b] },
  },
} as const;

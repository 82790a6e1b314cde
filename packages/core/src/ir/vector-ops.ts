import { f32FromBits, f32ToBits, f64FromBits, f64ToBits } from './float-ops.ts';
import type { Evaluated, PureOp, ValueType } from './types.ts';

const n = (value: Evaluated) => value as number;
const bytes = (value: Evaluated) => value as Uint8Array;
const view = (vector: Uint8Array) => new DataView(vector.buffer, vector.byteOffset, 16);

/** 0xfd prefix and the sub-opcode in unsigned LEB128 (core specification, 5.4.9). */
const simd = (code: number): number[] => (code < 0x80 ? [0xfd, code] : [0xfd, (code & 0x7f) | 0x80, code >> 7]);

function op(
  name: string,
  params: readonly ValueType[],
  result: ValueType,
  code: number,
  evaluate: PureOp['evaluate'],
  immediates = 0,
): PureOp {
  return immediates
    ? { name, params, result, wasm: simd(code), evaluate, immediates }
    : { name, params, result, wasm: simd(code), evaluate };
}

type LaneBytes = 1 | 2 | 4;
const TYPE_NAME = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4' } as const;

function getLane(vector: Uint8Array, size: LaneBytes, lane: number, signed: boolean): number {
  const v = view(vector);
  const at = lane * size;
  if (size === 1) return signed ? v.getInt8(at) : v.getUint8(at);
  if (size === 2) return signed ? v.getInt16(at, true) : v.getUint16(at, true);
  return signed ? v.getInt32(at, true) : v.getUint32(at, true);
}
function setLane(vector: Uint8Array, size: LaneBytes, lane: number, value: number): void {
  const v = view(vector);
  if (size === 1) v.setInt8(lane, value);
  else if (size === 2) v.setInt16(lane * 2, value, true);
  else v.setInt32(lane * 4, value, true);
}
/** A vector whose lanes are computed one by one. */
function build(size: LaneBytes, lane: (i: number) => number): Uint8Array {
  const result = new Uint8Array(16);
  for (let i = 0; i < 16 / size; i++) setLane(result, size, i, lane(i));
  return result;
}
function build64(lane: (i: number) => bigint): Uint8Array {
  const result = new Uint8Array(16);
  for (let i = 0; i < 2; i++) view(result).setBigInt64(i * 8, BigInt.asIntN(64, lane(i)), true);
  return result;
}
const lane64 = (vector: Evaluated, lane: number) => view(bytes(vector)).getBigInt64(lane * 8, true);

const VV: readonly ValueType[] = ['v128', 'v128'];
const V: readonly ValueType[] = ['v128'];

function binary(
  size: LaneBytes,
  name: string,
  code: number,
  signed: boolean,
  f: (a: number, b: number) => number,
): PureOp {
  return op(`${TYPE_NAME[size]}.${name}`, VV, 'v128', code, ([a, b]) =>
    build(size, (i) => f(getLane(bytes(a), size, i, signed), getLane(bytes(b), size, i, signed))),
  );
}
function binary64(name: string, code: number, f: (a: bigint, b: bigint) => bigint): PureOp {
  return op(`i64x2.${name}`, VV, 'v128', code, ([a, b]) => build64((i) => f(lane64(a, i), lane64(b, i))));
}
const clamp = (low: number, high: number, value: number) => Math.min(high, Math.max(low, value));
const saturateS = (size: LaneBytes, value: number) => clamp(-(2 ** (size * 8 - 1)), 2 ** (size * 8 - 1) - 1, value);
const saturateU = (size: LaneBytes, value: number) => clamp(0, 2 ** (size * 8) - 1, value);
const mask = (condition: boolean) => (condition ? -1 : 0);

/** Shifts take one count (i32) for all lanes, modulo the lane width. */
function shift(
  size: LaneBytes,
  name: string,
  code: number,
  signed: boolean,
  f: (a: number, count: number) => number,
): PureOp {
  return op(`${TYPE_NAME[size]}.${name}`, ['v128', 'i32'], 'v128', code, ([a, count]) =>
    build(size, (i) => f(getLane(bytes(a), size, i, signed), n(count) & (size * 8 - 1))),
  );
}
function shift64(name: string, code: number, f: (a: bigint, count: bigint) => bigint): PureOp {
  return op(`i64x2.${name}`, ['v128', 'i32'], 'v128', code, ([a, count]) =>
    build64((i) => f(lane64(a, i), BigInt(n(count) & 63))),
  );
}
const shifts = (size: LaneBytes, code: number) => ({
  shl: shift(size, 'shl', code, false, (a, count) => a << count),
  shr_s: shift(size, 'shr_s', code + 1, true, (a, count) => a >> count),
  shr_u: shift(size, 'shr_u', code + 2, false, (a, count) => a >>> count),
});

function bitwise(name: string, code: number, f: (a: number, b: number) => number): PureOp {
  return op(`v128.${name}`, VV, 'v128', code, ([a, b]) => bytes(a).map((value, i) => f(value, bytes(b)[i])));
}
/** Two vectors of lanes twice as wide become one, saturated. */
function narrow(size: 1 | 2, name: string, code: number, saturate: (size: LaneBytes, value: number) => number): PureOp {
  const half = 8 / size;
  const from = (size * 2) as LaneBytes;
  return op(`${TYPE_NAME[size]}.${name}`, VV, 'v128', code, ([a, b]) =>
    build(size, (i) => saturate(size, getLane(bytes(i < half ? a : b), from, i % half, true))),
  );
}
/** Widening multiplication of the low or high half of 16-bit lanes. */
function extmul16(name: string, code: number, high: boolean, signed: boolean): PureOp {
  const at = high ? 4 : 0;
  return op(`i32x4.${name}`, VV, 'v128', code, ([a, b]) =>
    build(4, (i) => Math.imul(getLane(bytes(a), 2, i + at, signed), getLane(bytes(b), 2, i + at, signed))),
  );
}
function bitmask(size: LaneBytes, code: number): PureOp {
  return op(`${TYPE_NAME[size]}.bitmask`, V, 'i32', code, ([a]) => {
    let result = 0;
    for (let i = 0; i < 16 / size; i++) if (getLane(bytes(a), size, i, true) < 0) result |= 1 << i;
    return result;
  });
}
const extract = (name: string, size: LaneBytes, code: number, signed: boolean) =>
  op(`${TYPE_NAME[size]}.${name}`, V, 'i32', code, ([a], [lane]) => getLane(bytes(a), size, lane, signed), 1);
const replace = (size: LaneBytes, code: number) =>
  op(
    `${TYPE_NAME[size]}.replace_lane`,
    ['v128', 'i32'],
    'v128',
    code,
    ([a, value], [lane]) => {
      const result = bytes(a).slice();
      setLane(result, size, lane, n(value));
      return result;
    },
    1,
  );
const splat = (size: LaneBytes, code: number) =>
  op(`${TYPE_NAME[size]}.splat`, ['i32'], 'v128', code, ([a]) => build(size, () => n(a)));

/** The four lanes of f32x4 or two of f64x2 through f. Bits of NaN results: see ir/float-ops.ts. */
function f32x4(name: string, code: number, f: (a: number, b: number) => number): PureOp {
  return op(`f32x4.${name}`, VV, 'v128', code, ([a, b]) => build(4, (i) => f32ToBits(f(float(a, i), float(b, i)))));
}
function f64x2(name: string, code: number, f: (a: number, b: number) => number): PureOp {
  return op(`f64x2.${name}`, VV, 'v128', code, ([a, b]) =>
    build64((i) => f64ToBits(f(f64FromBits(lane64(a, i)), f64FromBits(lane64(b, i))))),
  );
}
const float = (vector: Evaluated, lane: number) => f32FromBits(getLane(bytes(vector), 4, lane, true));
function compareFloats(code: { f32: number; f64: number }, name: string, f: (a: number, b: number) => boolean) {
  return {
    f32: op(`f32x4.${name}`, VV, 'v128', code.f32, ([a, b]) => build(4, (i) => mask(f(float(a, i), float(b, i))))),
    f64: op(`f64x2.${name}`, VV, 'v128', code.f64, ([a, b]) =>
      build64((i) => BigInt(mask(f(f64FromBits(lane64(a, i)), f64FromBits(lane64(b, i)))))),
    ),
  };
}
const equal = compareFloats({ f32: 0x41, f64: 0x47 }, 'eq', (a, b) => a === b);
const notEqual = compareFloats({ f32: 0x42, f64: 0x48 }, 'ne', (a, b) => a !== b);
const less = compareFloats({ f32: 0x43, f64: 0x49 }, 'lt', (a, b) => a < b);
const lessOrEqual = compareFloats({ f32: 0x45, f64: 0x4b }, 'le', (a, b) => a <= b);
const greaterOrEqual = compareFloats({ f32: 0x46, f64: 0x4c }, 'ge', (a, b) => a >= b);

/** The vector operations in use: WebAssembly core specification, 4.3.5 to 4.3.7; one record each. */
// biome-ignore format: a table
export const vectorOps = {
  v128: {
    not: op('v128.not', V, 'v128', 0x4d, ([a]) => bytes(a).map((value) => ~value)),
    and: bitwise('and', 0x4e, (a, b) => a & b),
    /** a AND NOT b. */
    andnot: bitwise('andnot', 0x4f, (a, b) => a & ~b),
    or: bitwise('or', 0x50, (a, b) => a | b),
    xor: bitwise('xor', 0x51, (a, b) => a ^ b),
    /** Bits of a where the third operand has ones, bits of b elsewhere. */
    bitselect: op('v128.bitselect', ['v128', 'v128', 'v128'], 'v128', 0x52, ([a, b, c]) =>
      bytes(a).map((value, i) => (value & bytes(c)[i]) | (bytes(b)[i] & ~bytes(c)[i]))),
    any_true: op('v128.any_true', V, 'i32', 0x53, ([a]) => (bytes(a).some((value) => value !== 0) ? 1 : 0)),
  },
  i8x16: {
    /** Sixteen immediates name bytes of a (0 to 15) and b (16 to 31). */
    shuffle: op('i8x16.shuffle', VV, 'v128', 0x0d, ([a, b], lanes) =>
      build(1, (i) => (lanes[i] < 16 ? bytes(a)[lanes[i]] : bytes(b)[lanes[i] - 16])), 16),
    /** Byte i is a[b[i]], 0 if b[i] is above 15. */
    swizzle: op('i8x16.swizzle', VV, 'v128', 0x0e, ([a, b]) => build(1, (i) => bytes(a)[bytes(b)[i]] ?? 0)),
    splat: splat(1, 0x0f),
    extract_u: extract('extract_lane_u', 1, 0x16, false),
    bitmask: bitmask(1, 0x64),
    narrow_s: narrow(1, 'narrow_i16x8_s', 0x65, saturateS),
    narrow_u: narrow(1, 'narrow_i16x8_u', 0x66, saturateU),
    add: binary(1, 'add', 0x6e, false, (a, b) => a + b),
    add_sat_s: binary(1, 'add_sat_s', 0x6f, true, (a, b) => saturateS(1, a + b)),
    add_sat_u: binary(1, 'add_sat_u', 0x70, false, (a, b) => saturateU(1, a + b)),
    sub: binary(1, 'sub', 0x71, false, (a, b) => a - b),
    sub_sat_s: binary(1, 'sub_sat_s', 0x72, true, (a, b) => saturateS(1, a - b)),
    sub_sat_u: binary(1, 'sub_sat_u', 0x73, false, (a, b) => saturateU(1, a - b)),
    min_u: binary(1, 'min_u', 0x77, false, Math.min),
    max_u: binary(1, 'max_u', 0x79, false, Math.max),
    avgr_u: binary(1, 'avgr_u', 0x7b, false, (a, b) => (a + b + 1) >> 1),
    eq: binary(1, 'eq', 0x23, true, (a, b) => mask(a === b)),
    gt_s: binary(1, 'gt_s', 0x27, true, (a, b) => mask(a > b)),
  },
  i16x8: {
    splat: splat(2, 0x10),
    extract_u: extract('extract_lane_u', 2, 0x19, false),
    replace: replace(2, 0x1a),
    /** Neighbouring unsigned bytes added. */
    extadd_u: op('i16x8.extadd_pairwise_i8x16_u', V, 'v128', 0x7d, ([a]) => build(2, (i) => bytes(a)[i * 2] + bytes(a)[i * 2 + 1])),
    narrow_s: narrow(2, 'narrow_i32x4_s', 0x85, saturateS),
    ...shifts(2, 0x8b),
    add: binary(2, 'add', 0x8e, false, (a, b) => a + b),
    add_sat_s: binary(2, 'add_sat_s', 0x8f, true, (a, b) => saturateS(2, a + b)),
    add_sat_u: binary(2, 'add_sat_u', 0x90, false, (a, b) => saturateU(2, a + b)),
    sub: binary(2, 'sub', 0x91, false, (a, b) => a - b),
    sub_sat_s: binary(2, 'sub_sat_s', 0x92, true, (a, b) => saturateS(2, a - b)),
    sub_sat_u: binary(2, 'sub_sat_u', 0x93, false, (a, b) => saturateU(2, a - b)),
    mul: binary(2, 'mul', 0x95, true, Math.imul),
    min_s: binary(2, 'min_s', 0x96, true, Math.min),
    max_s: binary(2, 'max_s', 0x98, true, Math.max),
    avgr_u: binary(2, 'avgr_u', 0x9b, false, (a, b) => (a + b + 1) >> 1),
    eq: binary(2, 'eq', 0x2d, true, (a, b) => mask(a === b)),
    gt_s: binary(2, 'gt_s', 0x31, true, (a, b) => mask(a > b)),
  },
  i32x4: {
    splat: splat(4, 0x11),
    extract: extract('extract_lane', 4, 0x1b, true),
    replace: replace(4, 0x1c),
    bitmask: bitmask(4, 0xa4),
    ...shifts(4, 0xab),
    add: binary(4, 'add', 0xae, false, (a, b) => a + b),
    sub: binary(4, 'sub', 0xb1, false, (a, b) => a - b),
    mul: binary(4, 'mul', 0xb5, true, Math.imul),
    eq: binary(4, 'eq', 0x37, true, (a, b) => mask(a === b)),
    gt_s: binary(4, 'gt_s', 0x3b, true, (a, b) => mask(a > b)),
    /** Products of signed 16-bit neighbours added. */
    dot: op('i32x4.dot_i16x8_s', VV, 'v128', 0xba, ([a, b]) =>
      build(4, (i) => {
        const product = (at: number) => getLane(bytes(a), 2, at, true) * getLane(bytes(b), 2, at, true);
        return product(i * 2) + product(i * 2 + 1);
      })),
    extadd_u: op('i32x4.extadd_pairwise_i16x8_u', V, 'v128', 0x7f, ([a]) =>
      build(4, (i) => getLane(bytes(a), 2, i * 2, false) + getLane(bytes(a), 2, i * 2 + 1, false))),
    extmul_low_s: extmul16('extmul_low_i16x8_s', 0xbc, false, true),
    extmul_high_s: extmul16('extmul_high_i16x8_s', 0xbd, true, true),
    extmul_low_u: extmul16('extmul_low_i16x8_u', 0xbe, false, false),
    extmul_high_u: extmul16('extmul_high_i16x8_u', 0xbf, true, false),
  },
  i64x2: {
    splat: op('i64x2.splat', ['i64'], 'v128', 0x12, ([a]) => build64(() => a as bigint)),
    extract: op('i64x2.extract_lane', V, 'i64', 0x1d, ([a], [lane]) => lane64(a, lane), 1),
    replace: op('i64x2.replace_lane', ['v128', 'i64'], 'v128', 0x1e, ([a, value], [lane]) =>
      build64((i) => (i === lane ? (value as bigint) : lane64(a, i))), 1),
    bitmask: op('i64x2.bitmask', V, 'i32', 0xc4, ([a]) => (lane64(a, 0) < 0n ? 1 : 0) | (lane64(a, 1) < 0n ? 2 : 0)),
    shl: shift64('shl', 0xcb, (a, count) => a << count),
    shr_u: shift64('shr_u', 0xcd, (a, count) => BigInt.asUintN(64, a) >> count),
    add: binary64('add', 0xce, (a, b) => a + b),
    sub: binary64('sub', 0xd1, (a, b) => a - b),
    /** Unsigned products of 32-bit lanes 0 and 1. */
    extmul_low_u: op('i64x2.extmul_low_i32x4_u', VV, 'v128', 0xde, ([a, b]) =>
      build64((i) => BigInt(getLane(bytes(a), 4, i, false)) * BigInt(getLane(bytes(b), 4, i, false)))),
  },
  f32x4: {
    abs: op('f32x4.abs', V, 'v128', 0xe0, ([a]) => build(4, (i) => getLane(bytes(a), 4, i, true) & 0x7fffffff)),
    sqrt: op('f32x4.sqrt', V, 'v128', 0xe3, ([a]) => build(4, (i) => f32ToBits(Math.sqrt(float(a, i))))),
    add: f32x4('add', 0xe4, (a, b) => a + b),
    sub: f32x4('sub', 0xe5, (a, b) => a - b),
    mul: f32x4('mul', 0xe6, (a, b) => a * b),
    div: f32x4('div', 0xe7, (a, b) => a / b),
    /** Pseudo-minimum and -maximum: b < a ? b : a and a < b ? b : a, bits untouched. */
    pmin: op('f32x4.pmin', VV, 'v128', 0xea, ([a, b]) => build(4, (i) => getLane(bytes(float(b, i) < float(a, i) ? b : a), 4, i, true))),
    pmax: op('f32x4.pmax', VV, 'v128', 0xeb, ([a, b]) => build(4, (i) => getLane(bytes(float(a, i) < float(b, i) ? b : a), 4, i, true))),
    eq: equal.f32,
    ne: notEqual.f32,
    lt: less.f32,
    le: lessOrEqual.f32,
    ge: greaterOrEqual.f32,
    convert: op('f32x4.convert_i32x4_s', V, 'v128', 0xfa, ([a]) => build(4, (i) => f32ToBits(getLane(bytes(a), 4, i, true)))),
  },
  f64x2: {
    abs: op('f64x2.abs', V, 'v128', 0xec, ([a]) => build64((i) => lane64(a, i) & 0x7fffffffffffffffn)),
    sqrt: op('f64x2.sqrt', V, 'v128', 0xef, ([a]) => build64((i) => f64ToBits(Math.sqrt(f64FromBits(lane64(a, i)))))),
    add: f64x2('add', 0xf0, (a, b) => a + b),
    sub: f64x2('sub', 0xf1, (a, b) => a - b),
    mul: f64x2('mul', 0xf2, (a, b) => a * b),
    div: f64x2('div', 0xf3, (a, b) => a / b),
    pmin: op('f64x2.pmin', VV, 'v128', 0xf6, ([a, b]) => build64((i) => lane64(f64FromBits(lane64(b, i)) < f64FromBits(lane64(a, i)) ? b : a, i))),
    pmax: op('f64x2.pmax', VV, 'v128', 0xf7, ([a, b]) => build64((i) => lane64(f64FromBits(lane64(a, i)) < f64FromBits(lane64(b, i)) ? b : a, i))),
    eq: equal.f64,
    ne: notEqual.f64,
    lt: less.f64,
    le: lessOrEqual.f64,
    ge: greaterOrEqual.f64,
    convertLow: op('f64x2.convert_low_i32x4_s', V, 'v128', 0xfe, ([a]) => build64((i) => f64ToBits(getLane(bytes(a), 4, i, true)))),
  },
} as const;

import { EFLAGS_SYSTEM, FC, FS, FZ } from '../cpu/state.ts';
import type { Builder } from '../ir/builder.ts';
import type { Value } from '../ir/types.ts';
import type { Width } from './types.ts';

/** RFLAGS bits (SDM vol. 1, 3.4.3). */
// biome-ignore format: a table
export const Flag = {
  CF: 1 << 0, PF: 1 << 2, AF: 1 << 4, ZF: 1 << 6, SF: 1 << 7, TF: 1 << 8, IF: 1 << 9, DF: 1 << 10, OF: 1 << 11,
  IOPL: 3 << 12, NT: 1 << 14, RF: 1 << 16, VM: 1 << 17, AC: 1 << 18, VIF: 1 << 19, VIP: 1 << 20, ID: 1 << 21,
} as const;
/** Condition codes that stand for one flag, in encoding order. */
const Condition = { O: 0, B: 2, Z: 4, S: 8, P: 10 } as const;
export const ARITHMETIC_FLAGS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;

/** The result as FZ and FS want it: sign-extended to 64 bits. */
function extendResult(b: Builder, width: Width, result: Value): Value {
  switch (width) {
    case 64:
      return result;
    case 32:
      return b.extendS(result);
    case 16:
      return b.extendS(b.extend16S(result));
    case 8:
      return b.extendS(b.extend8S(result));
  }
}

/** ZF, SF and PF from a result. */
export function setResultFlags(b: Builder, width: Width, result: Value): void {
  setFromExtended(b, extendResult(b, width, result));
}
function setFromExtended(b: Builder, extended: Value): void {
  b.set(FZ, extended);
  b.set(FS, extended);
}

/** Bring a vector of carries out of each bit into FC's layout. */
function setCarries(b: Builder, width: Width, carries: Value): void {
  if (width === 32) {
    b.set(FC, carries);
    return;
  }
  if (width === 64) {
    const top = b.and(b.wrap(b.shrU(carries, b.i64(32))), b.i32(0xc0000000));
    b.set(FC, b.or(top, b.and(b.wrap(carries), b.i32(8))));
    return;
  }
  b.set(FC, b.or(b.shl(carries, b.i32(32 - width)), b.and(carries, b.i32(8))));
}

/** All six flags of `result = a + b`, with or without a carry that came in. */
export function setAddFlags(b: Builder, width: Width, a: Value, c: Value, result: Value, carryIn = false): void {
  const extended = extendResult(b, width, result);
  b.setFlagsFrom({ operation: 'add', carryIn, width, a, b: c, extended }, () => {
    setCarries(b, width, b.or(b.and(a, c), b.and(b.or(a, c), b.not(result))));
    setFromExtended(b, extended);
  });
}
/** All six flags of `result = a − b`, with or without a borrow that came in. */
export function setSubFlags(b: Builder, width: Width, a: Value, c: Value, result: Value, carryIn = false): void {
  const extended = extendResult(b, width, result);
  b.setFlagsFrom({ operation: 'sub', carryIn, width, a, b: c, extended }, () => {
    const notA = b.not(a);
    setCarries(b, width, b.or(b.and(notA, c), b.and(b.or(notA, c), result)));
    setFromExtended(b, extended);
  });
}
/** AND, OR, XOR, TEST: CF = OF = 0 (AF undefined: 0, as processors do). */
export function setLogicFlags(b: Builder, width: Width, result: Value): void {
  const extended = extendResult(b, width, result);
  b.setFlagsFrom({ operation: 'logic', carryIn: false, width, extended }, () => {
    b.set(FC, b.i32(0));
    setFromExtended(b, extended);
  });
}
/** INC and DEC: as add/sub of 1, but CF stays. */
export function keepCarry(b: Builder, set: () => void): void {
  const carry = getCF(b);
  set();
  setCF(b, carry);
}
/** CF and OF (i32 0/1), AF = 0. */
export function setCarryOverflow(b: Builder, carry: Value, overflow: Value): void {
  b.set(FC, b.or(b.shl(carry, b.i32(31)), b.shl(b.xor(carry, overflow), b.i32(30))));
}

/** Flags as i32 0 or 1. */
export const getCF = (b: Builder): Value => b.asCondition(Condition.B, b.shrU(b.get(FC), b.i32(31)));
export const getOF = (b: Builder): Value => {
  const fc = b.get(FC);
  return b.asCondition(Condition.O, b.shrU(b.xor(fc, b.shl(fc, b.i32(1))), b.i32(31)));
};
export const getAF = (b: Builder): Value => b.and(b.shrU(b.get(FC), b.i32(3)), b.i32(1));
export const getZF = (b: Builder): Value => b.asCondition(Condition.Z, b.eqz(b.get(FZ)));
export const getSF = (b: Builder): Value => b.asCondition(Condition.S, b.wrap(b.shrU(b.get(FS), b.i64(63))));
export const getPF = (b: Builder): Value =>
  b.asCondition(Condition.P, b.and(b.not(b.popcnt(b.and(b.wrap(b.get(FS)), b.i32(0xff)))), b.i32(1)));

/** Change CF alone. */
export function setCF(b: Builder, carry: Value): void {
  const fc = b.get(FC);
  const change = b.xor(b.shrU(fc, b.i32(31)), carry);
  b.set(FC, b.xor(fc, b.mul(change, b.i32(0xc0000000))));
}
/** Change OF alone. */
export function setOF(b: Builder, overflow: Value): void {
  const change = b.xor(getOF(b), overflow);
  b.set(FC, b.xor(b.get(FC), b.shl(change, b.i32(30))));
}
/** Change ZF alone; SF and PF stay. */
export function setZF(b: Builder, zero: Value): void {
  b.set(FZ, b.extendU(b.eqz(zero)));
}

/** CF PF AF ZF SF OF at their places in RFLAGS, the others 0 (i32). */
export function packArithmeticFlags(b: Builder): Value {
  const at = (value: Value, bit: number) => b.shl(value, b.i32(bit));
  return [at(getPF(b), 2), at(getAF(b), 4), at(getZF(b), 6), at(getSF(b), 7), at(getOF(b), 11)].reduce(
    (all, flag) => b.or(all, flag),
    getCF(b),
  );
}
/** Set CF PF AF ZF SF OF from an RFLAGS image (i32). */
export function unpackArithmeticFlags(b: Builder, image: Value): void {
  const bit = (index: number) => b.and(b.shrU(image, b.i32(index)), b.i32(1));
  setCarryOverflow(b, bit(0), bit(11));
  b.set(FC, b.or(b.get(FC), b.shl(bit(4), b.i32(3))));
  b.set(FZ, b.extendU(b.eqz(bit(6))));
  b.set(FS, b.or(b.shl(b.extendU(bit(7)), b.i64(63)), b.extendU(b.eqz(bit(2)))));
}
/** The whole RFLAGS image (i32). */
export const packFlags = (b: Builder): Value => b.or(b.get(EFLAGS_SYSTEM), packArithmeticFlags(b));

/** Condition codes in encoding order O NO B NB Z NZ BE A S NS P NP L GE LE G (SDM vol. 2D, B.1.4.7); i32 0 or 1. */
export function condition(b: Builder, code: number): Value {
  const positive = basicCondition(b, code >> 1);
  return b.asCondition(code, code & 1 ? b.eqz(positive) : positive);
}
function basicCondition(b: Builder, index: number): Value {
  switch (index) {
    case 0:
      return getOF(b);
    case 1:
      return getCF(b);
    case 2:
      return getZF(b);
    case 3:
      return b.or(getCF(b), getZF(b));
    case 4:
      return getSF(b);
    case 5:
      return getPF(b);
    case 6:
      return b.xor(getSF(b), getOF(b));
    default:
      return b.or(getZF(b), b.xor(getSF(b), getOF(b)));
  }
}

/**
 * Shifts and rotates (SDM vol. 2B, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD).
 * Where the manuals leave a flag undefined we do as AMD's processors: OF by the rule for counts of 1, AF set by
 * shifts, 16-bit double shifts by more than 16 as given below.
 */
import { FC } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { getCF, setResultFlags } from '../flags.ts';
import { read, update } from '../operands.ts';
import type { InstructionShape, OperandShape, Semantics, Width } from '../types.ts';
import { operandWidth } from './alu.ts';

/** CF and CF ^ OF as FC holds them. */
const CARRY_BITS = 0xc0000000 | 0;
const AUXILIARY = 8;

/** The count as i32, cut to 5 bits, or 6 for 64-bit operands; a number when the encoding fixes it to 1. */
function shiftCount(b: Builder, shape: InstructionShape, operand: OperandShape, width: Width): Value | 1 {
  if (operand.kind === 'static') return 1;
  const raw = operand.kind === 'imm' ? b.wrap(b.immediate()) : read(b, shape, operand);
  return b.and(raw, b.i32(width === 64 ? 63 : 31));
}

/** A count (i32 or 1) in the type of what it shifts. */
function countLike(b: Builder, like: Value, count: Value | 1): Value {
  if (count === 1) return b.constant(like, 1);
  return like.type === 'i64' ? b.extendU(count) : count;
}
const lessOne = (b: Builder, count: Value | 1) => (count === 1 ? undefined : b.sub(count, b.i32(1)));

/** Do `change` unless the count is 0. */
function unlessZero(b: Builder, count: Value | 1, change: () => void): void {
  if (count === 1) change();
  else b.when(count, change);
}

/** The top two bits of a value of `width` bits at bits 31 and 30 (i32); other bits are noise. */
function topBits(b: Builder, width: Width, value: Value): Value {
  if (width === 64) return b.wrap(b.shrU(value, b.i64(32)));
  return width === 32 ? value : b.shl(value, b.i32(32 - width));
}

export type ShiftOperation = 'shl' | 'shr' | 'sar';

/** SHL, SHR, SAR: a count of 0 changes no flag. */
export function shift(operation: ShiftOperation): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const count = shiftCount(b, shape, shape.operands[1], width);
    const target = update(b, shape, shape.operands[0]);
    const value = operation === 'sar' ? signedValue(b, width, target.value) : target.value;
    const by = countLike(b, value, count);
    const result = operation === 'shl' ? b.shl(value, by) : operation === 'shr' ? b.shrU(value, by) : b.shrS(value, by);
    unlessZero(b, count, () => {
      const carries =
        operation === 'shl'
          ? leftCarries(b, width, value, count)
          : rightCarries(b, width, operation, value, count, result);
      b.set(FC, b.or(carries, b.i32(AUXILIARY)));
      setResultFlags(b, width, result);
    });
    target.write(result);
  };
}

function signedValue(b: Builder, width: Width, value: Value): Value {
  return width === 8 ? b.extend8S(value) : width === 16 ? b.extend16S(value) : value;
}

/** One place less to the left the carry is the top bit, and the bit below it the result's sign: CF and CF ^ OF. */
function leftCarries(b: Builder, width: Width, value: Value, count: Value | 1): Value {
  const less = lessOne(b, count);
  const aligned = width < 32 ? b.shl(value, b.i32(32 - width)) : value;
  const shifted = less ? b.shl(aligned, countLike(b, aligned, less)) : aligned;
  return b.and(topBits(b, width === 64 ? 64 : 32, shifted), b.i32(CARRY_BITS));
}

/** CF is the last bit shifted out; OF is bit w−1 ^ bit w−2 of the result for SHR, 0 for SAR. */
function rightCarries(
  b: Builder,
  width: Width,
  operation: ShiftOperation,
  value: Value,
  count: Value | 1,
  result: Value,
): Value {
  const less = lessOne(b, count);
  const before = less
    ? operation === 'shr'
      ? b.shrU(value, countLike(b, value, less))
      : b.shrS(value, countLike(b, value, less))
    : value;
  const carry = b.and(b.wrap(before), b.i32(1));
  const both = b.mul(carry, b.i32(CARRY_BITS));
  if (operation === 'sar') return both;
  // After SHR the sign is 0, so OF is bit w−2 of the result.
  return b.xor(both, b.and(topBits(b, width, result), b.i32(0x40000000)));
}

/** ROL and ROR: CF and OF only; a masked count of 0 changes nothing. */
export function rotate(direction: 'left' | 'right'): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const count = shiftCount(b, shape, shape.operands[1], width);
    const target = update(b, shape, shape.operands[0]);
    const result = rotated(b, width, direction, target.value, count);
    unlessZero(b, count, () => {
      const top = topBits(b, width, result);
      const carry = direction === 'left' ? b.and(b.wrap(result), b.i32(1)) : b.shrU(top, b.i32(31));
      setRotateFlags(b, direction, top, carry);
    });
    target.write(result);
  };
}

/** OF is sign ^ CF after a rotate to the left, sign ^ the bit below after one to the right; AF, ZF, SF, PF stay. */
function setRotateFlags(b: Builder, direction: 'left' | 'right', top: Value, carry: Value): void {
  const kept = b.and(b.get(FC), b.i32(AUXILIARY));
  const sign = b.shrU(top, b.i32(31));
  // Left: CF ^ OF is the sign. Right: OF is sign ^ next.
  const mixed = direction === 'left' ? sign : b.xor(carry, b.xor(sign, b.and(b.shrU(top, b.i32(30)), b.i32(1))));
  b.set(FC, b.or(kept, b.or(b.shl(carry, b.i32(31)), b.shl(mixed, b.i32(30)))));
}

function rotated(b: Builder, width: Width, direction: 'left' | 'right', value: Value, count: Value | 1): Value {
  if (width >= 32) {
    const by = countLike(b, value, count);
    return direction === 'left' ? b.rotl(value, by) : b.rotr(value, by);
  }
  // Fill 32 bits with copies: then a 32-bit rotate is a rotate of each copy.
  const copies = b.mul(value, b.i32(width === 8 ? 0x01010101 : 0x00010001));
  const by = countLike(b, copies, count);
  return b.and(direction === 'left' ? b.rotl(copies, by) : b.rotr(copies, by), b.i32(width === 8 ? 0xff : 0xffff));
}

/** RCL and RCR: the operand and CF as one ring of width + 1 bits. */
export function rotateThroughCarry(direction: 'left' | 'right'): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const count = shiftCount(b, shape, shape.operands[1], width);
    const target = update(b, shape, shape.operands[0]);
    const steps = ringSteps(b, width, count);
    const value = b.extendU(target.value);
    const carryIn = b.extendU(getCF(b));
    const { result, carry } =
      width === 64
        ? rotateRing64(b, direction, value, carryIn, steps)
        : rotateRing(b, width, direction, value, carryIn, steps);
    const narrow = width === 64 ? result : b.wrap(result);
    unlessZero(b, count, () => setRotateFlags(b, direction, topBits(b, width, narrow), b.wrap(carry)));
    target.write(narrow);
  };
}

/** The count as i64, modulo the ring's size where it can exceed it. */
function ringSteps(b: Builder, width: Width, count: Value | 1): Value {
  if (count === 1) return b.i64(1);
  return b.extendU(width < 32 ? b.remU(count, b.i32(width + 1)) : count);
}

function rotateRing(
  b: Builder,
  width: Width,
  direction: 'left' | 'right',
  value: Value,
  carryIn: Value,
  steps: Value,
): { result: Value; carry: Value } {
  const ring = b.or(value, b.shl(carryIn, b.i64(width)));
  const rest = b.sub(b.i64(width + 1), steps);
  const turned =
    direction === 'left' ? b.or(b.shl(ring, steps), b.shrU(ring, rest)) : b.or(b.shrU(ring, steps), b.shl(ring, rest));
  const mask = b.i64((1n << BigInt(width)) - 1n);
  return { result: b.and(turned, mask), carry: b.and(b.shrU(turned, b.i64(width)), b.i64(1)) };
}

/** 65 bits do not fit: compose them. With 0 steps the value stays. */
function rotateRing64(
  b: Builder,
  direction: 'left' | 'right',
  value: Value,
  carryIn: Value,
  steps: Value,
): { result: Value; carry: Value } {
  const one = b.i64(1);
  const before = b.sub(steps, one);
  const rest = b.sub(b.i64(64), steps);
  const left = direction === 'left';
  const moved = left ? b.shl(value, steps) : b.shrU(value, steps);
  // Shifting by 65 − steps, which may be 64, in two steps.
  const wrapped = left ? b.shrU(b.shrU(value, one), rest) : b.shl(b.shl(value, one), rest);
  const carryBit = left ? b.shl(carryIn, before) : b.shl(carryIn, rest);
  const turned = b.or(b.or(moved, wrapped), carryBit);
  const out = left ? b.shrU(value, rest) : b.shrU(value, before);
  return { result: b.select(b.eqz(steps), value, turned), carry: b.and(out, one) };
}

/** SHLD and SHRD. */
export function doubleShift(direction: 'left' | 'right'): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const count = shiftCount(b, shape, shape.operands[2], width) as Value;
    const filler = read(b, shape, shape.operands[1]);
    const target = update(b, shape, shape.operands[0]);
    const parts =
      width === 64
        ? doubleShift64(b, direction, target.value, filler, count)
        : doubleShiftNarrow(b, width, direction, target.value, filler, count);
    b.when(count, () => {
      const top = topBits(b, width, parts.result);
      const sign = b.shrU(top, b.i32(31));
      const next = b.and(b.shrU(top, b.i32(30)), b.i32(1));
      const overflow = direction === 'left' ? b.xor(sign, parts.carry) : b.xor(sign, next);
      setDoubleShiftFlags(b, width, direction, parts.carry, overflow, count);
      setResultFlags(b, width, parts.result);
    });
    target.write(parts.result);
  };
}

/** 16-bit shifts by more than 16: CF 0; SHLD by 16 or more: OF 0 (undefined in the manuals). */
function setDoubleShiftFlags(
  b: Builder,
  width: Width,
  direction: 'left' | 'right',
  carry: Value,
  overflow: Value,
  count: Value,
): void {
  const cf = width === 16 ? b.and(carry, b.leU(count, b.i32(16))) : carry;
  const of = width === 16 && direction === 'left' ? b.and(overflow, b.ltU(count, b.i32(16))) : overflow;
  const fc = b.or(b.shl(cf, b.i32(31)), b.shl(b.xor(cf, of), b.i32(30)));
  b.set(FC, b.or(fc, b.i32(AUXILIARY)));
}

type ShiftParts = { result: Value /** i32 */; carry: Value };

/** 16 and 32 bits: destination and source side by side in an i64; 16 bits with the source twice. */
function doubleShiftNarrow(
  b: Builder,
  width: 8 | 16 | 32,
  direction: 'left' | 'right',
  value: Value,
  filler: Value,
  count: Value,
): ShiftParts {
  const high = b.extendU(direction === 'left' ? value : filler);
  const low = b.extendU(direction === 'left' ? filler : value);
  const by = b.extendU(count);
  const before = b.sub(by, b.i64(1));
  const one = b.i64(1);
  if (direction === 'left') {
    const pair = b.or(b.shl(high, b.i64(32)), width === 16 ? b.mul(low, b.i64(0x10001)) : low);
    const result = b.wrap(b.shrU(b.shl(pair, by), b.i64(32)));
    const carry = b.wrap(b.and(b.shrU(b.shl(pair, before), b.i64(31 + width)), one));
    return { result: width === 16 ? b.and(result, b.i32(0xffff)) : result, carry };
  }
  const pair = b.or(b.shl(width === 16 ? b.mul(high, b.i64(0x10001)) : high, b.i64(width)), low);
  const result = b.wrap(b.shrU(pair, by));
  const carry = b.wrap(b.and(b.shrU(pair, before), one));
  return { result: width === 16 ? b.and(result, b.i32(0xffff)) : result, carry };
}

function doubleShift64(b: Builder, direction: 'left' | 'right', value: Value, filler: Value, count: Value): ShiftParts {
  const by = b.extendU(count);
  const one = b.i64(1);
  const rest = b.sub(b.i64(64), by);
  const left = direction === 'left';
  const moved = left ? b.shl(value, by) : b.shrU(value, by);
  // With a count of 0 `rest` shifts by nothing: leave the filler out.
  const fill = left ? b.shrU(b.shrU(filler, one), b.sub(rest, one)) : b.shl(b.shl(filler, one), b.sub(rest, one));
  const out = left ? b.shrU(value, rest) : b.shrU(value, b.sub(by, one));
  return { result: b.or(moved, fill), carry: b.wrap(b.and(out, one)) };
}

/** BT, BTS, BTR, BTC, BSF, BSR, POPCNT (SDM vol. 2). */
import { FC, FS, FZ } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { AccessBytes, Value } from '../../ir/types.ts';
import { setCF } from '../flags.ts';
import { bytesOf, linearAddressPlus, read, update, write } from '../operands.ts';
import type { InstructionShape, Semantics, Width } from '../types.ts';
import { operandWidth } from './alu.ts';

export type BitOperation = 'test' | 'set' | 'reset' | 'complement';

/** BT family; only CF changes (the others are undefined, and left alone by processors). */
export function bit(operation: BitOperation): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const [target, selector] = shape.operands;
    const raw = selector.kind === 'imm' ? b.immediate() : read(b, shape, selector);
    const number = fit(b, width, raw);
    // A bit number in a register reaches beyond a memory operand, in both directions (SDM vol. 2A, BT).
    if (target.kind === 'mem' && selector.kind === 'gpr') {
      bitInMemory(b, shape, operation, width, number);
      return;
    }
    if (operation === 'test') {
      setCF(b, selectBit(b, width, read(b, shape, target), number));
      return;
    }
    const place = update(b, shape, target);
    setCF(b, selectBit(b, width, place.value, number));
    place.write(changeBit(b, width, operation, place.value, number));
  };
}

function fit(b: Builder, width: Width, value: Value): Value {
  return width === 64 ? b.extendU(value) : b.wrap(value);
}

function bitInMemory(b: Builder, shape: InstructionShape, operation: BitOperation, width: Width, number: Value): void {
  const bytes = bytesOf(width);
  const signedNumber = width === 64 ? number : b.extendS(width === 16 ? b.extend16S(number) : number);
  const unit = b.shrS(signedNumber, b.i64(Math.log2(width)));
  const offset = b.shl(unit, b.i64(Math.log2(bytes)));
  const access = operation === 'test' ? 'read' : 'write';
  const address = linearAddressPlus(b, shape, shape.operands[0], offset, access, bytes);
  if (operation === 'test') {
    setCF(b, selectBit(b, width, b.load(address, bytes as AccessBytes), number));
    return;
  }
  const { value, handle } = b.loadForUpdate(address, bytes);
  setCF(b, selectBit(b, width, value, number));
  b.storeUpdate(handle, bytes, changeBit(b, width, operation, value, number));
}

/** The bit number modulo the operand's width: WebAssembly's shifts do it for 32 and 64 bits. */
const within = (b: Builder, width: Width, number: Value) => (width === 16 ? b.and(number, b.i32(15)) : number);

function selectBit(b: Builder, width: Width, value: Value, number: Value): Value {
  return b.and(b.wrap(b.shrU(value, within(b, width, number))), b.i32(1));
}

function changeBit(b: Builder, width: Width, operation: BitOperation, value: Value, number: Value): Value {
  const mask = b.shl(b.constant(value, 1), within(b, width, number));
  if (operation === 'set') return b.or(value, mask);
  return operation === 'reset' ? b.and(value, b.not(mask)) : b.xor(value, mask);
}

/**
 * BSF and BSR. A source of 0 leaves the destination alone, all 64 bits of it. Undefined flags as on AMD's processors:
 * CF, OF, AF and SF 0, PF by the answer.
 */
export function bitScan(direction: 'forward' | 'reverse'): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const value = read(b, shape, shape.operands[1]);
    const top = b.constant(value, width === 64 ? 63 : 31);
    const index = direction === 'forward' ? b.ctz(value) : b.xor(b.clz(value), top);
    const zero = b.eqz(value);
    b.set(FC, b.i32(0));
    b.set(FZ, b.extendU(value));
    b.set(FS, b.select(zero, b.i64(0), b.extendU(index)));
    b.when(b.eqz(zero), () => write(b, shape, shape.operands[0], index));
  };
}

/** POPCNT: ZF by the source, all other flags 0 (PF too, so FS has odd parity). */
export const populationCount: Semantics = (b, shape) => {
  const value = read(b, shape, shape.operands[1]);
  b.set(FC, b.i32(0));
  b.set(FZ, b.extendU(value));
  b.set(FS, b.i64(1));
  write(b, shape, shape.operands[0], b.popcnt(value));
};

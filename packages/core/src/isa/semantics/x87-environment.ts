/**
 * FLDENV, FNSTENV, FRSTOR, FNSAVE (SDM vol. 1, 8.1.10): seven words or doublewords, then ten bytes for each register.
 * Selectors are stored as 0; the real-address forms are NOT IMPLEMENTED.
 */
import { VECTOR_SCRATCH, X87_CONTROL, X87_DP, X87_IP, X87_OPCODE, X87_STATUS } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { linearAddress } from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { x87, x87NoWait } from './x87-common.ts';
import { initialize } from './x87-control.ts';

const FIELDS = 7;
const REGISTER_BYTES = 10;
const MASK_ALL = 0x3f;

const fieldBytes = (shape: InstructionShape): 2 | 4 => (shape.operandWidth === 16 ? 2 : 4);
const at = (b: Builder, base: Value, offset: number): Value => b.add(base, b.i64(offset));

/** Check that the whole image can be written: its first and last bytes name both pages that it can lie in. */
function checkWritable(b: Builder, base: Value, sizeBytes: number): void {
  b.loadForUpdate(base, 2);
  b.loadForUpdate(at(b, base, sizeBytes - 2), 2);
}

/** The seven fields, low part only where a field is wider; upper halves of control fields read as ones. */
function environment(b: Builder, shape: InstructionShape): Value[] {
  const padded = (value: Value) => b.or(value, b.i32(0xffff0000));
  const tag = b.helper('x87FullTag', [], { result: 'i32' });
  const opcode = fieldBytes(shape) === 4 ? b.shl(b.get(X87_OPCODE), b.i32(16)) : b.i32(0);
  const words = [b.get(X87_CONTROL), b.get(X87_STATUS), tag].map(padded);
  return [...words, b.wrap(b.get(X87_IP)), opcode, b.wrap(b.get(X87_DP)), padded(b.i32(0))];
}

function storeEnvironment(b: Builder, shape: InstructionShape, base: Value): void {
  const bytes = fieldBytes(shape);
  environment(b, shape).forEach((value, i) => b.store(at(b, base, i * bytes), bytes, value));
}

export const fnstenv: Semantics = x87NoWait((b, shape) => {
  const size = FIELDS * fieldBytes(shape);
  const base = linearAddress(b, shape, shape.operands[0], 'write', size);
  checkWritable(b, base, size);
  storeEnvironment(b, shape, base);
  b.set(X87_CONTROL, b.or(b.get(X87_CONTROL), b.i32(MASK_ALL)));
  b.helper('x87Normalize', []);
});

export const fnsave: Semantics = x87NoWait((b, shape) => {
  const start = FIELDS * fieldBytes(shape);
  const size = start + 8 * REGISTER_BYTES;
  const base = linearAddress(b, shape, shape.operands[0], 'write', size);
  checkWritable(b, base, size);
  storeEnvironment(b, shape, base);
  for (const first of [0, 4]) {
    b.helper('x87ToStackOrder', [b.i32(first)]);
    VECTOR_SCRATCH.forEach((slot, i) => {
      const offset = start + (first + i) * REGISTER_BYTES;
      b.store(at(b, base, offset), 8, b.pureWith(vectorOps.i64x2.extract, [0], b.get(slot)));
      b.store(at(b, base, offset + 8), 2, b.wrap(b.pureWith(vectorOps.i64x2.extract, [1], b.get(slot))));
    });
  }
  initialize(b);
});

function loadEnvironment(b: Builder, shape: InstructionShape, base: Value): Value[] {
  const bytes = fieldBytes(shape);
  return Array.from({ length: FIELDS }, (_, i) => b.load(at(b, base, i * bytes), bytes));
}
function setEnvironment(b: Builder, shape: InstructionShape, fields: readonly Value[]): void {
  const word = (value: Value) => b.and(value, b.i32(0xffff));
  b.set(X87_CONTROL, word(fields[0]));
  b.set(X87_STATUS, word(fields[1]));
  b.set(X87_IP, b.extendU(fields[3]));
  b.set(X87_OPCODE, fieldBytes(shape) === 4 ? b.and(b.shrU(fields[4], b.i32(16)), b.i32(0x7ff)) : b.i32(0));
  b.set(X87_DP, b.extendU(fields[5]));
  b.helper('x87SetFullTag', [word(fields[2])]);
  b.helper('x87Normalize', []);
}

export const fldenv: Semantics = x87((b, shape) => {
  const base = linearAddress(b, shape, shape.operands[0], 'read', FIELDS * fieldBytes(shape));
  setEnvironment(b, shape, loadEnvironment(b, shape, base));
});

export const frstor: Semantics = x87((b, shape) => {
  const start = FIELDS * fieldBytes(shape);
  const base = linearAddress(b, shape, shape.operands[0], 'read', start + 8 * REGISTER_BYTES);
  const fields = loadEnvironment(b, shape, base);
  const registers = Array.from({ length: 8 }, (_, i) => {
    const significand = b.load(at(b, base, start + i * REGISTER_BYTES), 8);
    const signExponent = b.load(at(b, base, start + i * REGISTER_BYTES + 8), 2);
    return b.pureWith(
      vectorOps.i64x2.replace,
      [1],
      b.pure(vectorOps.i64x2.splat, significand),
      b.extendU(signExponent),
    );
  });
  setEnvironment(b, shape, fields);
  for (const first of [0, 4]) {
    VECTOR_SCRATCH.forEach((slot, i) => b.set(slot, registers[first + i]));
    b.helper('x87FromStackOrder', [b.i32(first)]);
  }
});

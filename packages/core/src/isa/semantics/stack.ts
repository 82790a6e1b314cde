/** PUSH, POP, PUSHA, POPA, ENTER, LEAVE (SDM vol. 2). */
import { GPR, SEGMENT_SELECTOR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { AccessBytes, Value } from '../../ir/types.ts';
import {
  bytesOf,
  drop,
  peek,
  push,
  read,
  segmentAddress,
  setStackPointer,
  stackPointerPlus,
  stackWidth,
  write,
} from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';

const SEGMENT_SS = 2;

/** PUSH of a register, memory or immediate, in the operand width. */
export const pushOperand: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  const [operand] = shape.operands;
  const value = operand.kind === 'imm' ? fitImmediate(b, bytes) : read(b, shape, operand);
  push(b, shape, value, bytes);
};
const fitImmediate = (b: Builder, bytes: AccessBytes) => (bytes === 8 ? b.immediate() : b.wrap(b.immediate()));

/** PUSH of a segment register: zero-extended to the operand width. */
export const pushSegment: Semantics = (b, shape) => {
  const [operand] = shape.operands;
  if (operand.kind !== 'static') throw new Error(`${shape.key}: not a segment register`);
  const selector = b.and(b.get(SEGMENT_SELECTOR[operand.value]), b.i32(0xffff));
  const bytes = bytesOf(shape.operandWidth);
  push(b, shape, bytes === 8 ? b.extendU(selector) : selector, bytes);
};

/**
 * POP. The destination is written after RSP has moved (POP rSP leaves what was popped); for memory the decoder has
 * already put the pop into the displacement of an address based on rSP, so the store can come first and fault.
 */
export const popOperand: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  const value = peek(b, shape, bytes);
  const [operand] = shape.operands;
  if (operand.kind === 'mem') {
    write(b, shape, operand, value);
    drop(b, shape, bytes);
    return;
  }
  drop(b, shape, bytes);
  write(b, shape, operand, value);
};

/** PUSHA: all eight places are checked before any of them is written. */
export const pushAll: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  const values = GPR.slice(0, 8).map(({ offset }) => b.getFixed(offset, bytes));
  pushTogether(b, shape, bytes, values);
};

/** Push several values as one: every fault is raised before the first write. */
function pushTogether(b: Builder, shape: InstructionShape, bytes: AccessBytes, values: readonly Value[]): void {
  const handles = values.map((_, i) => {
    const pointer = stackPointerPlus(b, shape, -bytes * (i + 1));
    return b.loadForUpdate(segmentAddress(b, shape, SEGMENT_SS, pointer, 'write', bytes), bytes).handle;
  });
  const pointer = stackPointerPlus(b, shape, -bytes * values.length);
  values.forEach((value, i) => {
    b.storeUpdate(handles[i], bytes, value);
  });
  setStackPointer(b, shape, pointer);
}

/** POPA: the image of rSP is skipped. */
export const popAll: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  const values = GPR.slice(0, 8).map((_, i) => peek(b, shape, bytes, bytes * (7 - i)));
  drop(b, shape, bytes * 8);
  values.forEach((value, i) => {
    if (i !== 4) write(b, shape, { kind: 'fixedGpr', offset: GPR[i].offset, width: shape.operandWidth }, value);
  });
};

/** rBP in the stack's width, as i64. */
const frameBase = (b: Builder, shape: InstructionShape) =>
  b.extendU(b.getFixed(GPR[5].offset, bytesOf(stackWidth(shape))));

export const leave: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  const frame = frameBase(b, shape);
  const saved = b.load(segmentAddress(b, shape, SEGMENT_SS, frame, 'read', bytes), bytes);
  setStackPointer(b, shape, b.add(frame, b.i64(bytes)));
  write(b, shape, { kind: 'fixedGpr', offset: GPR[5].offset, width: shape.operandWidth }, saved);
};

/** ENTER: the nesting level is part of the shape; every fault comes before the first write. */
export const enter: Semantics = (b, shape) => {
  const level = shape.operands[1].kind === 'static' ? shape.operands[1].value : 0;
  const bytes = bytesOf(shape.operandWidth);
  const values = [b.getFixed(GPR[5].offset, bytes)];
  for (let i = 1; i < level; i++) {
    const pointer = maskToStack(b, shape, b.sub(frameBase(b, shape), b.i64(bytes * i)));
    values.push(b.load(segmentAddress(b, shape, SEGMENT_SS, pointer, 'read', bytes), bytes));
  }
  const frame = stackPointerPlus(b, shape, -bytes);
  if (level > 0) values.push(bytes === 8 ? frame : b.wrap(frame));
  const pushed = bytes * values.length;
  const size = b.and(b.immediate(), b.i64(0xffff));
  const final = maskToStack(b, shape, b.sub(stackPointerPlus(b, shape, -pushed), size));
  // The last word of the new frame must be writable (SDM vol. 2A, ENTER).
  b.loadForUpdate(segmentAddress(b, shape, SEGMENT_SS, final, 'write', bytes), bytes);
  pushTogether(b, shape, bytes, values);
  setStackPointer(b, shape, final);
  writeFramePointer(b, shape, frame);
};

function writeFramePointer(b: Builder, shape: InstructionShape, frame: Value): void {
  const width = Math.min(stackWidth(shape), shape.operandWidth);
  if (width === 16) b.setFixed(GPR[5].offset, 2, b.wrap(frame));
  else b.setFixed(GPR[5].offset, 8, frame);
}

function maskToStack(b: Builder, shape: InstructionShape, value: Value): Value {
  const width = stackWidth(shape);
  return width === 64 ? value : b.and(value, b.i64(width === 32 ? 0xffffffffn : 0xffffn));
}

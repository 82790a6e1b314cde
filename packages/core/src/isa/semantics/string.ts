/**
 * MOVS, STOS, LODS, SCAS, CMPS (SDM vol. 2). With REP one iteration is done and the instruction repeated: RIP stays, so
 * that faults and interrupts find the registers as after the last whole iteration.
 */
import { EFLAGS_SYSTEM, GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { setSubFlags } from '../flags.ts';
import { bytesOf, segmentAddress, write } from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { dataSegment } from './mov.ts';

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;
const SEGMENT_ES = 0;
const DIRECTION_BIT = 10;

/** rSI, rDI or rCX in the address size, as i64. */
function counter(b: Builder, shape: InstructionShape, register: number): Value {
  return b.extendU(b.getFixed(GPR[register].offset, bytesOf(shape.addressWidth)));
}
/** Write one of them back: 32 bits zero-extend, 16 leave the rest alone. */
function setCounter(b: Builder, shape: InstructionShape, register: number, value: Value): void {
  const { offset } = GPR[register];
  if (shape.addressWidth === 64) b.setFixed(offset, 8, value);
  else if (shape.addressWidth === 32) b.setFixed(offset, 8, b.and(value, b.i64(0xffffffffn)));
  else b.setFixed(offset, 2, b.wrap(value));
}

/** Element size, negated when DF is set (i64). */
function elementStep(b: Builder, shape: InstructionShape): Value {
  const bytes = bytesOf(shape.operandWidth);
  const down = b.and(b.shrU(b.get(EFLAGS_SYSTEM), b.i32(DIRECTION_BIT)), b.i32(1));
  return b.extendS(b.sub(b.i32(bytes), b.mul(down, b.i32(2 * bytes))));
}

/**
 * Run `iteration` once, or under REP as long as rCX lasts. `iteration` does its memory accesses and only then changes
 * state; its answer, if any, is the condition (i32) to go on.
 */
function repeated(b: Builder, shape: InstructionShape, iteration: () => Value | undefined): void {
  if (shape.rep === 'none') {
    iteration();
    return;
  }
  const count = counter(b, shape, RCX);
  b.when(b.ne(count, b.i64(0)), () => {
    const condition = iteration();
    const left = b.sub(count, b.i64(1));
    setCounter(b, shape, RCX, left);
    const more = b.ne(left, b.i64(0));
    b.when(condition === undefined ? more : b.and(more, condition), () => b.repeat());
  });
}

const source = (b: Builder, shape: InstructionShape, offset: Value) =>
  segmentAddress(b, shape, dataSegment(shape), offset, 'read', bytesOf(shape.operandWidth));
const destination = (b: Builder, shape: InstructionShape, offset: Value, access: 'read' | 'write') =>
  segmentAddress(b, shape, SEGMENT_ES, offset, access, bytesOf(shape.operandWidth));
const accumulator = (shape: InstructionShape) =>
  ({ kind: 'fixedGpr', offset: GPR[RAX].offset, width: shape.operandWidth }) as const;

export const moveString: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  repeated(b, shape, () => {
    const from = counter(b, shape, RSI);
    const to = counter(b, shape, RDI);
    const step = elementStep(b, shape);
    b.store(destination(b, shape, to, 'write'), bytes, b.load(source(b, shape, from), bytes));
    setCounter(b, shape, RSI, b.add(from, step));
    setCounter(b, shape, RDI, b.add(to, step));
    return undefined;
  });
};

export const storeString: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  repeated(b, shape, () => {
    const to = counter(b, shape, RDI);
    const step = elementStep(b, shape);
    b.store(destination(b, shape, to, 'write'), bytes, b.getFixed(GPR[RAX].offset, bytes));
    setCounter(b, shape, RDI, b.add(to, step));
    return undefined;
  });
};

export const loadString: Semantics = (b, shape) => {
  repeated(b, shape, () => {
    const from = counter(b, shape, RSI);
    const step = elementStep(b, shape);
    const value = b.load(source(b, shape, from), bytesOf(shape.operandWidth));
    setCounter(b, shape, RSI, b.add(from, step));
    write(b, shape, accumulator(shape), value);
    return undefined;
  });
};

/** Under REPE go on while equal, under REPNE while different. */
function whileEqual(b: Builder, shape: InstructionShape, left: Value, right: Value): Value {
  return shape.rep === 'rep' ? b.eq(left, right) : b.ne(left, right);
}

export const scanString: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  repeated(b, shape, () => {
    const to = counter(b, shape, RDI);
    const step = elementStep(b, shape);
    const right = b.load(destination(b, shape, to, 'read'), bytes);
    const left = b.getFixed(GPR[RAX].offset, bytes);
    setSubFlags(b, shape.operandWidth, left, right, b.sub(left, right));
    setCounter(b, shape, RDI, b.add(to, step));
    return whileEqual(b, shape, left, right);
  });
};

export const compareString: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  repeated(b, shape, () => {
    const from = counter(b, shape, RSI);
    const to = counter(b, shape, RDI);
    const step = elementStep(b, shape);
    const left = b.load(source(b, shape, from), bytes);
    const right = b.load(destination(b, shape, to, 'read'), bytes);
    setSubFlags(b, shape.operandWidth, left, right, b.sub(left, right));
    setCounter(b, shape, RSI, b.add(from, step));
    setCounter(b, shape, RDI, b.add(to, step));
    return whileEqual(b, shape, left, right);
  });
};

/**
 * MOVS, STOS, LODS, SCAS, CMPS (SDM vol. 2). With REP one iteration is done and the instruction repeated: RIP stays, so
 * that faults and interrupts find the registers as after the last whole iteration.
 */
import { EFLAGS_SYSTEM, GPR, TLB } from '../../cpu/state.ts';
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
const PAGE_SIZE_BYTES = 4096;

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

/** DF (i32). */
const direction = (b: Builder): Value => b.and(b.shrU(b.get(EFLAGS_SYSTEM), b.i32(DIRECTION_BIT)), b.i32(1));

/** Element size, negated when DF is set (i64). */
function elementStep(b: Builder, shape: InstructionShape): Value {
  const bytes = bytesOf(shape.operandWidth);
  const down = direction(b);
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

/** Fewer iterations are not worth being looked at together. */
const MANY = 8;

/**
 * MOVS and STOS under REP, upwards: all iterations but the last of a page or of the budget at once, as far as the TLB has their pages; what is
 * left goes one by one, and so do all of them where there is no TLB (the evaluator). Whatever wraps or is checked within a page does so too.
 */
function manyAtOnce(b: Builder, shape: InstructionShape, move: 'copy' | 'fill'): void {
  const { mode, addressWidth, segmentOverride } = shape;
  const isPlain = mode === 'long64' ? addressWidth === 64 : mode === 'flat32' && addressWidth === 32;
  if (shape.rep === 'none' || !isPlain || (mode === 'flat32' && segmentOverride !== undefined)) return;
  const bytes = bytesOf(shape.operandWidth);
  const shift = b.i32(Math.log2(bytes));
  const elementsTo = (address: Value) =>
    b.shrU(b.sub(b.i32(PAGE_SIZE_BYTES), b.and(b.wrap(address), b.i32(PAGE_SIZE_BYTES - 1))), shift);
  const smaller = (x: Value, y: Value) => b.select(b.ltS(x, y), x, y);
  const isMany = b.gtU(counter(b, shape, RCX), b.i64(MANY));
  b.when(b.and(isMany, b.eqz(direction(b))), () => {
    const count = counter(b, shape, RCX);
    const toOffset = counter(b, shape, RDI);
    const to = destination(b, shape, toOffset, 'write');
    const toHost = b.reach(b.get(TLB), to, bytes, 'write');
    const room = smaller(elementsTo(to), b.spare());
    const others = b.sub(count, b.i64(1));
    let elements = b.select(b.ltU(others, b.i64(PAGE_SIZE_BYTES)), smaller(b.wrap(others), room), room);
    const isReached = b.ne(toHost, b.i32(0));
    const advance = (condition: Value, done: (sizeBytes: Value) => void) =>
      b.when(b.and(condition, b.geS(elements, b.i32(MANY))), () => {
        const sizeBytes = b.shl(elements, shift);
        done(sizeBytes);
        setCounter(b, shape, RDI, b.add(toOffset, b.extendU(sizeBytes)));
        setCounter(b, shape, RCX, b.sub(count, b.extendU(elements)));
        // The last of them counts as this instruction.
        b.spend(b.sub(elements, b.i32(1)));
        b.repeat();
      });
    if (move === 'fill') {
      const value = b.getFixed(GPR[RAX].offset, bytes);
      advance(b.and(isReached, isOfEqualBytes(b, value, bytes)), (sizeBytes) =>
        b.fillReached(toHost, b.wrap(value), sizeBytes),
      );
      return;
    }
    const fromOffset = counter(b, shape, RSI);
    const from = source(b, shape, fromOffset);
    const fromHost = b.reach(b.get(TLB), from, bytes, 'read');
    elements = smaller(elements, elementsTo(from));
    // One after the other, bytes that have been written would be read again where the destination begins in the source.
    const isApart = b.geU(b.sub(toHost, fromHost), b.shl(elements, shift));
    advance(b.and(b.and(isReached, b.ne(fromHost, b.i32(0))), isApart), (sizeBytes) => {
      b.copyReached(toHost, fromHost, sizeBytes);
      setCounter(b, shape, RSI, b.add(fromOffset, b.extendU(sizeBytes)));
    });
  });
}
function isOfEqualBytes(b: Builder, value: Value, bytes: number): Value {
  if (bytes === 1) return b.i32(1);
  if (bytes === 8) return b.eq(value, b.mul(b.and(value, b.i64(0xff)), b.i64(0x0101010101010101n)));
  return b.eq(value, b.mul(b.and(value, b.i32(0xff)), b.i32(bytes === 2 ? 0x0101 : 0x01010101)));
}

export const moveString: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  manyAtOnce(b, shape, 'copy');
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
  manyAtOnce(b, shape, 'fill');
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

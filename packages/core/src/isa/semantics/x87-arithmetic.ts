/** x87 data instructions: the IR fetches and stores memory operands, helpers do the rest. */
import { RESULT, X87_DP, X87_IP } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { AccessBytes, Value } from '../../ir/types.ts';
import { condition, unpackArithmeticFlags } from '../flags.ts';
import type { X87Operation } from '../helpers/x87-arithmetic.ts';
import { Source, x87OperationNumber } from '../helpers/x87-operate.ts';
import { effectiveAddress, linearAddress, thisRip } from '../operands.ts';
import type { InstructionShape, OperandShape, Semantics } from '../types.ts';
import { x87 } from './x87-common.ts';

const SOURCE_BYTES = { f32: 4, f64: 8, i16: 2, i32: 4, i64: 8 } as const;
export type MemoryFormat = keyof typeof SOURCE_BYTES;
export type WideFormat = 'f80' | 'bcd';

/** A data instruction: afterwards the instruction and operand pointers name it. */
const data = (body: Semantics): Semantics =>
  x87((b, shape) => {
    body(b, shape);
    b.set(X87_IP, thisRip(b, shape));
    const memory = shape.operands.find(({ kind }) => kind === 'mem');
    if (memory) b.set(X87_DP, effectiveAddress(b, shape, memory));
  });

/** Index of a stack register operand. */
function stackIndex(operand: OperandShape | undefined): number {
  if (operand?.kind !== 'static') throw new Error('an x87 stack register is expected');
  return operand.value;
}

const loadOperand = (b: Builder, shape: InstructionShape, format: MemoryFormat): Value =>
  b.load(linearAddress(b, shape, shape.operands[0], 'read', SOURCE_BYTES[format]), SOURCE_BYTES[format]);

/** ST0 with a memory operand. */
export const arithmeticMemory = (operation: X87Operation, format: MemoryFormat): Semantics =>
  data((b, shape) => {
    const bits = loadOperand(b, shape, format);
    b.helper('x87Arithmetic', [b.i32(x87OperationNumber(operation)), b.i32(0), b.i32(Source[format]), bits, b.i32(0)]);
  });

/** `to`: ST0 or ST(i) takes the result; the other is the other operand. */
export const arithmeticRegister = (operation: X87Operation, to: 'top' | 'indexed', pops: 0 | 1): Semantics =>
  data((b, shape) => {
    const index = stackIndex(shape.operands[0]);
    const [destination, source] = to === 'top' ? [0, index] : [index, 0];
    const args = [x87OperationNumber(operation), destination, Source.register, source, pops];
    b.helper(
      'x87Arithmetic',
      args.map((value) => b.i32(value)),
    );
  });

export const compareMemory = (format: MemoryFormat, pops: 0 | 1): Semantics =>
  data((b, shape) => {
    const bits = loadOperand(b, shape, format);
    b.helper('x87Compare', [b.i32(Source[format]), bits, b.i32(1), b.i32(pops)]);
  });

/** FCOM, FUCOM with ST(i); FCOMPP and FUCOMPP compare with ST1. */
export const compareRegister = (signalQuiet: boolean, pops: 0 | 1 | 2): Semantics =>
  data((b, shape) => {
    const index = shape.operands.length ? stackIndex(shape.operands[0]) : 1;
    b.helper(
      'x87Compare',
      [Source.register, index, signalQuiet ? 1 : 0, pops].map((value) => b.i32(value)),
    );
  });
export const compareZero: Semantics = data((b) => {
  b.helper(
    'x87Compare',
    [Source.constant, 0, 1, 0].map((value) => b.i32(value)),
  );
});

/** FCOMI, FUCOMI: to ZF PF CF; the other arithmetic flags become 0. */
export const compareToFlags = (signalQuiet: boolean, pops: 0 | 1): Semantics =>
  data((b, shape) => {
    const args = [stackIndex(shape.operands[0]), signalQuiet ? 1 : 0, pops].map((value) => b.i32(value));
    unpackArithmeticFlags(b, b.helper('x87CompareFlags', args, { result: 'i32' }));
  });

/** FCMOVcc by a condition code of the manual's numbering. */
export const conditionalMove = (code: number): Semantics =>
  data((b, shape) => {
    b.helper('x87ConditionalMove', [b.i32(stackIndex(shape.operands[0])), condition(b, code)]);
  });

// ---- loads and stores ----

export const loadMemory = (format: MemoryFormat): Semantics =>
  data((b, shape) => {
    b.helper('x87Load', [b.i32(Source[format]), loadOperand(b, shape, format), b.i32(0)]);
  });
export const loadWide = (format: WideFormat): Semantics =>
  data((b, shape) => {
    const address = linearAddress(b, shape, shape.operands[0], 'read', 10);
    const low = b.load(address, 8);
    b.helper('x87Load', [b.i32(Source[format]), low, b.load(b.add(address, b.i64(8)), 2)]);
  });
export const loadRegister: Semantics = data((b, shape) => {
  b.helper(
    'x87Load',
    [Source.register, stackIndex(shape.operands[0]), 0].map((value) => b.i32(value)),
  );
});
export const loadConstant = (index: number): Semantics =>
  data((b) => {
    b.helper(
      'x87Load',
      [Source.constant, index, 0].map((value) => b.i32(value)),
    );
  });

/** The helper says whether anything is stored; if not, what was there goes back. */
function storeResult(b: Builder, destination: number, pops: number): { low: Value; high: Value; stored: Value } {
  b.helper('x87Store', [b.i32(destination), b.i32(pops)]);
  const control = b.get(RESULT[1]);
  return { low: b.get(RESULT[0]), high: b.wrap(b.shrU(control, b.i64(16))), stored: b.and(b.wrap(control), b.i32(1)) };
}
export const storeMemory = (format: MemoryFormat, pops: 0 | 1): Semantics =>
  data((b, shape) => {
    const bytes: AccessBytes = SOURCE_BYTES[format];
    const address = linearAddress(b, shape, shape.operands[0], 'write', bytes);
    const { value: old, handle } = b.loadForUpdate(address, bytes);
    const { low, stored } = storeResult(b, Source[format], pops);
    b.storeUpdate(handle, bytes, b.select(stored, bytes === 8 ? low : b.wrap(low), old));
  });
export const storeWide = (format: WideFormat): Semantics =>
  data((b, shape) => {
    const address = linearAddress(b, shape, shape.operands[0], 'write', 10);
    const first = b.loadForUpdate(address, 8);
    const second = b.loadForUpdate(b.add(address, b.i64(8)), 2);
    const { low, high, stored } = storeResult(b, Source[format], 1);
    b.storeUpdate(first.handle, 8, b.select(stored, low, first.value));
    b.storeUpdate(second.handle, 2, b.select(stored, high, second.value));
  });
export const storeRegister = (pops: 0 | 1, emptyAllowed: 0 | 1 = 0): Semantics =>
  data((b, shape) => {
    b.helper(
      'x87StoreRegister',
      [stackIndex(shape.operands[0]), pops, emptyAllowed].map((value) => b.i32(value)),
    );
  });

/** Instructions that are one helper, with a stack index or constants. */
export const exchange: Semantics = data((b, shape) => {
  b.helper('x87Exchange', [b.i32(stackIndex(shape.operands[0]))]);
});
export const helperOnly = (name: string, ...args: number[]): Semantics =>
  data((b) => {
    b.helper(
      name,
      args.map((value) => b.i32(value)),
    );
  });
/** FFREE, FFREEP. */
export const free = (pops: 0 | 1): Semantics =>
  x87((b, shape) => {
    b.helper('x87Free', [b.i32(stackIndex(shape.operands[0])), b.i32(pops)]);
  });
/** FINCSTP, FDECSTP. */
export const moveTop = (change: number): Semantics =>
  x87((b) => {
    b.helper('x87MoveTop', [b.i32(change)]);
  });

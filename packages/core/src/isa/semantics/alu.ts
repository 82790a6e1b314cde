/** Two-operand arithmetic and logic, INC, DEC, NEG, NOT, TEST, CMPXCHG, XADD (SDM vol. 2). */
import { GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { getCF, keepCarry, setAddFlags, setLogicFlags, setSubFlags, setZF } from '../flags.ts';
import { bytesOf, linearAddress, read, update, write } from '../operands.ts';
import type { InstructionShape, Semantics, Width } from '../types.ts';

export type AluOperation = 'add' | 'or' | 'adc' | 'sbb' | 'and' | 'sub' | 'xor' | 'cmp';

/** Width in bits of an operand that is a register or memory. */
export function operandWidth(shape: InstructionShape, index: number): Width {
  const operand = shape.operands[index];
  if (operand.kind === 'mem') return (operand.sizeBytes * 8) as Width;
  if (operand.kind === 'gpr' || operand.kind === 'fixedGpr' || operand.kind === 'imm') return operand.width;
  throw new Error(`${shape.key}: operand ${index} has no width`);
}

/** ADD, OR, ADC, SBB, AND, SUB, XOR (destination, source), and CMP, which writes nothing. */
export function alu(operation: AluOperation): Semantics {
  if (operation === 'cmp') return compare;
  return (b, shape) => {
    const [destination, source] = shape.operands;
    // The source comes first: if it is memory the destination is a register, whose reading cannot fault.
    const right = read(b, shape, source);
    const target = update(b, shape, destination);
    const result = aluResult(b, operandWidth(shape, 0), operation, target.value, right);
    target.write(result);
  };
}

/** Compute and set the flags; answers the result. */
function aluResult(b: Builder, width: Width, operation: AluOperation, left: Value, right: Value): Value {
  switch (operation) {
    case 'add':
    case 'adc': {
      const sum = b.add(left, right);
      const result = operation === 'add' ? sum : b.add(sum, carryLike(b, left));
      setAddFlags(b, width, left, right, result, operation === 'adc');
      return result;
    }
    case 'sub':
    case 'sbb': {
      const difference = b.sub(left, right);
      const result = operation === 'sub' ? difference : b.sub(difference, carryLike(b, left));
      setSubFlags(b, width, left, right, result, operation === 'sbb');
      return result;
    }
    default: {
      const result =
        operation === 'and' ? b.and(left, right) : operation === 'or' ? b.or(left, right) : b.xor(left, right);
      setLogicFlags(b, width, result);
      return result;
    }
  }
}

const carryLike = (b: Builder, like: Value) => (like.type === 'i64' ? b.extendU(getCF(b)) : getCF(b));

export const compare: Semantics = (b, shape) => {
  const left = read(b, shape, shape.operands[0]);
  const right = read(b, shape, shape.operands[1]);
  setSubFlags(b, operandWidth(shape, 0), left, right, b.sub(left, right));
};

export const test: Semantics = (b, shape) => {
  const left = read(b, shape, shape.operands[0]);
  const right = read(b, shape, shape.operands[1]);
  setLogicFlags(b, operandWidth(shape, 0), b.and(left, right));
};

/** INC and DEC: CF stays. */
export function step(direction: 'inc' | 'dec'): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const target = update(b, shape, shape.operands[0]);
    const one = b.constant(target.value, 1);
    const result = direction === 'inc' ? b.add(target.value, one) : b.sub(target.value, one);
    keepCarry(b, () => {
      if (direction === 'inc') setAddFlags(b, width, target.value, one, result);
      else setSubFlags(b, width, target.value, one, result);
    });
    target.write(result);
  };
}

export const negate: Semantics = (b, shape) => {
  const target = update(b, shape, shape.operands[0]);
  const zero = b.constant(target.value, 0);
  const result = b.sub(zero, target.value);
  setSubFlags(b, operandWidth(shape, 0), zero, target.value, result);
  target.write(result);
};

export const complement: Semantics = (b, shape) => {
  const target = update(b, shape, shape.operands[0]);
  target.write(b.not(target.value));
};

/** XADD: the source register gets the old destination; with both the same register the sum stays. */
export const exchangeAdd: Semantics = (b, shape) => {
  const [destination, source] = shape.operands;
  const width = operandWidth(shape, 0);
  const addend = read(b, shape, source);
  const target = update(b, shape, destination);
  const result = b.add(target.value, addend);
  setAddFlags(b, width, target.value, addend, result);
  write(b, shape, source, target.value);
  target.write(result);
};

/** CMPXCHG: the destination is written in either case, so that a read-only page faults (SDM vol. 2A, CMPXCHG). */
export const compareExchange: Semantics = (b, shape) => {
  const [destination, source] = shape.operands;
  const width = operandWidth(shape, 0);
  const replacement = read(b, shape, source);
  const accumulator = b.getFixed(GPR[0].offset, bytesOf(width));
  const target = update(b, shape, destination);
  const equal = b.eq(accumulator, target.value);
  setSubFlags(b, width, accumulator, target.value, b.sub(accumulator, target.value));
  const loadAccumulator = () => write(b, shape, { kind: 'fixedGpr', offset: GPR[0].offset, width }, target.value);
  if (destination.kind === 'mem') {
    target.write(b.select(equal, replacement, target.value));
    b.when(b.eqz(equal), loadAccumulator);
    return;
  }
  // A 32-bit register that is not replaced keeps its upper half.
  b.when(equal, () => target.write(replacement), loadAccumulator);
};

/** CMPXCHG8B and CMPXCHG16B by operand width (the width of each half: 32 or 64). Only ZF changes. */
export const compareExchangePair: Semantics = (b, shape) => {
  const bytes = shape.operandWidth === 64 ? 8 : 4;
  const address = linearAddress(b, shape, shape.operands[0], 'write', 2 * bytes);
  if (bytes === 8) b.raiseIf(b.wrap(b.and(address, b.i64(15))), 13, 0);
  const fixed = (register: number) => b.getFixed(GPR[register].offset, bytes);
  const low = b.loadForUpdate(address, bytes);
  const high = b.loadForUpdate(b.add(address, b.i64(bytes)), bytes);
  const equal = b.and(b.eq(low.value, fixed(0)), b.eq(high.value, fixed(2)));
  b.storeUpdate(low.handle, bytes, b.select(equal, fixed(3), low.value));
  b.storeUpdate(high.handle, bytes, b.select(equal, fixed(1), high.value));
  setZF(b, equal);
  b.when(b.eqz(equal), () => {
    b.setFixed(GPR[0].offset, 8, b.extendU(low.value));
    b.setFixed(GPR[2].offset, 8, b.extendU(high.value));
  });
};

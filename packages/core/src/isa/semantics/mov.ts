/** Data movement (SDM vol. 2): MOV, MOVZX, MOVSX, LEA, XCHG, BSWAP, CMOVcc, SETcc, CBW/CWD families, XLAT. */
import { GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { condition } from '../flags.ts';
import { bytesOf, effectiveAddress, read, segmentAddress, truncateAddress, update, write } from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { operandWidth } from './alu.ts';

export const move: Semantics = (b, shape) => {
  write(b, shape, shape.operands[0], read(b, shape, shape.operands[1]));
};

/** A value (i32, or i64 of 64 bits) in the type that an operand of `width` bits has. */
const fit = (b: Builder, width: number, value: Value) => (width === 64 ? b.extendU(value) : b.wrap(value));

export const moveZeroExtend: Semantics = (b, shape) => {
  const value = read(b, shape, shape.operands[1]);
  write(b, shape, shape.operands[0], fit(b, operandWidth(shape, 0), value));
};

/** MOVSX and MOVSXD. */
export const moveSignExtend: Semantics = (b, shape) => {
  const value = signExtend(b, operandWidth(shape, 1), read(b, shape, shape.operands[1]));
  write(b, shape, shape.operands[0], operandWidth(shape, 0) === 64 ? b.extendS(value) : value);
};

/** Sign-extend within i32. */
function signExtend(b: Builder, width: number, value: Value): Value {
  return width === 8 ? b.extend8S(value) : width === 16 ? b.extend16S(value) : value;
}

/** LEA: the address is cut to the address size, then to the operand size. */
export const loadEffectiveAddress: Semantics = (b, shape) => {
  const address = effectiveAddress(b, shape, shape.operands[1]);
  write(b, shape, shape.operands[0], fit(b, operandWidth(shape, 0), address));
};

export const exchange: Semantics = (b, shape) => {
  const [first, second] = shape.operands;
  const other = read(b, shape, second);
  const target = update(b, shape, first);
  write(b, shape, second, target.value);
  target.write(other);
};

export const byteSwap: Semantics = (b, shape) => {
  const [operand] = shape.operands;
  const value = read(b, shape, operand);
  // A 16-bit BSWAP is undefined (SDM vol. 2A, BSWAP); processors answer 0.
  if (shape.operandWidth === 16) write(b, shape, operand, b.i32(0));
  else if (shape.operandWidth === 32) write(b, shape, operand, swap32(b, value));
  else write(b, shape, operand, swap64(b, value));
};

function swap32(b: Builder, value: Value): Value {
  const odd = b.rotl(b.and(value, b.i32(0x00ff00ff)), b.i32(24));
  return b.or(odd, b.and(b.rotl(value, b.i32(8)), b.i32(0x00ff00ff)));
}
function swap64(b: Builder, value: Value): Value {
  const bytes = b.i64(0x00ff00ff00ff00ffn);
  const words = b.i64(0x0000ffff0000ffffn);
  const pairs = b.or(b.shl(b.and(value, bytes), b.i64(8)), b.and(b.shrU(value, b.i64(8)), bytes));
  const quads = b.or(b.shl(b.and(pairs, words), b.i64(16)), b.and(b.shrU(pairs, b.i64(16)), words));
  return b.rotl(quads, b.i64(32));
}

/** CMOVcc: the source is read, and a 32-bit destination zero-extended, whatever the condition. */
export function conditionalMove(code: number): Semantics {
  return (b, shape) => {
    const [destination, source] = shape.operands;
    const value = read(b, shape, source);
    write(b, shape, destination, b.select(condition(b, code), value, read(b, shape, destination)));
  };
}

export function setOnCondition(code: number): Semantics {
  return (b, shape) => write(b, shape, shape.operands[0], condition(b, code));
}

/** CBW, CWDE, CDQE. */
export const extendAccumulator: Semantics = (b, shape) => {
  const width = shape.operandWidth;
  const half = b.getFixed(GPR[0].offset, bytesOf((width / 2) as 8));
  const value = signExtend(b, width / 2, half);
  const accumulator = { kind: 'fixedGpr', offset: GPR[0].offset, width } as const;
  write(b, shape, accumulator, width === 64 ? b.extendS(value) : value);
};

/** CWD, CDQ, CQO. */
export const extendIntoData: Semantics = (b, shape) => {
  const width = shape.operandWidth;
  const value = b.getFixed(GPR[0].offset, bytesOf(width));
  const sign =
    width === 64
      ? b.shrS(value, b.i64(63))
      : width === 32
        ? b.shrS(value, b.i32(31))
        : b.shrS(b.extend16S(value), b.i32(15));
  write(b, shape, { kind: 'fixedGpr', offset: GPR[2].offset, width }, sign);
};

/** XLAT: AL = [DS:rBX + AL]. */
export const translate: Semantics = (b, shape) => {
  const table = b.getFixed(GPR[3].offset, 8);
  const offset = truncateAddress(b, shape, b.add(table, b.extendU(b.getFixed(GPR[0].offset, 1))));
  b.setFixed(GPR[0].offset, 1, b.load(segmentAddress(b, shape, dataSegment(shape), offset, 'read', 1), 1));
};

/** DS, or what overrides it. */
export function dataSegment(shape: InstructionShape): number {
  return shape.segmentOverride ?? 3;
}

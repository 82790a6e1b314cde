/** Port I/O (SDM vol. 1, chapter 19): exits, but for what a plug-in's code does of IN (direct.ts). */
import { GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { read } from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { dataSegment } from './mov.ts';
import { leaveWith } from './system.ts';

export const portBytes = (shape: InstructionShape): 1 | 2 | 4 => (Math.min(shape.operandWidth, 32) / 8) as 1 | 2 | 4;

/** The port (i32 or i64) that an operand names. */
export function port(b: Builder, shape: InstructionShape, index: number): Value {
  const operand = shape.operands[index];
  return operand.kind === 'imm' ? b.and(b.immediate(), b.i64(0xff)) : read(b, shape, operand);
}

export const output: Semantics = (b, shape) => leaveWith(b, 'out', port(b, shape, 0), b.i32(portBytes(shape)));

/** INS and OUTS. */
export function portString(direction: 'ins' | 'outs'): Semantics {
  return (b, shape) => {
    const segment = direction === 'ins' ? 0 : dataSegment(shape);
    const constants = [portBytes(shape), shape.addressWidth, segment, shape.rep === 'none' ? 0 : 1].map((n) =>
      b.i32(n),
    );
    leaveWith(b, direction, b.getFixed(GPR[2].offset, 2), ...constants);
  };
}

import type { EvaluationRecord } from '../ir/evaluate.ts';
import type { DecodedInstruction } from './types.ts';

/**
 * The record by which the evaluator runs an instruction at a linear address. As engine/code-cache.ts writes records:
 * RIP-relative displacements and branch distances count from the page.
 */
export function evaluationRecord(linear: bigint, decoded: DecodedInstruction): EvaluationRecord {
  const { reg, rm, base, index, scale, segment } = decoded;
  const wide = (low: number, high: number) => (BigInt(high) << 32n) | BigInt(low >>> 0);
  const thisOffset = Number(linear & 0xfffn);
  const nextOffset = thisOffset + decoded.lengthBytes;
  const isBranch = decoded.shape.operands.some(({ kind }) => kind === 'rel');
  return {
    ...{ reg, rm, base, index, scale, segment, thisOffset, nextOffset },
    disp: wide(decoded.dispLow, decoded.dispHigh) + BigInt(decoded.ripRelative ? nextOffset : 0),
    imm: wide(decoded.immLow, decoded.immHigh) + BigInt(isBranch ? nextOffset : 0),
  };
}

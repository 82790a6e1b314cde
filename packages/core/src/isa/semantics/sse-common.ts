/** What SSE semantics share: the availability check, operand access, alignment. */
import { FpuTrap } from '../../cpu/fpu-trap.ts';
import { FPU_TRAP } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { AccessBytes, Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { type Access, linearAddress } from '../operands.ts';
import type { InstructionShape, OperandShape, Semantics } from '../types.ts';

export const Vector = { UD: 6, NM: 7, GP: 13, MF: 16, XM: 19 } as const;

/** #UD and #NM by CR0 and CR4 before anything else (SDM vol. 2A, tables 2-20 to 2-25: legacy SSE). */
export function checkSseAvailable(b: Builder): void {
  const trap = b.get(FPU_TRAP);
  b.when(trap, () => {
    b.raiseIf(b.and(trap, b.i32(FpuTrap.sseDisabled)), Vector.UD);
    b.raiseIf(b.and(trap, b.i32(FpuTrap.taskSwitched)), Vector.NM);
  });
}

/** Semantics of an SSE instruction: the availability check, then `body`. */
export function sse(body: Semantics): Semantics {
  return (b, shape) => {
    checkSseAvailable(b);
    body(b, shape);
  };
}

/** Linear address of a memory operand that has to be a multiple of 16: #GP(0) else. */
export function alignedAddress(
  b: Builder,
  shape: InstructionShape,
  operand: OperandShape,
  access: Access,
  bytes: number,
): Value {
  const address = linearAddress(b, shape, operand, access, bytes);
  b.raiseIf(b.and(b.wrap(address), b.i32(15)), Vector.GP, 0);
  return address;
}

/** All 16 bytes of an XMM register or an aligned memory operand. */
export function readAligned(b: Builder, shape: InstructionShape, operand: OperandShape): Value {
  if (operand.kind === 'xmm') return b.getRegister(operand.field, 16);
  return b.load(alignedAddress(b, shape, operand, 'read', 16), 16);
}

/** The low `bytes` of an XMM register, or a memory operand of that size (no alignment asked). */
export function readLow(b: Builder, shape: InstructionShape, operand: OperandShape, bytes: AccessBytes): Value {
  if (operand.kind === 'xmm') return b.getRegister(operand.field, bytes);
  return b.load(linearAddress(b, shape, operand, 'read', bytes), bytes);
}

export function xmmField(operand: OperandShape): 'reg' | 'rm' | 'base' | 'index' {
  if (operand.kind !== 'xmm') throw new Error(`an XMM register is expected, not ${operand.kind}`);
  return operand.field;
}

export function writeXmm(b: Builder, operand: OperandShape, value: Value): void {
  b.setRegister(xmmField(operand), 16, value);
}

/** Write the low `bytes` of an XMM register and leave the rest. */
export function writeLow(b: Builder, operand: OperandShape, bytes: AccessBytes, value: Value): void {
  b.setRegister(xmmField(operand), bytes, value);
}

/** Write the low 4 or 8 bytes of an XMM register and clear the rest. */
export function writeLowZeroed(b: Builder, operand: OperandShape, value: Value): void {
  b.setRegister(xmmField(operand), 8, b.extendU(value));
  b.setRegister(xmmField(operand), 8, b.i64(0), 8);
}

/** A constant of sixteen bytes. */
export const constantBytes = (b: Builder, bytes: readonly number[]): Value => b.v128(Uint8Array.from(bytes));
export const zeroVector = (b: Builder): Value => b.v128(new Uint8Array(16));
/** The same 16, 32 or 64 bits in every lane. */
export function repeated(b: Builder, laneBytes: 2 | 4 | 8, value: bigint): Value {
  const lane = Array.from({ length: laneBytes }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
  return constantBytes(
    b,
    Array.from({ length: 16 }, (_, i) => lane[i % laneBytes]),
  );
}

export const shuffle = (b: Builder, lanes: readonly number[], low: Value, high: Value): Value =>
  b.pureWith(vectorOps.i8x16.shuffle, lanes, low, high);

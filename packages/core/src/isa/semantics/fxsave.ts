/**
 * FXSAVE, FXRSTOR, LDMXCSR, STMXCSR. The image (SDM vol. 1, 10.5.1): 512 bytes, control words in the first 32,
 * ST0…ST7 from 32 on and XMM registers from 160 on, 16 bytes each. Bytes from 416 on are left alone.
 */
import {
  MXCSR,
  VECTOR_SCRATCH,
  X87_CONTROL,
  X87_DP,
  X87_IP,
  X87_OPCODE,
  X87_STATUS,
  X87_TAG,
  XMM,
} from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { read, write } from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { alignedAddress, sse, Vector } from './sse-common.ts';
import { checkX87Available } from './x87-common.ts';

/** Bits of MXCSR that may be set: the low sixteen (DAZ is there). */
export const MXCSR_MASK = 0xffff;
const IMAGE_SIZE_BYTES = 512;
const XMM_OFFSET = 160;

/** #GP(0) if reserved bits are set. */
function checkMxcsr(b: Builder, value: Value): void {
  b.raiseIf(b.and(value, b.i32(~MXCSR_MASK)), Vector.GP, 0);
}

export const loadMxcsr: Semantics = sse((b, shape) => {
  const value = read(b, shape, shape.operands[0]);
  checkMxcsr(b, value);
  b.set(MXCSR, value);
});
export const storeMxcsr: Semantics = sse((b, shape) => {
  write(b, shape, shape.operands[0], b.get(MXCSR));
});

const xmmCount = (shape: InstructionShape) => (shape.mode === 'long64' ? 16 : 8);
const at = (b: Builder, base: Value, offset: number) => b.add(base, b.i64(offset));
const high = (b: Builder, value: Value, bits: number) => b.shl(b.extendU(value), b.i64(bits));

/** Bytes 0 to 31. Without REX.W the pointers are 32 bits and a selector, stored as 0 (CPUID.7.EBX[13]). */
function header(b: Builder, shape: InstructionShape): [Value, Value, Value, Value] {
  const words = b.or(
    b.and(b.extendU(b.get(X87_CONTROL)), b.i64(0xffff)),
    high(b, b.and(b.get(X87_STATUS), b.i32(0xffff)), 16),
  );
  const rest = b.or(
    high(b, b.and(b.get(X87_TAG), b.i32(0xff)), 32),
    high(b, b.and(b.get(X87_OPCODE), b.i32(0x7ff)), 48),
  );
  const pointer = (value: Value) => (shape.operandWidth === 64 ? value : b.and(value, b.i64(0xffffffffn)));
  const mxcsr = b.or(b.extendU(b.get(MXCSR)), b.i64(BigInt(MXCSR_MASK) << 32n));
  return [b.or(words, rest), pointer(b.get(X87_IP)), pointer(b.get(X87_DP)), mxcsr];
}

/** FXSAVE, FXSAVE64. Both ends are checked for writing first: the image lies in two pages at most. */
export const fxsave: Semantics = (b, shape) => {
  checkX87Available(b);
  const base = alignedAddress(b, shape, shape.operands[0], 'write', IMAGE_SIZE_BYTES);
  b.loadForUpdate(base, 16);
  b.loadForUpdate(at(b, base, IMAGE_SIZE_BYTES - 16), 16);
  header(b, shape).forEach((value, i) => b.store(at(b, base, i * 8), 8, value));
  for (const first of [0, 4]) {
    b.helper('x87ToStackOrder', [b.i32(first)]);
    VECTOR_SCRATCH.forEach((slot, i) => b.store(at(b, base, 32 + (first + i) * 16), 16, b.get(slot)));
  }
  for (let i = 0; i < xmmCount(shape); i++) b.store(at(b, base, XMM_OFFSET + i * 16), 16, b.get(XMM[i]));
};

/** FXRSTOR, FXRSTOR64: all is read and checked before anything changes. */
export const fxrstor: Semantics = (b, shape) => {
  checkX87Available(b);
  const base = alignedAddress(b, shape, shape.operands[0], 'read', IMAGE_SIZE_BYTES);
  const words = [0, 8, 16, 24].map((offset) => b.load(at(b, base, offset), 8));
  const stack = Array.from({ length: 8 }, (_, i) => b.load(at(b, base, 32 + i * 16), 16));
  const xmm = Array.from({ length: xmmCount(shape) }, (_, i) => b.load(at(b, base, XMM_OFFSET + i * 16), 16));
  b.load(at(b, base, IMAGE_SIZE_BYTES - 16), 16);
  const mxcsr = b.wrap(words[3]);
  checkMxcsr(b, mxcsr);
  b.set(MXCSR, mxcsr);
  xmm.forEach((value, i) => b.set(XMM[i], value));
  restoreX87(b, shape, words, stack);
};

function restoreX87(b: Builder, shape: InstructionShape, words: readonly Value[], stack: readonly Value[]): void {
  const field = (shift: number, mask: number) => b.and(b.wrap(b.shrU(words[0], b.i64(shift))), b.i32(mask));
  b.set(X87_CONTROL, field(0, 0xffff));
  b.set(X87_STATUS, field(16, 0xffff));
  b.set(X87_TAG, field(32, 0xff));
  b.set(X87_OPCODE, field(48, 0x7ff));
  const pointer = (value: Value) => (shape.operandWidth === 64 ? value : b.and(value, b.i64(0xffffffffn)));
  b.set(X87_IP, pointer(words[1]));
  b.set(X87_DP, pointer(words[2]));
  const significandAndExponent = b.v128(Uint8Array.from({ length: 16 }, (_, i) => (i < 10 ? 0xff : 0)));
  for (const first of [0, 4]) {
    VECTOR_SCRATCH.forEach((slot, i) =>
      b.set(slot, b.pure(vectorOps.v128.and, stack[first + i], significandAndExponent)),
    );
    b.helper('x87FromStackOrder', [b.i32(first)]);
  }
  b.helper('x87Normalize', []);
}

/**
 * MMX, with the additions of SSE and SSE2 to it (SDM vol. 1, chapter 9, 10.4.4, 11.4.3). MMX registers are the
 * significands of the physical x87 registers. The vector operations of WebAssembly work on both halves of a vector that
 * holds the 64-bit value twice; one half is the result.
 */
import { FpuTrap } from '../../cpu/fpu-trap.ts';
import { FPU_TRAP, GPR, X87_STATUS, X87_TAG } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { PureOp, RegisterField, Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { read, segmentAddress, truncateAddress, write } from '../operands.ts';
import type { InstructionShape, OperandShape, Semantics } from '../types.ts';
import { dataSegment } from './mov.ts';
import {
  checkSseAvailable,
  readAligned,
  readLow,
  repeated,
  shuffle,
  sse,
  Vector,
  writeLow,
  writeXmm,
  xmmField,
} from './sse-common.ts';
import { callPacked } from './sse-float.ts';
import { shiftLanes } from './sse-integer.ts';
import { wordIndices } from './sse-shuffle.ts';
import { checkPending } from './x87-common.ts';

const { i8x16, i16x8, i32x4, i64x2, v128 } = vectorOps;
const TOP = 7 << 11;
const ALL_IN_USE = 0xff;

/** #UD by CR0.EM, #NM by CR0.TS, #MF by a pending x87 exception (SDM vol. 3A, 13.1; vol. 3B, table 23-4 and on). */
function mmx(body: Semantics): Semantics {
  return (b, shape) => {
    const trap = b.get(FPU_TRAP);
    b.when(trap, () => {
      b.raiseIf(b.and(trap, b.i32(FpuTrap.emulation)), Vector.UD);
      b.raiseIf(b.and(trap, b.i32(FpuTrap.taskSwitched)), Vector.NM);
    });
    checkPending(b);
    body(b, shape);
  };
}
/** The same for instructions that also use XMM registers. */
const mmxWithSse =
  (body: Semantics): Semantics =>
  (b, shape) => {
    checkSseAvailable(b);
    checkPending(b);
    body(b, shape);
  };

/** What MMX instructions do to the x87 state (SDM vol. 1, 9.5.1, table 9-3); after the last memory access. */
function enterMmx(b: Builder, tag = ALL_IN_USE): void {
  b.set(X87_STATUS, b.and(b.get(X87_STATUS), b.i32(~TOP)));
  b.set(X87_TAG, b.i32(tag));
}

function mmxField(operand: OperandShape): RegisterField {
  if (operand.kind !== 'gpr') throw new Error(`an MMX register is expected, not ${operand.kind}`);
  return operand.field;
}
/** An MMX register or memory as i64; fewer bytes of memory are zero-extended. */
const readMmx = (b: Builder, shape: InstructionShape, operand: OperandShape): Value =>
  b.extendU(read(b, shape, operand));
/** Write an MMX register: sign and exponent of the x87 register become all ones. */
function writeMmx(b: Builder, operand: OperandShape, value: Value): void {
  enterMmx(b);
  b.setRegister(mmxField(operand), 8, value);
  b.setRegister(mmxField(operand), 2, b.i32(0xffff), 8);
}

const twice = (b: Builder, value: Value) => b.pure(i64x2.splat, value);
const half = (b: Builder, value: Value, which: 0 | 1 = 0) => b.pureWith(i64x2.extract, [which], value);

/** destination = half of f(destination, source). */
function combine64(f: (b: Builder, a: Value, c: Value) => Value, which: 0 | 1 = 0): Semantics {
  return mmx((b, shape) => {
    const [destination, source] = shape.operands;
    const right = readMmx(b, shape, source);
    const left = b.getRegister(mmxField(destination), 8);
    writeMmx(b, destination, half(b, f(b, twice(b, left), twice(b, right)), which));
  });
}
export const mmxLanes = (op: PureOp): Semantics => combine64((b, a, c) => b.pure(op, a, c));
export const mmxAndNot = combine64((b, a, c) => b.pure(v128.andnot, c, a));

const HIGH_WORDS = [2, 3, 6, 7, 10, 11, 14, 15];
export const mmxMultiplyHigh = (low: PureOp): Semantics =>
  combine64((b, a, c) => {
    const products = b.pure(low, a, c);
    return shuffle(b, [...HIGH_WORDS, ...HIGH_WORDS], products, products);
  });
/** PMULUDQ: the low doublewords. */
export const mmxMultiplyDoublewords = combine64((b, a, c) => b.pure(i64x2.extmul_low_u, a, c));
export const mmxSumAbsoluteDifferences = combine64((b, a, c) => {
  const difference = b.pure(v128.or, b.pure(i8x16.sub_sat_u, a, c), b.pure(i8x16.sub_sat_u, c, a));
  const quarters = b.pure(i32x4.extadd_u, b.pure(i16x8.extadd_u, difference));
  const low = b.pure(v128.and, quarters, repeated(b, 8, 0xffffffffn));
  return b.pure(i64x2.add, low, b.pure(i64x2.shr_u, quarters, b.i32(32)));
});

/** PACKSSWB and its like: the destination's lanes, then the source's. */
export const mmxPack = (narrow: PureOp): Semantics =>
  combine64((b, a, c) => {
    const both = b.pureWith(i64x2.replace, [1], a, half(b, c));
    return b.pure(narrow, both, both);
  });

/** PUNPCKL*, PUNPCKH*: the interleaved bytes of both; the first or the second eight of them. */
export const mmxInterleave = (laneBytes: 1 | 2 | 4, part: 'low' | 'high'): Semantics => {
  const bytes = Array.from({ length: 16 }, (_, i) => {
    const lane = Math.floor(i / laneBytes);
    return (lane >> 1) * laneBytes + (i % laneBytes) + (lane & 1 ? 16 : 0);
  });
  return combine64((b, a, c) => shuffle(b, bytes, a, c), part === 'low' ? 0 : 1);
};

export const mmxShift = (width: 16 | 32 | 64, kind: 'shl' | 'shr_u' | 'shr_s'): Semantics =>
  combine64((b, a, c) => shiftLanes(b, width, kind, a, half(b, c)));
export const mmxShiftByImmediate = (width: 16 | 32 | 64, kind: 'shl' | 'shr_u' | 'shr_s'): Semantics =>
  mmx((b, shape) => {
    const [destination] = shape.operands;
    const count = b.and(b.wrap(b.immediate()), b.i32(0xff));
    const value = twice(b, b.getRegister(mmxField(destination), 8));
    writeMmx(b, destination, half(b, shiftLanes(b, width, kind, value, count)));
  });

/** PSHUFW. */
export const mmxShuffle = mmx((b, shape) => {
  const [destination, source] = shape.operands;
  const value = twice(b, readMmx(b, shape, source));
  writeMmx(b, destination, half(b, b.pure(i8x16.swizzle, value, wordIndices(b, 0))));
});

/** MOVQ and MOVD to an MMX register; MOVD zero-extends. */
export const mmxLoad = mmx((b, shape) => writeMmx(b, shape.operands[0], readMmx(b, shape, shape.operands[1])));
/** MOVQ, MOVD and MOVNTQ from an MMX register. */
export const mmxStore = mmx((b, shape) => {
  const [destination, source] = shape.operands;
  const value = b.getRegister(mmxField(source), 8);
  const isDoubleword = destination.kind === 'mem' ? destination.sizeBytes === 4 : shape.operandWidth === 32;
  write(b, shape, destination, isDoubleword ? b.wrap(value) : value);
  enterMmx(b);
});
/** MOVQ between MMX registers in its store form. */
export const mmxStoreOrMove: Semantics = (b, shape) => {
  const [destination] = shape.operands;
  if (destination.kind === 'mem') return mmxStore(b, shape);
  return mmxLoad(b, shape);
};

/** PINSRW: shift amounts by the immediate choose the word. */
export const mmxInsertWord = mmx((b, shape) => {
  const [destination, source] = shape.operands;
  const word = b.and(read(b, shape, source), b.i32(0xffff));
  const at = b.extendU(wordShift(b));
  const hole = b.not(b.shl(b.i64(0xffff), at));
  const old = b.and(b.getRegister(mmxField(destination), 8), hole);
  writeMmx(b, destination, b.or(old, b.shl(b.extendU(word), at)));
});
/** PEXTRW. */
export const mmxExtractWord = mmx((b, shape) => {
  const [destination, source] = shape.operands;
  const shifted = b.shrU(b.getRegister(mmxField(source), 8), b.extendU(wordShift(b)));
  enterMmx(b);
  write(b, shape, destination, b.and(b.wrap(shifted), b.i32(0xffff)));
});
const wordShift = (b: Builder) => b.shl(b.and(b.wrap(b.immediate()), b.i32(3)), b.i32(4));

/** PMOVMSKB. */
export const mmxMoveMask = mmx((b, shape) => {
  const [destination, source] = shape.operands;
  const mask = b.pure(i8x16.bitmask, twice(b, b.getRegister(mmxField(source), 8)));
  enterMmx(b);
  write(b, shape, destination, b.and(mask, b.i32(0xff)));
});

/** MASKMOVQ: as MASKMOVDQU, eight bytes. */
export const mmxMaskedStore = mmx((b, shape) => {
  const [source, mask] = shape.operands;
  const value = b.getRegister(mmxField(source), 8);
  const bits = b.and(b.pure(i8x16.bitmask, twice(b, b.getRegister(mmxField(mask), 8))), b.i32(0xff));
  const address = (offset: Value) => {
    const pointer = truncateAddress(b, shape, b.add(b.getFixed(GPR[7].offset, 8), offset));
    return segmentAddress(b, shape, dataSegment(shape), pointer, 'write', 1);
  };
  b.when(bits, () => {
    // All faults before the first write: two pages at most are touched, by the first and the last byte that go there.
    b.loadForUpdate(address(b.extendU(b.ctz(bits))), 1);
    b.loadForUpdate(address(b.extendU(b.sub(b.i32(31), b.clz(bits)))), 1);
    for (let i = 0; i < 8; i++) {
      b.when(b.and(bits, b.i32(1 << i)), () => b.store(address(b.i64(i)), 1, b.wrap(b.shrU(value, b.i64(8 * i)))));
    }
  });
  enterMmx(b);
});

/** EMMS: all x87 registers empty. */
export const emms = mmx((b) => enterMmx(b, 0));

/** MOVQ2DQ. */
export const mmxToXmm = mmxWithSse((b, shape) => {
  const [destination, source] = shape.operands;
  const value = b.getRegister(mmxField(source), 8);
  enterMmx(b);
  b.setRegister(xmmField(destination), 8, value);
  b.setRegister(xmmField(destination), 8, b.i64(0), 8);
});
/** MOVDQ2Q. */
export const xmmToMmx = mmxWithSse((b, shape) => {
  const [destination, source] = shape.operands;
  writeMmx(b, destination, b.getRegister(xmmField(source), 8));
});

/** From memory CVTPI2PS and CVTPI2PD leave the x87 state alone, a pending exception included: as the processors do. */
const convertPair =
  (body: (b: Builder, shape: InstructionShape, source: Value) => void): Semantics =>
  (b, shape) => {
    const [, source] = shape.operands;
    const variant = source.kind === 'mem' ? sse : mmxWithSse;
    variant(() => body(b, shape, twice(b, readMmx(b, shape, source))))(b, shape);
  };
/** CVTPI2PS: the upper half of the destination stays. */
export const mmxToSingles = convertPair((b, shape, source) => {
  const singles = callPacked(b, 'ssePackedF32FromI32', [], source, source);
  if (shape.operands[1].kind !== 'mem') enterMmx(b);
  writeLow(b, shape.operands[0], 8, half(b, singles));
});
/** CVTPI2PD. */
export const mmxToDoubles = convertPair((b, shape, source) => {
  if (shape.operands[1].kind !== 'mem') enterMmx(b);
  writeXmm(b, shape.operands[0], b.pure(vectorOps.f64x2.convertLow, source));
});
/** CVTPS2PI, CVTPD2PI and their truncating forms. */
export const floatsToMmx = (helper: string, sourceBytes: 8 | 16): Semantics =>
  mmxWithSse((b, shape) => {
    const [destination, source] = shape.operands;
    const value = sourceBytes === 16 ? readAligned(b, shape, source) : twice(b, readLow(b, shape, source, 8));
    writeMmx(b, destination, half(b, callPacked(b, helper, [], value, value)));
  });

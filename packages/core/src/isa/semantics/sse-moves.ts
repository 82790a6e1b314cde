/** SSE and SSE2 data movement (SDM vol. 1, 10.4.1, 11.4.1, 11.4.2). Nontemporal hints are plain stores. */
import { GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { vectorOps } from '../../ir/vector-ops.ts';
import { linearAddress, read, segmentAddress, truncateAddress, write } from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { dataSegment } from './mov.ts';
import {
  alignedAddress,
  readAligned,
  readLow,
  sse,
  writeLow,
  writeLowZeroed,
  writeXmm,
  xmmField,
} from './sse-common.ts';

/** MOVAPS, MOVAPD, MOVDQA and the nontemporal stores: memory is aligned. */
export const moveAligned: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  if (destination.kind !== 'mem') return writeXmm(b, destination, readAligned(b, shape, source));
  const value = b.getRegister(xmmField(source), 16);
  b.store(alignedAddress(b, shape, destination, 'write', 16), 16, value);
});

/** MOVUPS, MOVUPD, MOVDQU. */
export const moveUnaligned: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  write(b, shape, destination, read(b, shape, source));
});

/** MOVSS, MOVSD: between registers the rest of the destination stays, from memory it is cleared. */
export const moveScalar = (bytes: 4 | 8): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    const value = readLow(b, shape, source, bytes);
    if (destination.kind === 'mem') b.store(linearAddress(b, shape, destination, 'write', bytes), bytes, value);
    else if (source.kind === 'mem') writeLowZeroed(b, destination, value);
    else writeLow(b, destination, bytes, value);
  });

/** MOVQ xmm, xmm/m64: the rest of a destination register is cleared always. */
export const moveQuadword: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  const value = readLow(b, shape, source, 8);
  if (destination.kind === 'mem') b.store(linearAddress(b, shape, destination, 'write', 8), 8, value);
  else writeLowZeroed(b, destination, value);
});

/** MOVD, MOVQ between general registers or memory and XMM. */
export const moveFromGeneral: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  writeLowZeroed(b, destination, read(b, shape, source));
});
export const moveToGeneral: Semantics = sse((b, shape) => {
  const [destination, source] = shape.operands;
  write(b, shape, destination, b.getRegister(xmmField(source), shape.operandWidth === 64 ? 8 : 4));
});

/** MOVLPS, MOVHPS, MOVLPD, MOVHPD: eight bytes of memory from or to one half (byte 0 or 8). */
export const moveHalf = (half: 0 | 8): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    if (destination.kind === 'mem')
      b.store(linearAddress(b, shape, destination, 'write', 8), 8, b.getRegister(xmmField(source), 8, half));
    else b.setRegister(xmmField(destination), 8, readLow(b, shape, source, 8), half);
  });

/** MOVHLPS (from 8 to 0) and MOVLHPS (from 0 to 8). */
export const moveBetweenHalves = (from: 0 | 8, to: 0 | 8): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    b.setRegister(xmmField(destination), 8, b.getRegister(xmmField(source), 8, from), to);
  });

/** MOVMSKPS, MOVMSKPD, PMOVMSKB: sign bits of the lanes. */
export const moveMask = (lane: 'i8x16' | 'i32x4' | 'i64x2'): Semantics =>
  sse((b, shape) => {
    const [destination, source] = shape.operands;
    write(b, shape, destination, b.pure(vectorOps[lane].bitmask, b.getRegister(xmmField(source), 16)));
  });

/** MOVNTI: a general register to memory. It needs no CR4.OSFXSR. */
export const moveNontemporalInteger: Semantics = (b, shape) => {
  write(b, shape, shape.operands[0], read(b, shape, shape.operands[1]));
};

/** MASKMOVDQU: bytes whose mask byte is negative go to DS:rDI; the others are not touched and cannot fault. */
export const maskedStore: Semantics = sse((b, shape) => {
  const [source, mask] = shape.operands;
  const value = b.getRegister(xmmField(source), 16);
  const bits = b.pure(vectorOps.i8x16.bitmask, b.getRegister(xmmField(mask), 16));
  b.when(bits, () => {
    // All faults before the first write: two pages at most are touched, by the first and the last byte that go there.
    b.loadForUpdate(maskedStoreAddress(b, shape, b.extendU(b.ctz(bits))), 1);
    b.loadForUpdate(maskedStoreAddress(b, shape, b.extendU(b.sub(b.i32(31), b.clz(bits)))), 1);
    for (let i = 0; i < 16; i++) {
      b.when(b.and(bits, b.i32(1 << i)), () => {
        const byte = b.pureWith(vectorOps.i8x16.extract_u, [i], value);
        b.store(maskedStoreAddress(b, shape, b.i64(i)), 1, byte);
      });
    }
  });
});

function maskedStoreAddress(b: Builder, shape: InstructionShape, offset: Value): Value {
  const pointer = b.add(b.getFixed(GPR[7].offset, 8), offset);
  return segmentAddress(b, shape, dataSegment(shape), truncateAddress(b, shape, pointer), 'write', 1);
}

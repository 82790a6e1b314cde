/** Rows that name MMX registers: MMX, and what SSE and SSE2 added to it (SDM vol. 2D, table A-3, rows without prefix). */
import { vectorOps } from '../../ir/vector-ops.ts';
import {
  emms,
  floatsToMmx,
  mmxAndNot,
  mmxExtractWord,
  mmxInsertWord,
  mmxInterleave,
  mmxLanes,
  mmxLoad,
  mmxMaskedStore,
  mmxMoveMask,
  mmxMultiplyDoublewords,
  mmxMultiplyHigh,
  mmxPack,
  mmxShift,
  mmxShiftByImmediate,
  mmxShuffle,
  mmxStore,
  mmxStoreOrMove,
  mmxSumAbsoluteDifferences,
  mmxToDoubles,
  mmxToSingles,
  mmxToXmm,
  xmmToMmx,
} from '../semantics/mmx.ts';
import type { Semantics } from '../types.ts';
import { type EncodingRow, row } from './row.ts';

const { i8x16, i16x8, i32x4, i64x2, v128 } = vectorOps;

const packed = (opcode: string, mnemonic: string, semantics: Semantics): EncodingRow =>
  row(`NP 0F ${opcode} /r`, mnemonic, 'Pq,Qq', semantics);
/** The low halves are interleaved: memory of four bytes. */
const packedLow = (opcode: string, mnemonic: string, semantics: Semantics): EncodingRow =>
  row(`NP 0F ${opcode} /r`, mnemonic, 'Pq,Qd', semantics);

const arithmetic: EncodingRow[] = [
  packed('FC', 'PADDB', mmxLanes(i8x16.add)),
  packed('FD', 'PADDW', mmxLanes(i16x8.add)),
  packed('FE', 'PADDD', mmxLanes(i32x4.add)),
  packed('D4', 'PADDQ', mmxLanes(i64x2.add)),
  packed('EC', 'PADDSB', mmxLanes(i8x16.add_sat_s)),
  packed('ED', 'PADDSW', mmxLanes(i16x8.add_sat_s)),
  packed('DC', 'PADDUSB', mmxLanes(i8x16.add_sat_u)),
  packed('DD', 'PADDUSW', mmxLanes(i16x8.add_sat_u)),
  packed('F8', 'PSUBB', mmxLanes(i8x16.sub)),
  packed('F9', 'PSUBW', mmxLanes(i16x8.sub)),
  packed('FA', 'PSUBD', mmxLanes(i32x4.sub)),
  packed('FB', 'PSUBQ', mmxLanes(i64x2.sub)),
  packed('E8', 'PSUBSB', mmxLanes(i8x16.sub_sat_s)),
  packed('E9', 'PSUBSW', mmxLanes(i16x8.sub_sat_s)),
  packed('D8', 'PSUBUSB', mmxLanes(i8x16.sub_sat_u)),
  packed('D9', 'PSUBUSW', mmxLanes(i16x8.sub_sat_u)),
  packed('E0', 'PAVGB', mmxLanes(i8x16.avgr_u)),
  packed('E3', 'PAVGW', mmxLanes(i16x8.avgr_u)),
  packed('DA', 'PMINUB', mmxLanes(i8x16.min_u)),
  packed('DE', 'PMAXUB', mmxLanes(i8x16.max_u)),
  packed('EA', 'PMINSW', mmxLanes(i16x8.min_s)),
  packed('EE', 'PMAXSW', mmxLanes(i16x8.max_s)),
  packed('D5', 'PMULLW', mmxLanes(i16x8.mul)),
  packed('E5', 'PMULHW', mmxMultiplyHigh(i32x4.extmul_low_s)),
  packed('E4', 'PMULHUW', mmxMultiplyHigh(i32x4.extmul_low_u)),
  packed('F4', 'PMULUDQ', mmxMultiplyDoublewords),
  packed('F5', 'PMADDWD', mmxLanes(i32x4.dot)),
  packed('F6', 'PSADBW', mmxSumAbsoluteDifferences),
];

const logic: EncodingRow[] = [
  packed('DB', 'PAND', mmxLanes(v128.and)),
  packed('DF', 'PANDN', mmxAndNot),
  packed('EB', 'POR', mmxLanes(v128.or)),
  packed('EF', 'PXOR', mmxLanes(v128.xor)),
  packed('74', 'PCMPEQB', mmxLanes(i8x16.eq)),
  packed('75', 'PCMPEQW', mmxLanes(i16x8.eq)),
  packed('76', 'PCMPEQD', mmxLanes(i32x4.eq)),
  packed('64', 'PCMPGTB', mmxLanes(i8x16.gt_s)),
  packed('65', 'PCMPGTW', mmxLanes(i16x8.gt_s)),
  packed('66', 'PCMPGTD', mmxLanes(i32x4.gt_s)),
];

const shifts: EncodingRow[] = [
  packed('F1', 'PSLLW', mmxShift(16, 'shl')),
  packed('F2', 'PSLLD', mmxShift(32, 'shl')),
  packed('F3', 'PSLLQ', mmxShift(64, 'shl')),
  packed('D1', 'PSRLW', mmxShift(16, 'shr_u')),
  packed('D2', 'PSRLD', mmxShift(32, 'shr_u')),
  packed('D3', 'PSRLQ', mmxShift(64, 'shr_u')),
  packed('E1', 'PSRAW', mmxShift(16, 'shr_s')),
  packed('E2', 'PSRAD', mmxShift(32, 'shr_s')),
  row('NP 0F 71 /6', 'PSLLW', 'Nq,Ib', mmxShiftByImmediate(16, 'shl')),
  row('NP 0F 72 /6', 'PSLLD', 'Nq,Ib', mmxShiftByImmediate(32, 'shl')),
  row('NP 0F 73 /6', 'PSLLQ', 'Nq,Ib', mmxShiftByImmediate(64, 'shl')),
  row('NP 0F 71 /2', 'PSRLW', 'Nq,Ib', mmxShiftByImmediate(16, 'shr_u')),
  row('NP 0F 72 /2', 'PSRLD', 'Nq,Ib', mmxShiftByImmediate(32, 'shr_u')),
  row('NP 0F 73 /2', 'PSRLQ', 'Nq,Ib', mmxShiftByImmediate(64, 'shr_u')),
  row('NP 0F 71 /4', 'PSRAW', 'Nq,Ib', mmxShiftByImmediate(16, 'shr_s')),
  row('NP 0F 72 /4', 'PSRAD', 'Nq,Ib', mmxShiftByImmediate(32, 'shr_s')),
];

const shuffles: EncodingRow[] = [
  packedLow('60', 'PUNPCKLBW', mmxInterleave(1, 'low')),
  packedLow('61', 'PUNPCKLWD', mmxInterleave(2, 'low')),
  packedLow('62', 'PUNPCKLDQ', mmxInterleave(4, 'low')),
  packed('68', 'PUNPCKHBW', mmxInterleave(1, 'high')),
  packed('69', 'PUNPCKHWD', mmxInterleave(2, 'high')),
  packed('6A', 'PUNPCKHDQ', mmxInterleave(4, 'high')),
  packed('63', 'PACKSSWB', mmxPack(i8x16.narrow_s)),
  packed('67', 'PACKUSWB', mmxPack(i8x16.narrow_u)),
  packed('6B', 'PACKSSDW', mmxPack(i16x8.narrow_s)),
  row('NP 0F 70 /r', 'PSHUFW', 'Pq,Qq,Ib', mmxShuffle),
  row('NP 0F C4 /r', 'PINSRW', 'Pq,Rd/Mw,Ib', mmxInsertWord),
  row('NP 0F C5 /r', 'PEXTRW', 'Gd,Nq,Ib', mmxExtractWord),
];

const moves: EncodingRow[] = [
  row('NP 0F 6E /r', 'MOVD', 'Pq,Ey', mmxLoad),
  row('NP 0F 7E /r', 'MOVD', 'Ey,Pq', mmxStore),
  packed('6F', 'MOVQ', mmxLoad),
  row('NP 0F 7F /r', 'MOVQ', 'Qq,Pq', mmxStoreOrMove),
  row('NP 0F E7 /r', 'MOVNTQ', 'Mq,Pq', mmxStore),
  row('NP 0F F7 /r', 'MASKMOVQ', 'Pq,Nq', mmxMaskedStore, { address: true }),
  row('NP 0F D7 /r', 'PMOVMSKB', 'Gd,Nq', mmxMoveMask),
  row('F3 0F D6 /r', 'MOVQ2DQ', 'Vx,Nq', mmxToXmm),
  row('F2 0F D6 /r', 'MOVDQ2Q', 'Pq,Ux', xmmToMmx),
  row('NP 0F 77', 'EMMS', '', emms),
];

const conversions: EncodingRow[] = [
  row('NP 0F 2A /r', 'CVTPI2PS', 'Vx,Qq', mmxToSingles),
  row('66 0F 2A /r', 'CVTPI2PD', 'Vx,Qq', mmxToDoubles),
  row('NP 0F 2C /r', 'CVTTPS2PI', 'Pq,Wq', floatsToMmx('ssePackedI32FromF32Truncated', 8)),
  row('NP 0F 2D /r', 'CVTPS2PI', 'Pq,Wq', floatsToMmx('ssePackedI32FromF32', 8)),
  row('66 0F 2C /r', 'CVTTPD2PI', 'Pq,Wx', floatsToMmx('ssePackedI32FromF64Truncated', 16)),
  row('66 0F 2D /r', 'CVTPD2PI', 'Pq,Wx', floatsToMmx('ssePackedI32FromF64', 16)),
];

export const mmxEncodings: readonly EncodingRow[] = [
  ...arithmetic,
  ...logic,
  ...shifts,
  ...shuffles,
  ...moves,
  ...conversions,
];

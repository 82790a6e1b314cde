/** Rows of SSE and SSE2: moves, logic, integer operations, shuffles, state management. */
import { vectorOps } from '../../ir/vector-ops.ts';
import { fxrstor, fxsave, loadMxcsr, storeMxcsr } from '../semantics/fxsave.ts';
import {
  andNot, extractWord, insertWord, lanes, multiplyDoublewords, multiplyHigh, shiftByImmediate, shiftBytes, shiftByVector,
  sumAbsoluteDifferences,
} from '../semantics/sse-integer.ts';
import {
  maskedStore, moveAligned, moveBetweenHalves, moveFromGeneral, moveHalf, moveMask, moveNontemporalInteger, moveQuadword,
  moveScalar, moveToGeneral, moveUnaligned,
} from '../semantics/sse-moves.ts';
import {
  interleave, shuffleDoubles, shuffleDoublewords, shuffleHighWords, shuffleLowWords, shuffleSingles,
} from '../semantics/sse-shuffle.ts';
import type { Semantics } from '../types.ts';
import { type EncodingRow, row } from './row.ts';

const { i8x16, i16x8, i32x4, i64x2, v128 } = vectorOps;

const moves: EncodingRow[] = [
  row('NP 0F 10 /r', 'MOVUPS', 'Vx,Wx', moveUnaligned),
  row('NP 0F 11 /r', 'MOVUPS', 'Wx,Vx', moveUnaligned),
  row('66 0F 10 /r', 'MOVUPD', 'Vx,Wx', moveUnaligned),
  row('66 0F 11 /r', 'MOVUPD', 'Wx,Vx', moveUnaligned),
  row('F3 0F 10 /r', 'MOVSS', 'Vx,Wss', moveScalar(4)),
  row('F3 0F 11 /r', 'MOVSS', 'Wss,Vx', moveScalar(4)),
  row('F2 0F 10 /r', 'MOVSD', 'Vx,Wsd', moveScalar(8)),
  row('F2 0F 11 /r', 'MOVSD', 'Wsd,Vx', moveScalar(8)),
  row('NP 0F 12 /r', 'MOVHLPS', 'Vx,Ux', moveBetweenHalves(8, 0)),
  row('NP 0F 12 /r', 'MOVLPS', 'Vx,Mq', moveHalf(0)),
  row('NP 0F 13 /r', 'MOVLPS', 'Mq,Vx', moveHalf(0)),
  row('66 0F 12 /r', 'MOVLPD', 'Vx,Mq', moveHalf(0)),
  row('66 0F 13 /r', 'MOVLPD', 'Mq,Vx', moveHalf(0)),
  row('NP 0F 16 /r', 'MOVLHPS', 'Vx,Ux', moveBetweenHalves(0, 8)),
  row('NP 0F 16 /r', 'MOVHPS', 'Vx,Mq', moveHalf(8)),
  row('NP 0F 17 /r', 'MOVHPS', 'Mq,Vx', moveHalf(8)),
  row('66 0F 16 /r', 'MOVHPD', 'Vx,Mq', moveHalf(8)),
  row('66 0F 17 /r', 'MOVHPD', 'Mq,Vx', moveHalf(8)),
  row('NP 0F 28 /r', 'MOVAPS', 'Vx,Wx', moveAligned),
  row('NP 0F 29 /r', 'MOVAPS', 'Wx,Vx', moveAligned),
  row('66 0F 28 /r', 'MOVAPD', 'Vx,Wx', moveAligned),
  row('66 0F 29 /r', 'MOVAPD', 'Wx,Vx', moveAligned),
  row('NP 0F 2B /r', 'MOVNTPS', 'Mx,Vx', moveAligned),
  row('66 0F 2B /r', 'MOVNTPD', 'Mx,Vx', moveAligned),
  row('NP 0F 50 /r', 'MOVMSKPS', 'Gd,Ux', moveMask('i32x4')),
  row('66 0F 50 /r', 'MOVMSKPD', 'Gd,Ux', moveMask('i64x2')),
  row('66 0F D7 /r', 'PMOVMSKB', 'Gd,Ux', moveMask('i8x16')),
  row('66 0F 6E /r', 'MOVD', 'Vx,Ey', moveFromGeneral),
  row('66 0F 7E /r', 'MOVD', 'Ey,Vx', moveToGeneral),
  row('F3 0F 7E /r', 'MOVQ', 'Vx,Wq', moveQuadword),
  row('66 0F D6 /r', 'MOVQ', 'Wq,Vx', moveQuadword),
  row('66 0F 6F /r', 'MOVDQA', 'Vx,Wx', moveAligned),
  row('66 0F 7F /r', 'MOVDQA', 'Wx,Vx', moveAligned),
  row('F3 0F 6F /r', 'MOVDQU', 'Vx,Wx', moveUnaligned),
  row('F3 0F 7F /r', 'MOVDQU', 'Wx,Vx', moveUnaligned),
  row('66 0F E7 /r', 'MOVNTDQ', 'Mx,Vx', moveAligned),
  row('NP 0F C3 /r', 'MOVNTI', 'My,Gy', moveNontemporalInteger),
  row('66 0F F7 /r', 'MASKMOVDQU', 'Vx,Ux', maskedStore, { address: true }),
];

/** `66 0F opcode /r`: XMM with XMM or aligned memory. */
const packed = (opcode: string, mnemonic: string, semantics: Semantics): EncodingRow =>
  row(`66 0F ${opcode} /r`, mnemonic, 'Vx,Wx', semantics);

const logic: EncodingRow[] = [
  row('NP 0F 54 /r', 'ANDPS', 'Vx,Wx', lanes(v128.and)),
  packed('54', 'ANDPD', lanes(v128.and)),
  packed('DB', 'PAND', lanes(v128.and)),
  row('NP 0F 55 /r', 'ANDNPS', 'Vx,Wx', andNot),
  packed('55', 'ANDNPD', andNot),
  packed('DF', 'PANDN', andNot),
  row('NP 0F 56 /r', 'ORPS', 'Vx,Wx', lanes(v128.or)),
  packed('56', 'ORPD', lanes(v128.or)),
  packed('EB', 'POR', lanes(v128.or)),
  row('NP 0F 57 /r', 'XORPS', 'Vx,Wx', lanes(v128.xor)),
  packed('57', 'XORPD', lanes(v128.xor)),
  packed('EF', 'PXOR', lanes(v128.xor)),
];

const integer: EncodingRow[] = [
  packed('FC', 'PADDB', lanes(i8x16.add)),
  packed('FD', 'PADDW', lanes(i16x8.add)),
  packed('FE', 'PADDD', lanes(i32x4.add)),
  packed('D4', 'PADDQ', lanes(i64x2.add)),
  packed('EC', 'PADDSB', lanes(i8x16.add_sat_s)),
  packed('ED', 'PADDSW', lanes(i16x8.add_sat_s)),
  packed('DC', 'PADDUSB', lanes(i8x16.add_sat_u)),
  packed('DD', 'PADDUSW', lanes(i16x8.add_sat_u)),
  packed('F8', 'PSUBB', lanes(i8x16.sub)),
  packed('F9', 'PSUBW', lanes(i16x8.sub)),
  packed('FA', 'PSUBD', lanes(i32x4.sub)),
  packed('FB', 'PSUBQ', lanes(i64x2.sub)),
  packed('E8', 'PSUBSB', lanes(i8x16.sub_sat_s)),
  packed('E9', 'PSUBSW', lanes(i16x8.sub_sat_s)),
  packed('D8', 'PSUBUSB', lanes(i8x16.sub_sat_u)),
  packed('D9', 'PSUBUSW', lanes(i16x8.sub_sat_u)),
  packed('E0', 'PAVGB', lanes(i8x16.avgr_u)),
  packed('E3', 'PAVGW', lanes(i16x8.avgr_u)),
  packed('DA', 'PMINUB', lanes(i8x16.min_u)),
  packed('DE', 'PMAXUB', lanes(i8x16.max_u)),
  packed('EA', 'PMINSW', lanes(i16x8.min_s)),
  packed('EE', 'PMAXSW', lanes(i16x8.max_s)),
  packed('D5', 'PMULLW', lanes(i16x8.mul)),
  packed('E5', 'PMULHW', multiplyHigh(i32x4.extmul_low_s, i32x4.extmul_high_s)),
  packed('E4', 'PMULHUW', multiplyHigh(i32x4.extmul_low_u, i32x4.extmul_high_u)),
  packed('F4', 'PMULUDQ', multiplyDoublewords),
  packed('F5', 'PMADDWD', lanes(i32x4.dot)),
  packed('F6', 'PSADBW', sumAbsoluteDifferences),
  packed('74', 'PCMPEQB', lanes(i8x16.eq)),
  packed('75', 'PCMPEQW', lanes(i16x8.eq)),
  packed('76', 'PCMPEQD', lanes(i32x4.eq)),
  packed('64', 'PCMPGTB', lanes(i8x16.gt_s)),
  packed('65', 'PCMPGTW', lanes(i16x8.gt_s)),
  packed('66', 'PCMPGTD', lanes(i32x4.gt_s)),
];

const shifts: EncodingRow[] = [
  packed('F1', 'PSLLW', shiftByVector(16, 'shl')),
  packed('F2', 'PSLLD', shiftByVector(32, 'shl')),
  packed('F3', 'PSLLQ', shiftByVector(64, 'shl')),
  packed('D1', 'PSRLW', shiftByVector(16, 'shr_u')),
  packed('D2', 'PSRLD', shiftByVector(32, 'shr_u')),
  packed('D3', 'PSRLQ', shiftByVector(64, 'shr_u')),
  packed('E1', 'PSRAW', shiftByVector(16, 'shr_s')),
  packed('E2', 'PSRAD', shiftByVector(32, 'shr_s')),
  row('66 0F 71 /6', 'PSLLW', 'Ux,Ib', shiftByImmediate(16, 'shl')),
  row('66 0F 72 /6', 'PSLLD', 'Ux,Ib', shiftByImmediate(32, 'shl')),
  row('66 0F 73 /6', 'PSLLQ', 'Ux,Ib', shiftByImmediate(64, 'shl')),
  row('66 0F 71 /2', 'PSRLW', 'Ux,Ib', shiftByImmediate(16, 'shr_u')),
  row('66 0F 72 /2', 'PSRLD', 'Ux,Ib', shiftByImmediate(32, 'shr_u')),
  row('66 0F 73 /2', 'PSRLQ', 'Ux,Ib', shiftByImmediate(64, 'shr_u')),
  row('66 0F 71 /4', 'PSRAW', 'Ux,Ib', shiftByImmediate(16, 'shr_s')),
  row('66 0F 72 /4', 'PSRAD', 'Ux,Ib', shiftByImmediate(32, 'shr_s')),
  row('66 0F 73 /7', 'PSLLDQ', 'Ux,Ib', shiftBytes('left')),
  row('66 0F 73 /3', 'PSRLDQ', 'Ux,Ib', shiftBytes('right')),
];

const shuffles: EncodingRow[] = [
  packed('60', 'PUNPCKLBW', interleave(1, 'low')),
  packed('61', 'PUNPCKLWD', interleave(2, 'low')),
  packed('62', 'PUNPCKLDQ', interleave(4, 'low')),
  packed('6C', 'PUNPCKLQDQ', interleave(8, 'low')),
  packed('68', 'PUNPCKHBW', interleave(1, 'high')),
  packed('69', 'PUNPCKHWD', interleave(2, 'high')),
  packed('6A', 'PUNPCKHDQ', interleave(4, 'high')),
  packed('6D', 'PUNPCKHQDQ', interleave(8, 'high')),
  row('NP 0F 14 /r', 'UNPCKLPS', 'Vx,Wx', interleave(4, 'low')),
  row('NP 0F 15 /r', 'UNPCKHPS', 'Vx,Wx', interleave(4, 'high')),
  packed('14', 'UNPCKLPD', interleave(8, 'low')),
  packed('15', 'UNPCKHPD', interleave(8, 'high')),
  packed('63', 'PACKSSWB', lanes(i8x16.narrow_s)),
  packed('67', 'PACKUSWB', lanes(i8x16.narrow_u)),
  packed('6B', 'PACKSSDW', lanes(i16x8.narrow_s)),
  row('66 0F 70 /r', 'PSHUFD', 'Vx,Wx,Ib', shuffleDoublewords),
  row('F2 0F 70 /r', 'PSHUFLW', 'Vx,Wx,Ib', shuffleLowWords),
  row('F3 0F 70 /r', 'PSHUFHW', 'Vx,Wx,Ib', shuffleHighWords),
  row('NP 0F C6 /r', 'SHUFPS', 'Vx,Wx,Ib', shuffleSingles),
  row('66 0F C6 /r', 'SHUFPD', 'Vx,Wx,Ib', shuffleDoubles),
  row('66 0F C4 /r', 'PINSRW', 'Vx,Rd/Mw,Ib', insertWord),
  row('66 0F C5 /r', 'PEXTRW', 'Gd,Ux,Ib', extractWord),
];

const state: EncodingRow[] = [
  row('NP 0F AE /0', 'FXSAVE', 'M', fxsave, { width: 'y' }),
  row('NP 0F AE /1', 'FXRSTOR', 'M', fxrstor, { width: 'y' }),
  row('NP 0F AE /2', 'LDMXCSR', 'Md', loadMxcsr),
  row('NP 0F AE /3', 'STMXCSR', 'Md', storeMxcsr),
];

/** All but floating-point arithmetic, comparison and conversion. */
export const sseIntegerEncodings: readonly EncodingRow[] = [...moves, ...logic, ...integer, ...shifts, ...shuffles, ...state];

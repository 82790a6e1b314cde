/** Rows of SSE and SSE2 floating-point arithmetic, comparison and conversion. */
import {
  doubleToSingle,
  integerToScalar,
  packedConversion,
  packedIntegerToDouble,
  packedIntegerToSingle,
  scalarToInteger,
  singleToDouble,
} from '../semantics/sse-convert.ts';
import {
  compareToFlags,
  DOUBLE,
  packedApproximation,
  packedArithmetic,
  packedCompare,
  packedExtremum,
  packedRoot,
  SINGLE,
  scalarApproximation,
  scalarArithmetic,
  scalarCompare,
  scalarExtremum,
  scalarRoot,
} from '../semantics/sse-float.ts';
import { type EncodingRow, row } from './row.ts';

/** One opcode with its four kinds: packed and scalar, single and double. */
function four(
  opcode: string,
  stem: string,
  semantics: { packed: typeof packedRoot; scalar: typeof scalarRoot },
  more = '',
): EncodingRow[] {
  return [
    row(`NP 0F ${opcode} /r`, `${stem}PS`, `Vx,Wx${more}`, semantics.packed(SINGLE)),
    row(`66 0F ${opcode} /r`, `${stem}PD`, `Vx,Wx${more}`, semantics.packed(DOUBLE)),
    row(`F3 0F ${opcode} /r`, `${stem}SS`, `Vx,Wss${more}`, semantics.scalar(SINGLE)),
    row(`F2 0F ${opcode} /r`, `${stem}SD`, `Vx,Wsd${more}`, semantics.scalar(DOUBLE)),
  ];
}
const arithmetic = (opcode: string, stem: string, name: 'add' | 'sub' | 'mul' | 'div') =>
  four(opcode, stem, {
    packed: (kind) => packedArithmetic(kind, name),
    scalar: (kind) => scalarArithmetic(kind, name),
  });
const extremum = (opcode: string, stem: string, name: 'min' | 'max') =>
  four(opcode, stem, { packed: (kind) => packedExtremum(kind, name), scalar: (kind) => scalarExtremum(kind, name) });

const conversions: EncodingRow[] = [
  row('F3 0F 2A /r', 'CVTSI2SS', 'Vx,Ey', integerToScalar(SINGLE)),
  row('F2 0F 2A /r', 'CVTSI2SD', 'Vx,Ey', integerToScalar(DOUBLE)),
  row('F3 0F 2C /r', 'CVTTSS2SI', 'Gy,Wss', scalarToInteger(SINGLE, true)),
  row('F2 0F 2C /r', 'CVTTSD2SI', 'Gy,Wsd', scalarToInteger(DOUBLE, true)),
  row('F3 0F 2D /r', 'CVTSS2SI', 'Gy,Wss', scalarToInteger(SINGLE, false)),
  row('F2 0F 2D /r', 'CVTSD2SI', 'Gy,Wsd', scalarToInteger(DOUBLE, false)),
  row('F3 0F 5A /r', 'CVTSS2SD', 'Vx,Wss', singleToDouble),
  row('F2 0F 5A /r', 'CVTSD2SS', 'Vx,Wsd', doubleToSingle),
  row('NP 0F 5A /r', 'CVTPS2PD', 'Vx,Wq', packedConversion('ssePackedF64FromF32', 8)),
  row('66 0F 5A /r', 'CVTPD2PS', 'Vx,Wx', packedConversion('ssePackedF32FromF64', 16)),
  row('NP 0F 5B /r', 'CVTDQ2PS', 'Vx,Wx', packedIntegerToSingle),
  row('66 0F 5B /r', 'CVTPS2DQ', 'Vx,Wx', packedConversion('ssePackedI32FromF32', 16)),
  row('F3 0F 5B /r', 'CVTTPS2DQ', 'Vx,Wx', packedConversion('ssePackedI32FromF32Truncated', 16)),
  row('F3 0F E6 /r', 'CVTDQ2PD', 'Vx,Wq', packedIntegerToDouble),
  row('F2 0F E6 /r', 'CVTPD2DQ', 'Vx,Wx', packedConversion('ssePackedI32FromF64', 16)),
  row('66 0F E6 /r', 'CVTTPD2DQ', 'Vx,Wx', packedConversion('ssePackedI32FromF64Truncated', 16)),
];

const comparisons: EncodingRow[] = [
  row('NP 0F 2E /r', 'UCOMISS', 'Vx,Wss', compareToFlags(SINGLE, false)),
  row('66 0F 2E /r', 'UCOMISD', 'Vx,Wsd', compareToFlags(DOUBLE, false)),
  row('NP 0F 2F /r', 'COMISS', 'Vx,Wss', compareToFlags(SINGLE, true)),
  row('66 0F 2F /r', 'COMISD', 'Vx,Wsd', compareToFlags(DOUBLE, true)),
  ...four('C2', 'CMP', { packed: packedCompare, scalar: scalarCompare }, ',Ib'),
];

export const sseFloatEncodings: readonly EncodingRow[] = [
  ...arithmetic('58', 'ADD', 'add'),
  ...arithmetic('59', 'MUL', 'mul'),
  ...arithmetic('5C', 'SUB', 'sub'),
  ...arithmetic('5E', 'DIV', 'div'),
  ...extremum('5D', 'MIN', 'min'),
  ...extremum('5F', 'MAX', 'max'),
  ...four('51', 'SQRT', { packed: packedRoot, scalar: scalarRoot }),
  row('NP 0F 52 /r', 'RSQRTPS', 'Vx,Wx', packedApproximation('sseReciprocalRoot')),
  row('F3 0F 52 /r', 'RSQRTSS', 'Vx,Wss', scalarApproximation('sseReciprocalRoot')),
  row('NP 0F 53 /r', 'RCPPS', 'Vx,Wx', packedApproximation('sseReciprocal')),
  row('F3 0F 53 /r', 'RCPSS', 'Vx,Wss', scalarApproximation('sseReciprocal')),
  ...comparisons,
  ...conversions,
];

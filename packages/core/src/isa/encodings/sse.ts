/**
 * Rows of SSE and SSE2. MMX is not advertised: the rows that name MMX registers (CVTPI2PS, MOVQ2DQ and the like)
 * are NOT IMPLEMENTED and raise #UD.
 */
import type { EncodingRow } from './row.ts';
import { sseFloatEncodings } from './sse-float.ts';
import { sseIntegerEncodings } from './sse-integer.ts';

export const sseEncodings: readonly EncodingRow[] = [...sseIntegerEncodings, ...sseFloatEncodings];

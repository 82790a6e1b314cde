/** Rows of SSE and SSE2; those that name MMX registers are in mmx.ts. */
import type { EncodingRow } from './row.ts';
import { sseFloatEncodings } from './sse-float.ts';
import { sseIntegerEncodings } from './sse-integer.ts';

export const sseEncodings: readonly EncodingRow[] = [...sseIntegerEncodings, ...sseFloatEncodings];

import { mmxEncodings } from './mmx.ts';
import { oneByteRows } from './one-byte.ts';
import type { EncodingRow } from './row.ts';
import { sseEncodings } from './sse.ts';
import { twoByteRows } from './two-byte.ts';
import { x87Encodings } from './x87.ts';

/** The whole encodings table. */
export const encodings: readonly EncodingRow[] = [
  ...oneByteRows,
  ...twoByteRows,
  ...sseEncodings,
  ...mmxEncodings,
  ...x87Encodings,
];

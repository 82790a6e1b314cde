import type { CodePlace } from '@polyvisor/plugin-api';

/** A piece of code: bytes, or the place that a displacement from the end of its instruction leads to. */
type Piece = readonly number[] | { readonly to: bigint; readonly restBytes: number };

/** A 32-bit displacement; `restBytes` of the instruction follow it (SDM vol. 2A, 2.2.1.6). */
export const to = (address: bigint, restBytes = 0): Piece => ({ to: address, restBytes });

/** 64-bit code for a place. */
export function assemble({ address }: CodePlace, pieces: readonly Piece[]): Uint8Array {
  const code: number[] = [];
  for (const piece of pieces) {
    if (!('to' in piece)) {
      code.push(...piece);
      continue;
    }
    const end = address + BigInt(code.length + 4 + piece.restBytes);
    const distance = BigInt.asUintN(32, piece.to - end);
    for (let i = 0n; i < 4n; i++) code.push(Number((distance >> (8n * i)) & 0xffn));
  }
  return Uint8Array.from(code);
}

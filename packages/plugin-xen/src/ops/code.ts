import type { CodePlace } from '@polyvisor/plugin-api';

/** A piece of code: bytes, the place that a branch leads to, or one in memory. */
type Piece =
  | readonly number[]
  | { readonly to: bigint; readonly restBytes: number; readonly kind: 'branch' | 'memory' };

/** The 32-bit displacement of a branch (SDM vol. 2A, 2.1.4). */
export const to = (address: bigint): Piece => ({ to: address, restBytes: 0, kind: 'branch' });

/**
 * What follows a ModR/M byte of mod 0 and rm 5: a displacement from RIP in 64-bit code, from 0 in 32-bit code (SDM vol. 2A,
 * 2.2.1.6 and table 2-2). `restBytes` of the instruction follow it.
 */
export const at = (address: bigint, restBytes = 0): Piece => ({ to: address, restBytes, kind: 'memory' });

/** Code for a place. */
export function assemble({ address, wordBytes }: CodePlace, pieces: readonly Piece[]): Uint8Array {
  const code: number[] = [];
  for (const piece of pieces) {
    if (!('to' in piece)) {
      code.push(...piece);
      continue;
    }
    const end = address + BigInt(code.length + 4 + piece.restBytes);
    const from = piece.kind === 'memory' && wordBytes === 4 ? 0n : end;
    const distance = BigInt.asUintN(32, piece.to - from);
    for (let i = 0n; i < 4n; i++) code.push(Number((distance >> (8n * i)) & 0xffn));
  }
  return Uint8Array.from(code);
}

import type { CodePlace } from '@polyvisor/plugin-api';

/** A piece of code: bytes, the place that a branch leads to, or one in memory; a label, or the 8-bit displacement to one. */
type Piece =
  | readonly number[]
  | { readonly to: bigint; readonly restBytes: number; readonly kind: 'branch' | 'memory' }
  | { readonly label: string }
  | { readonly toLabel: string };

/** The 32-bit displacement of a branch (SDM vol. 2A, 2.1.4). */
export const to = (address: bigint): Piece => ({ to: address, restBytes: 0, kind: 'branch' });

/**
 * What follows a ModR/M byte of mod 0 and rm 5: a displacement from RIP in 64-bit code, from 0 in 32-bit code (SDM vol. 2A,
 * 2.2.1.6 and table 2-2). `restBytes` of the instruction follow it.
 */
export const at = (address: bigint, restBytes = 0): Piece => ({ to: address, restBytes, kind: 'memory' });

export const label = (name: string): Piece => ({ label: name });
/** The 8-bit displacement of a branch within the code. */
export const toLabel = (name: string): Piece => ({ toLabel: name });

function sizeBytes(piece: Piece): number {
  if ('to' in piece) return 4;
  if ('label' in piece) return 0;
  return 'toLabel' in piece ? 1 : piece.length;
}

/** Offsets of the labels. */
function labelsOf(pieces: readonly Piece[]): Map<string, number> {
  const labels = new Map<string, number>();
  let at = 0;
  for (const piece of pieces) {
    if ('label' in piece) labels.set(piece.label, at);
    at += sizeBytes(piece);
  }
  return labels;
}

/** Code for a place. Throws RangeError where a label is not there or out of reach. */
export function assemble({ address, wordBytes }: CodePlace, pieces: readonly Piece[]): Uint8Array {
  const labels = labelsOf(pieces);
  const code: number[] = [];
  for (const piece of pieces) {
    if ('label' in piece) continue;
    if ('toLabel' in piece) {
      const distance = (labels.get(piece.toLabel) ?? Number.NaN) - (code.length + 1);
      if (!(distance >= -128 && distance <= 127)) throw new RangeError(`${piece.toLabel} is out of reach`);
      code.push(distance & 0xff);
      continue;
    }
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

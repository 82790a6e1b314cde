import type { DecodedInstruction } from '../../packages/core/src/isa/types.ts';
import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';

/** Largest relative error that the manual allows (SDM vol. 2, RCPPS and RSQRTPS). */
const LARGEST_ERROR = 1.5 * 2 ** -12;

/** Instructions whose results the manual only bounds. */
export function isApproximate({ shape }: DecodedInstruction): boolean {
  return /^R(CP|SQRT)[PS]S$/.test((shape.encoding as EncodingRow).mnemonic);
}

/**
 * `got` with each single-precision lane that lies as near to the true value as `want` may replaced by `want`'s:
 * two results within the bound differ by at most twice the bound.
 */
export function forgive(want: Uint8Array, got: Uint8Array): Uint8Array {
  const adjusted = got.slice();
  const [wanted, had] = [new DataView(want.buffer, want.byteOffset), new DataView(got.buffer, got.byteOffset)];
  for (let at = 0; at < want.length; at += 4) {
    const [a, b] = [wanted.getFloat32(at, true), had.getFloat32(at, true)];
    if (Number.isFinite(a) && Math.abs(a - b) <= 2 * LARGEST_ERROR * Math.abs(a)) adjusted.set(want.subarray(at, at + 4), at);
  }
  return adjusted;
}

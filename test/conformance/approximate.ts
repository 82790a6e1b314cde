import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';
import type { DecodedInstruction } from '../../packages/core/src/isa/types.ts';

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
    if (Number.isFinite(a) && Math.abs(a - b) <= 2 * LARGEST_ERROR * Math.abs(a))
      adjusted.set(want.subarray(at, at + 4), at);
  }
  return adjusted;
}

const TRANSCENDENTAL = /^F(SIN|COS|SINCOS|PTAN|PATAN|2XM1|YL2X|YL2XP1)$/;

/** x87 functions: results within an error that the manual bounds (SDM vol. 1, 8.3.10), not to the last bit. */
export function isTranscendental({ shape }: DecodedInstruction): boolean {
  return TRANSCENDENTAL.test((shape.encoding as EncodingRow).mnemonic);
}

/** An 80-bit value as a double, near enough to measure an error. */
export function f80ToNumber(bytes: Uint8Array, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const exponent = view.getUint16(at + 8, true);
  const significand = Number(view.getBigUint64(at, true));
  const magnitude = (exponent & 0x7fff) === 0x7fff ? Number.NaN : significand * 2 ** ((exponent & 0x7fff) - 16383 - 63);
  return exponent & 0x8000 ? -magnitude : magnitude;
}

/** Relative error let through beside what the reduction of the argument by a π of 66 bits costs. */
const FUNCTION_ERROR = 2 ** -50;

/** Values of the same exponent, too large or small for a double, whose significands are within the error. */
function isBeyondDoubles(want: Uint8Array, got: Uint8Array, at: number): boolean {
  const [a, b] = [want, got].map((bytes) => new DataView(bytes.buffer, bytes.byteOffset + at, 10));
  const exponent = a.getUint16(8, true) & 0x7fff;
  if (exponent === 0x7fff || Math.abs(exponent - 16383) < 900 || b.getUint16(8, true) !== a.getUint16(8, true))
    return false;
  const distance = Number(a.getBigUint64(0, true) - b.getBigUint64(0, true));
  return Math.abs(distance) <= FUNCTION_ERROR * 2 ** 64;
}

/** As {@link forgive} for the x87 registers of a transcendental function; `argument` is ST(0). */
export function forgiveFunction(want: Uint8Array, got: Uint8Array, argument: number): Uint8Array {
  const adjusted = got.slice();
  for (let at = 0; at < 80; at += 10) {
    const [a, b] = [f80ToNumber(want, at), f80ToNumber(got, at)];
    const allowed = Math.abs(a) * FUNCTION_ERROR + Math.abs(argument) * (1 + a * a) * 2 ** -63;
    if (Math.abs(a - b) <= allowed || isBeyondDoubles(want, got, at)) adjusted.set(want.subarray(at, at + 10), at);
  }
  return adjusted;
}

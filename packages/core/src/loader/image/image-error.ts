import { PolyvisorError } from '@polyvisor/plugin-api';

/** What `vm` exits with when an image cannot be used. */
export const IMAGE_EXIT_CODE = 3;

const FIX_DAMAGED = 'the file is damaged or cut short; fetch or build it again';

/** `PV2001`: a structure of the image points outside the file or contradicts itself. */
export function damagedImage(what: string): PolyvisorError {
  return new PolyvisorError('PV2001', what, FIX_DAMAGED, IMAGE_EXIT_CODE);
}

/** `PV2002`: well-formed, but of a kind that this loader does not read. */
export function unsupportedImage(what: string, fix: string): PolyvisorError {
  return new PolyvisorError('PV2002', what, fix, IMAGE_EXIT_CODE);
}

/** Text of an untrusted image, fit for a line on a terminal: no spaces, no control characters, at most 80 characters. */
export function printable(text: string): string {
  return text.replace(/[^\x21-\x7e]/g, '').slice(0, 80);
}

export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

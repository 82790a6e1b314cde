/** Longest form of CALL near indirect, bytes, without prefixes. */
export const LONGEST_CALL_BYTES = 7;

/**
 * Whether {@link LONGEST_CALL_BYTES} bytes look as if they ended in a near call: E8 rel32, or FF /2 of some length (SDM
 * vol. 2A, CALL). What follows such bytes may be a return address; nothing else should be taken for one.
 */
export function endsInCall(bytes: Uint8Array): boolean {
  if (bytes[LONGEST_CALL_BYTES - 5] === 0xe8) return true;
  return bytes.some((byte, i) => byte === 0xff && i < LONGEST_CALL_BYTES - 1 && ((bytes[i + 1] >> 3) & 7) === 2);
}

/** One 64-bit number as two of 32 bits, for hot paths: {@link split}, then {@link LOW} and {@link HIGH} of {@link halves}. */
const whole = new BigUint64Array(1);
export const halves = new Int32Array(whole.buffer);
export const LOW = 0;
export const HIGH = 1;

/** Valid until the next call. */
export function split(value: bigint): void {
  whole[0] = value;
}

/** For messages. */
export function join(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

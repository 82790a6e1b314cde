/** One's complement sum of 16-bit words, an odd byte padded with zero, folded into 16 bits (RFC 1071). */
export function internetSum(bytes: Uint8Array, start = 0): number {
  let sum = start;
  const even = bytes.length & ~1;
  for (let at = 0; at < even; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
  if (even < bytes.length) sum += bytes[even] << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** What goes into a checksum field, given the sum of all else. */
export function onesComplement(sum: number): number {
  return ~sum & 0xffff;
}

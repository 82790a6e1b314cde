/**
 * Finish a checksum that the guest left to its card (Virtio 1.2, 5.1.6.2): sum everything from `start` on, where the field
 * already holds the pseudo-header's sum, and store the complement at `at`. `false`: these are not inside the frame.
 */
export function completeChecksum(frame: Uint8Array, start: number, at: number): boolean {
  if (start >= frame.length || at + 2 > frame.length || at < start) return false;
  let sum = 0;
  let i = start;
  for (; i + 1 < frame.length; i += 2) sum += (frame[i] << 8) | frame[i + 1];
  if (i < frame.length) sum += frame[i] << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const checksum = ~sum & 0xffff;
  frame[at] = checksum >> 8;
  frame[at + 1] = checksum & 0xff;
  return true;
}

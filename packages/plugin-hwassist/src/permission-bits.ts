/** Maps of permissions in memory, a bit for each port or MSR: both vendors have them, in different orders. */
import type { GuestMemory } from '@polyvisor/plugin-api';

/** Bits from `firstBit` on of the map at `basePa`; what lies beyond memory reads as ones. */
export function bitsAt(memory: GuestMemory, basePa: number, firstBit: number, mask: number): number {
  const byte = basePa + (firstBit >>> 3);
  const low = byte < memory.sizeBytes ? memory.read8(byte) : 0xff;
  const high = byte + 1 < memory.sizeBytes ? memory.read8(byte + 1) : 0xff;
  return (((high << 8) | low) >>> (firstBit & 7)) & mask;
}

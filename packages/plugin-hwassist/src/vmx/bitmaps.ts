/** Which ports and MSRs a guest's accesses exit for by the bitmaps (SDM vol. 3C, 24.6.4 and 24.6.9). */
import type { GuestMemory } from '@polyvisor/plugin-api';
import { bitsAt } from '../permission-bits.ts';

const PORTS_PER_BITMAP = 0x8000;
const LAST_PORT = 0xffff;

/** Any of the ports has its bit set, or the access goes beyond the last. */
export function exitsForPort(
  memory: GuestMemory,
  bitmaps: readonly [a: number, b: number],
  port: number,
  sizeBytes: number,
): boolean {
  if (port + sizeBytes - 1 > LAST_PORT) return true;
  for (let each = port; each < port + sizeBytes; each++) {
    const base = each < PORTS_PER_BITMAP ? bitmaps[0] : bitmaps[1];
    if (bitsAt(memory, base, each % PORTS_PER_BITMAP, 1) !== 0) return true;
  }
  return false;
}

/** First MSR of the two ranges of 8,192, and where the page has their bits for reads; those for writes stand half a page later. */
const MSR_RANGES = [
  { firstMsr: 0x0000_0000, firstByte: 0 },
  { firstMsr: 0xc000_0000, firstByte: 0x400 },
] as const;
const MSRS_PER_RANGE = 0x2000;
const WRITES_BYTE = 0x800;

/** An MSR outside of the ranges always exits. */
export function exitsForMsr(memory: GuestMemory, bitmap: number, msr: number, access: 'read' | 'write'): boolean {
  for (const { firstMsr, firstByte } of MSR_RANGES) {
    const index = (msr >>> 0) - firstMsr;
    if (index < 0 || index >= MSRS_PER_RANGE) continue;
    return bitsAt(memory, bitmap + firstByte + (access === 'write' ? WRITES_BYTE : 0), index, 1) !== 0;
  }
  return true;
}

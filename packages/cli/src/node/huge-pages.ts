import { linuxLibC } from './libc.ts';

/** MADV_HUGEPAGE of madvise(2), Linux. */
const MADV_HUGEPAGE = 14;

/**
 * Advice to the host to give memory in huge pages, before it is first used: hosts that do so only where they are asked
 * (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled) then need fewer page faults and translations. Only speed depends
 * on it; undefined where there is no such advice to give.
 */
export async function hugePageAdvice(): Promise<((memory: Uint8Array) => void) | undefined> {
  const libc = await linuxLibC();
  return libc && ((memory) => void libc.madvise(memory, memory.length, MADV_HUGEPAGE));
}

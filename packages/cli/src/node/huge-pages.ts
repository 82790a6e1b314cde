/** MADV_HUGEPAGE of madvise(2), Linux. */
const MADV_HUGEPAGE = 14;

/**
 * Advice to the host to give memory in huge pages, before it is first used: hosts that do so only where they are asked
 * (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled) then need fewer page faults and translations. Only speed depends
 * on it; undefined where there is no such advice to give.
 */
export async function hugePageAdvice(): Promise<((memory: Uint8Array) => void) | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    const { default: koffi } = await import('koffi');
    const madvise = koffi.load(null).func('int madvise(void *address, size_t sizeBytes, int advice)');
    return (memory) => {
      madvise(memory, memory.length, MADV_HUGEPAGE);
    };
  } catch {
    // No build of the library for this machine.
    return undefined;
  }
}

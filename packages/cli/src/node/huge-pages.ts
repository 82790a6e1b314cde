import { HUGE_PAGE_BYTES, linuxLibC, MADV_POPULATE_WRITE } from './libc.ts';
import { MemoryAhead } from './memory-ahead.ts';

/** Advice of madvise(2), Linux. */
const MADV_HUGEPAGE = 14;
/** Between two looks at what memory has been used: at first, and at most while nothing new is; a look takes 0.1 ms for each GiB. */
const LOOK_MS = 10;
const LONGEST_LOOK_MS = 160;

/**
 * Advice to the host about a machine's memory before it is first used. Hosts that give huge pages only where they are asked
 * (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled) then need fewer page faults and translations; and pages for
 * what is soon written, and for what comes next ({@link MemoryAhead}), are made by another thread meanwhile (Linux 5.14). Only speed depends on it; undefined where there is
 * no such advice to give.
 */
export async function memoryAdvice(): Promise<MemoryAdvice | undefined> {
  const libc = await linuxLibC();
  if (!libc) return undefined;
  let timer: NodeJS.Timeout | undefined;
  return {
    give(memory, soonWritten) {
      libc.madvise(memory, MADV_HUGEPAGE);
      const pages = wholePages(soonWritten);
      if (pages.length >= HUGE_PAGE_BYTES) libc.madviseMeanwhile(pages, MADV_POPULATE_WRITE);
      clearTimeout(timer);
      if (process.arch !== 'x64') return;
      const ahead = new MemoryAhead(libc, memory);
      const lookAfter = (delayMs: number) => {
        timer = setTimeout(() => {
          lookAfter(ahead.look() ? LOOK_MS : Math.min(LONGEST_LOOK_MS, delayMs * 2));
        }, delayMs).unref();
      };
      lookAfter(LOOK_MS);
    },
    end: () => clearTimeout(timer),
  };
}

export interface MemoryAdvice {
  /** About memory that nothing is in yet, a part of which is soon written. */
  give(memory: Uint8Array, soonWritten: Uint8Array): void;
  /** The memory is not used any more. */
  end(): void;
}

/** What of some bytes of page-aligned memory begins at a page. */
function wholePages(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(-bytes.byteOffset & 4095);
}

/** Memory of any content for what is read soon, in huge pages; of the usual kind where there is none, or too little is asked for. */
export async function bufferInHugePages(sizeBytes: number): Promise<Uint8Array> {
  const libc = sizeBytes >= HUGE_PAGE_BYTES ? await linuxLibC() : undefined;
  const buffer = libc?.mapZeros(sizeBytes);
  if (!libc || !buffer) return Buffer.allocUnsafeSlow(sizeBytes);
  libc.madvise(buffer, MADV_HUGEPAGE);
  return buffer;
}

import { isMainThread } from 'node:worker_threads';

/** Functions of the C library that speed depends on, and nothing else. */
export interface LibC {
  /** madvise(2). Answers 0, or -1 where the host does not take the advice. */
  madvise(memory: Uint8Array, advice: number): number;
  /** The same, in a thread of its own; `done` is called when it is over, whatever has become of it. */
  madviseMeanwhile(memory: Uint8Array, advice: number, done?: () => void): void;
  /** mincore(2): which pages of memory are there, a byte for each, of which there must be enough. False where the host does not tell. */
  residence(memory: Uint8Array, pages: Uint8Array): boolean;
  /** mmap(2) of a whole file, its bytes in memory of our own; undefined if it cannot be. */
  mapPrivately(fileDescriptor: number, sizeBytes: number): ArrayBuffer | undefined;
  /** mmap(2) of memory that holds zeros and begins at a multiple of {@link HUGE_PAGE_BYTES}; undefined if there is none. */
  mapZeros(sizeBytes: number): Uint8Array | undefined;
  /** mmap(2) of addresses that nothing is to be put at, and which have no memory; false if something is there already. */
  reserve(address: bigint, sizeBytes: bigint): boolean;
}

export const HUGE_PAGE_BYTES = 2 ** 21;
/** Advice of madvise(2), Linux 5.14: have memory there to be written. */
export const MADV_POPULATE_WRITE = 23;

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_FIXED_NOREPLACE = 0x100000;
const PROT_NONE = 0;
const MAP_FAILED = (1n << 64n) - 1n;

/**
 * Linux's, by a library that calls native code; undefined elsewhere, or where that has no build for this machine, and in any
 * thread but the first: one that is ended while it loads native code takes the process with it (napi_throw is fatal then).
 */
export async function linuxLibC(): Promise<LibC | undefined> {
  if (process.platform !== 'linux' || !isMainThread) return undefined;
  loading ??= load();
  return loading;
}
let loading: Promise<LibC | undefined> | undefined;

async function load(): Promise<LibC | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const library = koffi.load(null);
    const mmap = library.func(
      'void *mmap(uint64_t at, size_t sizeBytes, int access, int flags, int file, int64_t offset)',
    );
    const munmap = library.func('int munmap(void *at, size_t sizeBytes)');
    const mincore = library.func('int mincore(void *address, size_t sizeBytes, void *pages)');
    const madvise = library.func('int madvise(void *address, size_t sizeBytes, int advice)');
    const unused = new FinalizationRegistry<{ at: unknown; sizeBytes: number }>(({ at, sizeBytes }) => {
      munmap(at, sizeBytes);
    });
    const map = (sizeBytes: number, flags: number, file: number) => {
      const at: unknown = mmap(0, sizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, file, 0);
      const address = at === null ? MAP_FAILED : koffi.address(at);
      if (address === MAP_FAILED) return undefined;
      const bytes = koffi.view(at, sizeBytes);
      unused.register(bytes, { at, sizeBytes });
      return { address, bytes };
    };
    return {
      madvise: (memory, advice) => madvise(memory, memory.length, advice),
      madviseMeanwhile: (memory, advice, done = () => {}) => madvise.async(memory, memory.length, advice, done),
      residence: (memory, pages) => mincore(memory, memory.length, pages) === 0,
      mapPrivately: (fileDescriptor, sizeBytes) => map(sizeBytes, 0, fileDescriptor)?.bytes,
      mapZeros(sizeBytes) {
        const mapped = map(sizeBytes + HUGE_PAGE_BYTES, MAP_ANONYMOUS, -1);
        const skipped = mapped && Number(-mapped.address & BigInt(HUGE_PAGE_BYTES - 1));
        return mapped && new Uint8Array(mapped.bytes, skipped, sizeBytes);
      },
      reserve(address, sizeBytes) {
        const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
        const at: unknown = mmap(address, sizeBytes, PROT_NONE, flags, -1, 0);
        const got = at === null ? MAP_FAILED : koffi.address(at);
        // Kernels before 4.17 take the address as a hint.
        if (got !== address && got !== MAP_FAILED) munmap(at, sizeBytes);
        return got === address;
      },
    };
  } catch {
    return undefined;
  }
}

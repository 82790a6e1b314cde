/** Functions of the C library, by their names in it; only those that speed depends on. */
export interface LibC {
  /** madvise(2). Answers 0, or -1 where the host does not take the advice. */
  madvise(memory: Uint8Array, sizeBytes: number, advice: number): number;
  /** mmap(2) of a whole file, its bytes in memory of our own; undefined if it cannot be. */
  mapPrivately(fileDescriptor: number, sizeBytes: number): ArrayBuffer | undefined;
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_PRIVATE = 2;
const MAP_FAILED = (1n << 64n) - 1n;

/** Linux's, by a library that calls native code; undefined elsewhere, or where that has no build for this machine. */
export async function linuxLibC(): Promise<LibC | undefined> {
  if (process.platform !== 'linux') return undefined;
  loading ??= load();
  return loading;
}
let loading: Promise<LibC | undefined> | undefined;

async function load(): Promise<LibC | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const library = koffi.load(null);
    const mmap = library.func(
      'void *mmap(void *at, size_t sizeBytes, int access, int flags, int file, int64_t offset)',
    );
    const munmap = library.func('int munmap(void *at, size_t sizeBytes)');
    const madvise = library.func('int madvise(void *address, size_t sizeBytes, int advice)');
    const unused = new FinalizationRegistry<{ at: unknown; sizeBytes: number }>(({ at, sizeBytes }) => {
      munmap(at, sizeBytes);
    });
    return {
      madvise: (memory, sizeBytes, advice) => madvise(memory, sizeBytes, advice),
      mapPrivately(fileDescriptor, sizeBytes) {
        const at: unknown = mmap(null, sizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileDescriptor, 0);
        if (at === null || koffi.address(at) === MAP_FAILED) return undefined;
        const mapped = koffi.view(at, sizeBytes);
        unused.register(mapped, { at, sizeBytes });
        return mapped;
      },
    };
  } catch {
    return undefined;
  }
}

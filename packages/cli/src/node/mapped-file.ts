import { closeSync, fstatSync, openSync } from 'node:fs';
import { linuxLibC } from './libc.ts';

/**
 * The bytes of a file as it is now, read from the host's file cache where and when they are looked at: no memory is filled
 * with what nobody needs. Writes to them stay here. The file must not be made shorter meanwhile (mmap(2): SIGBUS), so this is
 * for files that are only ever replaced as a whole or made longer. Undefined where files cannot be mapped.
 * Throws what opening the file throws.
 */
export async function mapFile(file: string): Promise<Uint8Array | undefined> {
  const descriptor = openSync(file, 'r');
  try {
    const { size } = fstatSync(descriptor);
    const libc = size > 0 ? await linuxLibC() : undefined;
    const mapped = libc?.mapPrivately(descriptor, size);
    return mapped && new Uint8Array(mapped);
  } finally {
    closeSync(descriptor);
  }
}

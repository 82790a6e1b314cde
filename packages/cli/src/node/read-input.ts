import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { bufferInHugePages } from './huge-pages.ts';

/** All bytes of a file, be it a large one or no regular one. Throws what Node throws. */
export async function readInputFile(file: string): Promise<Uint8Array> {
  const descriptor = openSync(file, 'r');
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile() || stat.size === 0) return readFileSync(descriptor);
    const bytes = await bufferInHugePages(stat.size);
    let done = 0;
    for (let read = -1; done < bytes.length && read !== 0; done += read) {
      read = readSync(descriptor, bytes, done, bytes.length - done, done);
    }
    return bytes.subarray(0, done);
  } finally {
    closeSync(descriptor);
  }
}

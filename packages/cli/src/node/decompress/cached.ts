import { createHash } from 'node:crypto';
import path from 'node:path';
import type { Decompressor } from '@polyvisor/core';
import { cacheDirectory, readCached, writeAtomically } from '../cache.ts';

/** Below this, unpacking again is as quick as reading. */
const WORTH_CACHING_BYTES = 1024 * 1024;

/** Keeps what `inner` unpacks in the user's cache directory, under the SHA-256 of the packed bytes. */
export function withCache(inner: Decompressor, directory = path.join(cacheDirectory(), 'unpacked')): Decompressor {
  return {
    async decompress(kind, bytes, options) {
      if (bytes.length < WORTH_CACHING_BYTES) return inner.decompress(kind, bytes, options);
      const digest = createHash('sha256').update(bytes).digest('hex');
      const file = path.join(directory, `${kind}-${digest}`);
      const cached = await readCached(file);
      if (cached) return cached;
      const unpacked = await inner.decompress(kind, bytes, options);
      // A cache that cannot be written (read-only home, full disk) only costs time.
      await writeAtomically(file, unpacked).catch(() => {});
      return unpacked;
    },
  };
}

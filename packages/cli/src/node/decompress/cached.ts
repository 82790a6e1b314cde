import { createHash } from 'node:crypto';
import path from 'node:path';
import type { CompressionKind, Decompressor } from '@polyvisor/core';
import { cacheDirectory, readCached, writeAtomically } from '../cache.ts';

/** Below this, unpacking again is as quick as reading. */
const WORTH_CACHING_BYTES = 1024 * 1024;

const defaultDirectory = () => path.join(cacheDirectory(), 'unpacked');

const fileFor = (directory: string, kind: CompressionKind, bytes: Uint8Array) =>
  path.join(directory, `${kind}-${createHash('sha256').update(bytes).digest('hex')}`);

/** Takes from the cache what is there, and leaves nothing in it: for what comes from a guest. */
export function fromCache(inner: Decompressor, directory = defaultDirectory()): Decompressor {
  return {
    decompress: async (kind, bytes, options) =>
      (await readCached(fileFor(directory, kind, bytes))) ?? (await inner.decompress(kind, bytes, options)),
  };
}

/** Keeps what `inner` unpacks in the user's cache directory, under the SHA-256 of the packed bytes. */
export function withCache(inner: Decompressor, directory = defaultDirectory()): Decompressor {
  return {
    async decompress(kind, bytes, options) {
      if (bytes.length < WORTH_CACHING_BYTES) return inner.decompress(kind, bytes, options);
      const file = fileFor(directory, kind, bytes);
      const cached = await readCached(file);
      if (cached) return cached;
      const unpacked = await inner.decompress(kind, bytes, options);
      // A cache that cannot be written (read-only home, full disk) only costs time.
      await writeAtomically(file, unpacked).catch(() => {});
      return unpacked;
    },
  };
}

import { TooLarge } from './too-large.ts';

/** In each of which there may be thousands of blocks of 128 KiB (RFC 8878, 3.1.1.2.4). */
const INPUT_CHUNK_BYTES = 64 * 1024;

/** Unpacks Zstandard frames. Throws {@link TooLarge} before it holds more than a block beyond `limitBytes`. */
export async function* unpackZstd(bytes: Uint8Array, limitBytes: number): AsyncGenerator<Uint8Array> {
  const { Decompress } = await import('fzstd');
  let chunks: Uint8Array[] = [];
  let doneBytes = 0;
  const stream = new Decompress((chunk) => {
    doneBytes += chunk.length;
    if (doneBytes > limitBytes) throw new TooLarge();
    chunks.push(chunk);
  });
  for (let at = 0; at < bytes.length; at += INPUT_CHUNK_BYTES) {
    stream.push(bytes.subarray(at, at + INPUT_CHUNK_BYTES), at + INPUT_CHUNK_BYTES >= bytes.length);
    yield* chunks;
    chunks = [];
  }
}

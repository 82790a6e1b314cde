import { Readable } from 'node:stream';
import { unpackWithLiblzmaWasm } from './liblzma-wasm.ts';

const INPUT_CHUNK_BYTES = 256 * 1024;

/**
 * Unpacks .xz with liblzma, because kernels use its x86 (BCJ) filter, which smaller decoders lack.
 * The package's prebuilt binary takes a second for 60 MB; where there is none for this platform,
 * its WebAssembly build does the same more slowly.
 */
export async function* unpackXz(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  // The library takes the end of its input for the end of the stream.
  if (!endsWithFooter(bytes)) throw new Error('the stream footer is missing');
  const native = await import('node-liblzma').catch(() => undefined);
  if (native) yield* Readable.from(chunksOf(bytes)).pipe(native.createUnxz());
  else yield* unpackWithLiblzmaWasm(bytes);
}

/** Footer magic "YZ", then perhaps padding with zeros (The .xz File Format 1.2.1, 2.1.2.4 and 2.2). */
function endsWithFooter(bytes: Uint8Array): boolean {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end >= 2 && bytes[end - 2] === 0x59 && bytes[end - 1] === 0x5a;
}

function* chunksOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += INPUT_CHUNK_BYTES) yield bytes.subarray(at, at + INPUT_CHUNK_BYTES);
}

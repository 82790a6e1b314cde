import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { CompressionKind, DecompressOptions, Decompressor } from '@polyvisor/core';
import { PolyvisorError } from '@polyvisor/plugin-api';
import { ExitCode } from '../../exit-codes.ts';
import { unpackWithLiblzmaWasm } from './liblzma-wasm.ts';
import { unpackLz4 } from './lz4.ts';
import { unpackXz } from './xz.ts';

/** More than any kernel needs; a small hostile file must not fill the host's memory. */
const LIMIT_BYTES = 1024 * 1024 * 1024;

type Unpack = (bytes: Uint8Array) => AsyncIterable<Uint8Array>;

/** A library per format, loaded when first needed. */
const UNPACKERS: Readonly<Record<CompressionKind, Unpack>> = {
  gzip: (bytes) => Readable.from([bytes]).pipe(createGunzip()),
  xz: unpackXz,
  lzma: unpackWithLiblzmaWasm,
  async *bzip2(bytes) {
    const { default: bzip } = await import('seek-bzip');
    yield bzip.decode(bytes);
  },
  async *lz4(bytes) {
    yield* unpackLz4(bytes, LIMIT_BYTES);
  },
  async *zstd(bytes) {
    const { decompress } = await import('fzstd');
    yield decompress(bytes);
  },
};

/** The {@link Decompressor} of Node: zlib and npm libraries. Refuses to unpack more than 1 GiB. */
export const nodeDecompressor: Decompressor = {
  async decompress(kind, bytes, options = {}) {
    try {
      return await collect(UNPACKERS[kind](bytes), options);
    } catch (error) {
      if (error instanceof PolyvisorError) throw error;
      throw damaged(kind, error);
    }
  },
};

async function collect(source: AsyncIterable<Uint8Array>, options: DecompressOptions): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let doneBytes = 0;
  for await (const chunk of source) {
    chunks.push(chunk);
    doneBytes += chunk.length;
    if (doneBytes > LIMIT_BYTES) {
      throw new PolyvisorError('PV2005', 'the image unpacks to more than 1 GiB', 'give a kernel image', ExitCode.IMAGE);
    }
    options.onProgress?.(doneBytes);
  }
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, doneBytes);
}

function damaged(kind: CompressionKind, cause: unknown): PolyvisorError {
  const reason = String(cause instanceof Error ? cause.message : cause).split('\n')[0];
  return new PolyvisorError(
    'PV2004',
    `the ${kind} data cannot be unpacked (${reason})`,
    'the file is damaged or cut short; fetch or build it again',
    ExitCode.IMAGE,
  );
}

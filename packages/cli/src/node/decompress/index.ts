import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { CompressionKind, DecompressOptions, Decompressor } from '@polyvisor/core';
import { PolyvisorError } from '@polyvisor/plugin-api';
import { ExitCode } from '../../exit-codes.ts';
import { unpackBzip2 } from './bzip2.ts';
import { unpackWithLiblzmaWasm } from './liblzma-wasm.ts';
import { unpackLz4 } from './lz4.ts';
import { TooLarge } from './too-large.ts';
import { unpackXz } from './xz.ts';
import { unpackZstd } from './zstd.ts';

const MIB = 1024 * 1024;
/** More than any kernel needs; a small hostile file must not fill the host's memory. */
const LIMIT_BYTES = 1024 * MIB;

/** Must not hold much more than `limitBytes` at any time. */
type Unpack = (bytes: Uint8Array, limitBytes: number) => AsyncIterable<Uint8Array>;

/** A library per format, loaded when first needed. */
const UNPACKERS: Readonly<Record<CompressionKind, Unpack>> = {
  gzip: (bytes) => Readable.from([bytes]).pipe(createGunzip()),
  xz: unpackXz,
  lzma: unpackWithLiblzmaWasm,
  async *bzip2(bytes, limitBytes) {
    yield await unpackBzip2(bytes, limitBytes);
  },
  async *lz4(bytes, limitBytes) {
    yield* unpackLz4(bytes, limitBytes);
  },
  zstd: unpackZstd,
};

/** The {@link Decompressor} of Node: zlib and npm libraries. Refuses to unpack more than 1 GiB. */
export const nodeDecompressor: Decompressor = decompressorUpTo(LIMIT_BYTES);

/** The same with another limit. */
export function decompressorUpTo(limitBytes: number): Decompressor {
  return {
    async decompress(kind, bytes, options = {}) {
      try {
        return await collect(UNPACKERS[kind](bytes, limitBytes), limitBytes, options);
      } catch (error) {
        if (error instanceof PolyvisorError) throw error;
        if (error instanceof TooLarge) throw tooLarge(limitBytes);
        throw damaged(kind, error);
      }
    },
  };
}

async function collect(
  source: AsyncIterable<Uint8Array>,
  limitBytes: number,
  options: DecompressOptions,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let doneBytes = 0;
  for await (const chunk of source) {
    chunks.push(chunk);
    doneBytes += chunk.length;
    if (doneBytes > limitBytes) throw new TooLarge();
    options.onProgress?.(doneBytes);
  }
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, doneBytes);
}

function tooLarge(limitBytes: number): PolyvisorError {
  const what = `the image unpacks to more than ${limitBytes / MIB} MiB`;
  return new PolyvisorError('PV2005', what, 'give a kernel image', ExitCode.IMAGE);
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

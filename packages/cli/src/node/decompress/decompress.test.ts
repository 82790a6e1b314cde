import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { CompressionKind, Decompressor } from '@polyvisor/core';
import { afterAll, describe, expect, it } from 'vitest';
import { fromCache, withCache } from './cached.ts';
import { decompressorUpTo, nodeDecompressor } from './index.ts';
import { unpackWithLiblzmaWasm } from './liblzma-wasm.ts';

const TEXT = Array(6).fill('polyvisor').join(' ');

/** {@link TEXT}, packed by the command named. */
const PACKED: readonly [kind: CompressionKind, command: string, base64: string][] = [
  ['gzip', 'gzip -n', 'H4sIAAAAAAAAAyvIz6ksyyzOL1IoIJUFAOZtrlo7AAAA'],
  [
    'xz',
    'xz --check=crc32 --x86 --lzma2=dict=1MiB',
    '/Td6WFoAAAFpIt42AgEEACEBEACLIW9J4AA6ABFdADgbyc9plEvX0M9yU3ziHgAAAAAAAOZtrloAASk75MPL1ZBCmQ0BAAAAAAFZWg==',
  ],
  ['lzma', 'xz --format=lzma', 'XQAAgAD//////////wA4G8nPaZRL19DPclN8+dXn///02YAA'],
  ['bzip2', 'bzip2', 'QlpoOTFBWSZTWRCDKZYAAA6RgEAAACTZICAAMQZMQIqG0JEwYNjg1EobHR0fi7kinChICEGUywA='],
  ['lz4', 'lz4 -l', 'AiFMGBQAAACvcG9seXZpc29yIAoAGVB2aXNvcg=='],
  ['lz4', 'lz4', 'BCJNGGRApxQAAACvcG9seXZpc29yIAoAGVB2aXNvcgAAAACGs/mK'],
  ['zstd', 'zstd --no-check', 'KLUv/QBYhQAAUHBvbHl2aXNvciABADYqSA=='],
];

describe.each(PACKED)('%s data made by `%s`', (kind, _command, base64) => {
  const packed = Buffer.from(base64, 'base64');
  const unpack = async (bytes: Uint8Array) => Buffer.from(await nodeDecompressor.decompress(kind, bytes)).toString();

  it('is unpacked', async () => {
    expect(await unpack(packed)).toBe(TEXT);
  });

  it('that is damaged is refused with a coded error', async () => {
    await expect(unpack(packed.subarray(0, packed.length >> 1))).rejects.toMatchObject({ code: 'PV2004', exitCode: 3 });
  });

  it('is unpacked up to a limit, and refused beyond it', async () => {
    const unpackUpTo = (limitBytes: number) => decompressorUpTo(limitBytes).decompress(kind, packed);
    expect(Buffer.from(await unpackUpTo(TEXT.length)).toString()).toBe(TEXT);
    await expect(unpackUpTo(TEXT.length - 1)).rejects.toMatchObject({ code: 'PV2005' });
  });
});

it('xz data is unpacked by the WebAssembly build too, where there is no native one', async () => {
  const packed = Buffer.from(PACKED.find(([kind]) => kind === 'xz')![2], 'base64');
  const chunks: Uint8Array[] = [];
  for await (const chunk of unpackWithLiblzmaWasm(packed)) chunks.push(chunk);
  expect(Buffer.concat(chunks).toString()).toBe(TEXT);
});

describe('the cache', () => {
  const directory = mkdtemp(path.join(tmpdir(), 'polyvisor-cache-'));
  afterAll(async () => rm(await directory, { recursive: true }));

  it('unpacks equal bytes once and leaves nothing half-written', async () => {
    let calls = 0;
    const inner: Decompressor = {
      async decompress() {
        calls++;
        return Buffer.from(TEXT);
      },
    };
    const cached = withCache(inner, await directory);
    const packed = new Uint8Array(2 ** 21);
    expect(Buffer.from(await cached.decompress('xz', packed)).toString()).toBe(TEXT);
    expect(Buffer.from(await cached.decompress('xz', packed)).toString()).toBe(TEXT);
    expect(calls).toBe(1);
    const digest = createHash('sha256').update(packed).digest('hex');
    expect(await readdir(await directory)).toEqual([`xz-${digest}`]);
    // Another that takes from it and leaves nothing in it.
    const reading = fromCache(inner, await directory);
    for (const bytes of [packed, packed.subarray(1)]) await reading.decompress('xz', bytes);
    expect(calls).toBe(2);
    expect(await readdir(await directory)).toEqual([`xz-${digest}`]);
  });
});

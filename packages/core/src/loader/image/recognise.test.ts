import { PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Decompressor } from '../../ports/decompressor.ts';
import { recogniseImage } from './recognise.ts';
import { buildBzImage } from './testing/bzimage-fixture.ts';
import { buildElf } from './testing/elf-fixture.ts';

const GZIP_HEAD = [0x1f, 0x8b, 0x08];

/** "Unpacks" by taking off the three bytes of a gzip magic. */
const fakeDecompressor: Decompressor = {
  decompress: async (_kind, bytes) => bytes.slice(GZIP_HEAD.length),
};

const recognise = (file: Uint8Array) => recogniseImage(file, 'image', fakeDecompressor);

describe('a bzImage', () => {
  const elf = buildElf();
  // As gzip does, the payload ends with the size of what it unpacks to.
  const content = new Uint8Array([...elf, 0, 0, 0, 0]);
  new DataView(content.buffer).setUint32(elf.length, content.length, true);
  const packed = new Uint8Array([...GZIP_HEAD, ...content]);

  it('is told with version, protocol and compression, and its ELF is unpacked', async () => {
    const image = await recognise(buildBzImage({ payload: packed }));
    expect(image.description).toBe('bzImage (Linux 1.2.3, boot protocol 2.15, gzip payload)');
    expect(image.format).toBe('bzimage');
    expect(image.elf?.entry).toBe(0x100000n);
  });

  it('that is no Linux is told with the name that it gives itself', async () => {
    const named = async (version: string) => (await recognise(buildBzImage({ payload: elf, version }))).description;
    expect(await named('Memory tester  v6.10\x1b')).toMatch(/^bzImage \(Memory tester v6\.10, boot protocol/);
    expect(await named('')).toMatch(/^bzImage \(kernel of unnamed version, /);
  });

  it('with an uncompressed payload needs no unpacking', async () => {
    const image = await recognise(buildBzImage({ payload: elf }));
    expect(image.description).toContain('uncompressed payload');
    expect(image.elf?.class).toBe(64);
  });

  it('whose payload is no ELF says what it is', async () => {
    const image = await recognise(buildBzImage({ payload: new TextEncoder().encode('plain text') }));
    expect(image.elf).toBeUndefined();
    expect(image.description).toContain('holding a text file');
  });

  it('whose payload unpacks to another size than it says is refused', async () => {
    const wrong = packed.slice();
    wrong[wrong.length - 1] = 1;
    await expect(recognise(buildBzImage({ payload: wrong }))).rejects.toMatchObject({ code: 'PV2001' });
  });

  it('of a protocol before 2.08 is told, without its payload', async () => {
    const image = await recognise(buildBzImage({ payload: elf, protocol: 0x207 }));
    expect(image).toMatchObject({ format: 'bzimage', description: expect.stringContaining('payload not found') });
    expect(image.elf).toBeUndefined();
  });

  it('with hostile header fields is refused with a coded error or read', async () => {
    const file = buildBzImage({ payload: packed });
    const headerByte = fc.tuple(fc.integer({ min: 0x1f1, max: 0x26f }), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(headerByte, { maxLength: 8 }), fc.nat(file.length), async (mutations, length) => {
        const mutated = file.slice(0, Math.max(length, 0x270));
        for (const [at, value] of mutations) mutated[at] = value;
        await recognise(mutated).catch((error) => expect(error).toBeInstanceOf(PolyvisorError));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('other files', () => {
  it('a compressed ELF is unpacked first, and `file` is what was inside', async () => {
    const elf = buildElf({ width: 32 });
    const image = await recognise(new Uint8Array([...GZIP_HEAD, ...elf]));
    expect(image).toMatchObject({ format: 'elf32', description: 'gzip-compressed ELF32 for i386' });
    expect(image.file).toEqual(elf);
  });

  it('a flat file with a multiboot header is told by it', async () => {
    const file = new Uint8Array(64);
    const view = new DataView(file.buffer);
    view.setUint32(16, 0x1badb002, true);
    view.setUint32(20, 3, true);
    view.setUint32(24, -(0x1badb002 + 3), true);
    expect(await recognise(file)).toMatchObject({
      format: 'multiboot',
      description: 'multiboot image (header at 0x10)',
    });
  });

  it.each([
    ['a text file', new TextEncoder().encode('hello, world\n')],
    ['a script', new TextEncoder().encode('#!/bin/sh\n')],
    ['an empty file', new Uint8Array(0)],
    ['a file that begins with zeros', new Uint8Array(100)],
    ['data that begins with 01 02 ff', new Uint8Array([1, 2, 255])],
  ])('%s is described', async (description, file) => {
    expect(await recognise(file)).toMatchObject({ format: 'unknown', description });
  });

  it('an error names the image', async () => {
    await expect(recognise(buildElf().slice(0, 100))).rejects.toMatchObject({
      message: expect.stringMatching(/^image: /),
    });
  });
});

import { type EntrySearch, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { recogniseImage } from '../image/recognise.ts';
import { buildBzImage } from '../image/testing/bzimage-fixture.ts';
import { buildElf } from '../image/testing/elf-fixture.ts';
import { findNativeDoors, type NativeDoorName } from './doors.ts';

const decompressor = { decompress: () => Promise.reject(new Error('nothing here is compressed')) };
const recognise = (file: Uint8Array) => recogniseImage(file, 'image', decompressor);

async function doorsOf(file: Uint8Array, startable: readonly NativeDoorName[] = []): Promise<EntrySearch> {
  return findNativeDoors(await recognise(file), new Set(startable));
}
const closedDoor = (search: EntrySearch, name: NativeDoorName) => search.closed?.find((door) => door.name === name);
const reasonFor = (search: EntrySearch, name: NativeDoorName) =>
  search.missing.find((door) => door.name === name)?.reason;

describe('a bzImage', () => {
  const payload = buildElf();

  it('of a 64-bit kernel has all three Linux doors and its EFI stub', async () => {
    const search = await doorsOf(buildBzImage({ payload, xloadflags: 1, peMachine: 0x8664 }));
    expect(search.entries).toEqual([]);
    expect(search.closed?.map(({ name, address }) => [name, address])).toEqual([
      ['linux64', 0x1000200n],
      ['linux32', 0x100000n],
      ['linux16', 0x200n],
      ['efi', 0x1234n],
    ]);
    expect(closedDoor(search, 'linux64')?.foundIn).toBe('setup header pref_address + 0x200, xloadflags XLF_KERNEL_64');
    expect(closedDoor(search, 'efi')).toMatchObject({
      foundIn: expect.stringContaining('x86-64'),
      reason: expect.stringContaining('not claimed'),
    });
  });

  it('opens what the machine can go through, the best first', async () => {
    const { entries, closed } = await doorsOf(buildBzImage({ payload, xloadflags: 1 }), ['linux64', 'linux16']);
    expect(entries.map(({ name, plugin }) => [name, plugin])).toEqual([
      ['linux64', 'core'],
      ['linux16', 'core'],
    ]);
    expect(entries[0].priority).toBeGreaterThan(entries[1].priority);
    expect(closed?.map(({ name }) => name)).toEqual(['linux32']);
  });

  it.each<[string, number, number, NativeDoorName, string]>([
    ['32-bit', 0x20f, 0, 'linux64', 'XLF_KERNEL_64 is not set'],
    ['old', 0x20b, 1, 'linux64', 'protocols before 2.12 have no 64-bit entry'],
    ['EFI-less', 0x20f, 1, 'efi', 'no MZ header'],
    ['any', 0x20f, 1, 'multiboot1', 'no header in the first 8 KiB'],
    ['any', 0x20f, 1, 'multiboot2', 'no header in the first 32 KiB'],
    ['any', 0x20f, 1, 'elf', 'inside a bzImage'],
    ['any', 0x20f, 1, 'sniff', 'no 32-bit ELF image'],
  ])(
    'of a kernel that is %s (protocol %i, xloadflags %i) has no %s',
    async (_what, protocol, xloadflags, name, why) => {
      expect(reasonFor(await doorsOf(buildBzImage({ payload, protocol, xloadflags })), name)).toContain(why);
    },
  );

  it.each([
    ['no jump', 0x90, 0x6a],
    ['leads out', 0xeb, 0x80],
  ])('where setup code should begin has %s, and so no 16-bit door', async (why, opcode, distance) => {
    const file = buildBzImage({ payload });
    file.set([opcode, distance], 0x200);
    expect(reasonFor(await doorsOf(file), 'linux16')).toContain(why);
  });

  it('whose code32_start is 0 has no 32-bit door', async () => {
    expect(reasonFor(await doorsOf(buildBzImage({ payload, code32Start: 0 })), 'linux32')).toContain('code32_start');
  });
});

/** A flat file with a header at 0x20. */
function multibootFile(version: 1 | 2, words: readonly number[]): Uint8Array {
  const file = new Uint8Array(256);
  const view = new DataView(file.buffer);
  [version === 1 ? 0x1badb002 : 0xe85250d6, ...words].forEach((word, index) =>
    view.setUint32(0x20 + index * 4, word, true),
  );
  return file;
}
const ADDRESSES = 0x10000;
const TAGS_BYTES = 40;
const multiboot1 = (flags: number) =>
  multibootFile(1, [flags, -(0x1badb002 + flags), 0x100020, 0x100000, 0, 0, 0x100040]);
/** An empty tag of 12 bytes, padded to 16, before the entry address. */
const multiboot2 = (size = 12) =>
  multibootFile(2, [0, TAGS_BYTES, -(0xe85250d6 + TAGS_BYTES), 6, size, 0, 0, 3, 12, 0x100060]);

describe('a multiboot image', () => {
  it('has its door where the address fields say', async () => {
    expect(closedDoor(await doorsOf(multiboot1(ADDRESSES)), 'multiboot1')).toMatchObject({
      address: 0x100040n,
      foundIn: 'header at file offset 0x20, entry_addr',
    });
  });

  it('of version 2 where a tag says, whatever tags stand before it', async () => {
    expect(closedDoor(await doorsOf(multiboot2()), 'multiboot2')).toMatchObject({
      address: 0x100060n,
      foundIn: 'header at file offset 0x20, entry address tag',
    });
  });

  it('has none if neither the header nor the format gives an address', async () => {
    expect(reasonFor(await doorsOf(multiboot1(0)), 'multiboot1')).toContain('gives no entry address');
    expect(reasonFor(await doorsOf(multiboot2(0)), 'multiboot2')).toContain('gives no entry address');
  });

  it('that is an ELF file is entered at e_entry', async () => {
    const elf = buildElf({ width: 32 });
    elf.set(multiboot1(0).subarray(0x20, 0x2c), elf.length - (elf.length % 4) - 16);
    expect(closedDoor(await doorsOf(elf), 'multiboot1')).toMatchObject({
      address: 0x100000n,
      foundIn: expect.stringContaining('ELF header e_entry'),
    });
    expect(closedDoor(await doorsOf(elf), 'elf')?.address).toBe(0x100000n);
  });
});

it('any damage gives doors, reasons or a coded error, and always every door once', async () => {
  const files = [
    buildBzImage({ payload: buildElf(), xloadflags: 1, peMachine: 0x8664 }),
    multiboot1(ADDRESSES),
    multiboot2(),
    buildElf({ width: 32 }),
  ];
  const change = fc.tuple(fc.nat(0x2ff), fc.nat(255));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...files),
      fc.array(change, { maxLength: 6 }),
      fc.nat(),
      async (file, changes, cut) => {
        const mutated = file.slice(0, cut % 3 === 0 ? cut % file.length : file.length);
        for (const [at, value] of changes) if (at < mutated.length) mutated[at] = value;
        const image: GuestImage = { name: 'image', description: '', format: 'unknown', file: mutated };
        try {
          const { entries, closed = [], missing } = findNativeDoors(image, new Set<NativeDoorName>(['linux64', 'elf']));
          const names = [...entries, ...closed, ...missing].map(({ name }) => name);
          expect(names.sort()).toEqual([
            'bios',
            'efi',
            'elf',
            'linux16',
            'linux32',
            'linux64',
            'multiboot1',
            'multiboot2',
            'sniff',
          ]);
        } catch (error) {
          expect(error).toBeInstanceOf(PolyvisorError);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

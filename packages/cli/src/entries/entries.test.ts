import { fileURLToPath } from 'node:url';
import type { ElfImage, ElfSection, GuestImage } from '@polyvisor/plugin-api';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { findCapabilities, refuseInsideDoor } from './capabilities.ts';
import { entries } from './index.ts';

const demoFile = (name: string) => fileURLToPath(new URL(`../../../../guests/demo/prebuilt/${name}`, import.meta.url));

afterEach(() => vi.restoreAllMocks());

async function printed(json: boolean, name = 'demo.elf'): Promise<string> {
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  expect(await entries({ image: demoFile(name), plugins: [], json })).toBe(0);
  return write.mock.calls.map(([text]) => String(text)).join('');
}

describe('vm entries', () => {
  it('lists open doors first, with address and place', async () => {
    const [title, hash, , headings, first, ...others] = (await printed(false)).trimEnd().split('\n');
    expect(title).toBe('demo.elf: ELF64 for x86-64');
    expect(hash).toMatch(/^sha256 [0-9a-f]{64}$/);
    expect(headings).toMatch(/^DOOR +STATE +ADDRESS +ABI +BY +WHERE, OR WHY NOT$/);
    expect(first).toMatch(/^pv +open +0xffffffff80100000 +Xen PV 64-bit +xen +ELF note XEN_ELFNOTE_ENTRY \(PT_NOTE\)$/);
    expect(others.find((line) => line.startsWith('elf'))).toMatch(/ open +0x[0-9a-f]+ .*; taken only if asked for$/);
    expect(others.find((line) => line.startsWith('linux64'))).toMatch(/ missing +- .* no setup header/);
  });

  it('gives the same as JSON, every door with its reason or place', async () => {
    const { image, doors } = JSON.parse(await printed(true));
    expect(image).toMatchObject({ name: 'demo.elf', format: 'elf64' });
    for (const { state, address, foundIn, reason } of doors) {
      if (state === 'missing') expect(reason).toMatch(/\S/);
      else expect([address, foundIn]).toEqual([expect.stringMatching(/^0x[0-9a-f]+$/), expect.stringMatching(/\S/)]);
    }
    expect(new Set(doors.map(({ state }: { state: string }) => state))).toEqual(new Set(['open', 'missing']));
  });

  it('names every door of a file that has them all', async () => {
    const { doors } = JSON.parse(await printed(true, 'demo32.elf'));
    const shown = doors.map(({ name, state, plugin }: Record<string, string>) =>
      `${name} ${state} ${plugin ?? ''}`.trim(),
    );
    expect(shown.slice(0, 7)).toEqual([
      'pv open xen',
      'pvh open xen',
      'lguest open lguest-like',
      'multiboot1 open core',
      'elf open core',
      'sniff open core',
      'vmi inside vmi',
    ]);
  });
});

it('a door that the kernel opens from inside is not called closed, and what it takes is said', async () => {
  const line = (await printed(false, 'demo32.elf')).split('\n').find((each) => each.startsWith('vmi'));
  expect(line).toMatch(
    /^vmi +inside +0x[0-9a-f]+ .* vmi +symbol activate_vmi; no --entry: .* native door with --plugin vmi$/,
  );
});

/** An image with one symbol, in the form of the ELF32 symbol table (gABI 4.1, chapter 4). */
function imageWithSymbol(name: string, nameOffset = 1): GuestImage {
  const strings = new TextEncoder().encode(`\0${name}\0`);
  const bytes = new Uint8Array(16 + strings.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, nameOffset, true);
  view.setUint32(4, 0xc1000000, true);
  view.setUint16(14, 1, true);
  bytes.set(strings, 16);
  const place = { flags: 0n, address: 0n };
  const sections: ElfSection[] = [
    { name: '.symtab', type: 2, offset: 0, sizeBytes: 16, ...place },
    { name: '.strtab', type: 3, offset: 16, sizeBytes: strings.length, ...place },
  ];
  const section = (wanted: string) => sections.find((candidate) => candidate.name === wanted);
  const elf: ElfImage = { bytes, class: 32, machine: 3, entry: 0n, programHeaders: [], sections, notes: [], section };
  return { name: 'image', description: 'an image', format: 'elf32', file: bytes, elf };
}

describe('an interface that is taken up after a native boot', () => {
  it.each([['vmi_init', 'vmi']])('shows in its symbol %s', (symbol, name) => {
    const { inside, missing } = findCapabilities(imageWithSymbol(symbol));
    expect(inside).toMatchObject([
      {
        name,
        address: 0xc1000000n,
        foundIn: `symbol ${symbol}`,
        plugin: name,
        how: expect.stringContaining('through a native door with --plugin vmi'),
      },
    ]);
    expect(missing).toEqual([]);
  });

  it('is named to somebody who asks for it as a door', () => {
    const image = imageWithSymbol('vmi_init');
    const says = /no vmi door into image .*opens it itself once it runs\)/;
    expect(() => refuseInsideDoor(image, [], 'vmi')).toThrow(says);
    expect(() => refuseInsideDoor(image, [], 'vmi')).toThrowError(
      expect.objectContaining({ code: 'PV2012', exitCode: 3 }),
    );
    const door = { name: 'vmi', abi: 'of another plug-in', address: 0n, foundIn: 'test', plugin: 'own', priority: 1 };
    for (const [doors, wanted] of [
      [[door], 'vmi'],
      [[], 'pv'],
      [[], undefined],
    ] as const)
      expect(() => refuseInsideDoor(image, doors, wanted)).not.toThrow();
  });

  it.each<[string, GuestImage, string]>([
    ['other symbols', imageWithSymbol('main'), 'no symbol '],
    ['damaged symbols', imageWithSymbol('main', 100), 'cannot be read'],
    ['no ELF', { name: 'image', description: '', format: 'multiboot', file: new Uint8Array() }, 'no ELF image'],
  ])('cannot be told from %s', (_what, image, reason) => {
    const { inside, missing } = findCapabilities(image);
    expect(inside).toEqual([]);
    expect(missing).not.toEqual([]);
    for (const door of missing) expect(door.reason).toContain(reason);
  });
});

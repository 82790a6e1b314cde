import { PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseElf } from './elf.ts';
import { FILE_HEADER, SECTION_HEADER } from './elf-constants.ts';
import { readSymbols } from './elf-symbols.ts';
import { buildElf } from './testing/elf-fixture.ts';

const note = { owner: 'Xen', type: 6, desc: new TextEncoder().encode('linux\0') };

describe.each([32, 64] as const)('an ELF%i file', (width) => {
  const bytes = buildElf({ width, notes: [note], symbols: [{ name: 'start', address: 0x100010 }] });

  it('is read: header, segments, sections, notes, symbols', () => {
    const elf = parseElf(bytes);
    expect(elf).toMatchObject({ class: width, machine: width === 64 ? 62 : 3, entry: 0x100000n });
    expect(elf.programHeaders[0]).toMatchObject({ type: 1, vaddr: 0x100000n, fileSizeBytes: 64, memorySizeBytes: 64 });
    expect(elf.section('.text')).toMatchObject({ sizeBytes: 64 });
    expect(elf.notes).toEqual([{ ...note, where: 'PT_NOTE' }]);
    expect(readSymbols(elf).lookup(0x100012n)).toBe('start+0x2');
    expect(readSymbols(elf).lookup(0x10000fn)).toBeUndefined();
    expect(readSymbols(elf).address('start')).toBe(0x100010n);
  });

  it('gives the notes of SHT_NOTE sections when there is no PT_NOTE', () => {
    const elf = parseElf(buildElf({ width, notes: [note, { ...note, type: 7 }], noteSegment: false }));
    expect(elf.notes.map(({ type, where }) => ({ type, where }))).toEqual([
      { type: 6, where: '.note.Xen' },
      { type: 7, where: '.note.Xen' },
    ]);
  });

  it('cut anywhere is refused with a coded error or read, never anything else', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: bytes.length - 1 }), (length) => {
        refusesOrReads(bytes.slice(0, length));
      }),
      { numRuns: 400 },
    );
  });

  it('with hostile values in its structures is refused with a coded error or read', () => {
    const edge = fc.constantFrom(0, 1, 0x7f, 0x80, 0xfe, 0xff);
    const mutation = fc.tuple(fc.nat(bytes.length - 1), fc.oneof(edge, fc.integer({ min: 0, max: 255 })));
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 12 }), (mutations) => {
        const mutated = bytes.slice();
        for (const [at, value] of mutations) mutated[at] = value;
        refusesOrReads(mutated);
      }),
      { numRuns: 2000 },
    );
  });

  it('names what lies outside, and where', () => {
    const cut = bytes.slice(0, bytes.length - 10);
    expect(() => parseElf(cut)).toThrow(
      /ELF section header table, \d+ bytes at offset 0x[0-9a-f]+, lies beyond the end/,
    );
  });
});

it('counts of tables cannot make it allocate more than the file is long', () => {
  const bytes = buildElf();
  const view = new DataView(bytes.buffer);
  view.setUint16(FILE_HEADER[64].shnum, 0, true);
  const table = Number(view.getBigUint64(FILE_HEADER[64].shoff, true));
  view.setBigUint64(table + 32, 0xffffffffffffn, true);
  expect(() => parseElf(bytes)).toThrow(PolyvisorError);
});

it('shows no control characters of a name in what it refuses', () => {
  const bytes = buildElf();
  const view = new DataView(bytes.buffer);
  bytes[Buffer.from(bytes).lastIndexOf('.text')] = 0x0a;
  const section =
    Number(view.getBigUint64(FILE_HEADER[64].shoff, true)) + view.getUint16(FILE_HEADER[64].shentsize, true);
  view.setBigUint64(section + SECTION_HEADER[64].offset, 0x10000n, true);
  expect(() => parseElf(bytes)).toThrow(/ELF section 1 \(text\), .* lies beyond the end/);
});

it('keeps a last note whose descriptor claims more than is left, cut at the end', () => {
  const bytes = buildElf({ notes: [{ owner: 'Xen', type: 9, desc: new Uint8Array(4).fill(1) }] });
  const at = parseElf(bytes).programHeaders[1].offset;
  new DataView(bytes.buffer).setUint32(at + 4, 12, true);
  expect(parseElf(bytes).notes).toEqual([{ owner: 'Xen', type: 9, desc: new Uint8Array(4).fill(1), where: 'PT_NOTE' }]);
});

function refusesOrReads(bytes: Uint8Array): void {
  try {
    readSymbols(parseElf(bytes)).lookup(0x100000n);
  } catch (error) {
    expect(error).toBeInstanceOf(PolyvisorError);
    expect((error as PolyvisorError).oneLine).not.toContain('\n');
  }
}

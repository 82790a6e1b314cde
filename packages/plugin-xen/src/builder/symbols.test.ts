import type { ElfImage } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NoteType } from '../notes/elfNotes.ts';
import { boot, elfImage, KERNEL_BYTES, KERNEL_PADDR, PLAIN_NOTES, textNote, VIRT_BASE } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';
import { symbolsBehindKernel } from './symbols.ts';

const SYMBOLS = Uint8Array.from({ length: 48 }, (_, i) => i);
const NAMES = new TextEncoder().encode('\0start\0end');
const SHOFF = 0x200;
const STRTAB = 3;
/** Offsets in a file of one class: e_shoff, e_shentsize, size of a section header, sh_offset, sh_link. */
const FORM = {
  32: { shoff: 32, shentsize: 46, section: 40, link: 24 },
  64: { shoff: 40, shentsize: 58, section: 64, link: 40 },
};

/** A kernel of KERNEL_BYTES whose beginning is an ELF header with section headers, and behind it symbols and names. */
function image(bits: 32 | 64, change: { readonly link?: number; readonly namesType?: number } = {}): ElfImage {
  const form = FORM[bits];
  const bytes = new Uint8Array(KERNEL_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, bits / 32, 1, 1]);
  view.setUint32(form.shoff, SHOFF, true);
  view.setUint16(form.shentsize, form.section, true);
  const symtab = SHOFF + form.section;
  view.setUint32(symtab, 7, true);
  view.setUint32(symtab + 4, 2, true);
  view.setUint32(symtab + form.link, change.link ?? 2, true);
  view.setUint32(symtab + form.link + 4, 5, true);
  view.setUint32(symtab + form.section + 4, STRTAB, true);
  return elfImage({
    class: bits,
    bytes,
    notes: [...PLAIN_NOTES, textNote(NoteType.BSD_SYMTAB, 'yes')],
    sections: [
      { name: '', type: 0, bytes: new Uint8Array() },
      { name: '.symtab', type: 2, bytes: SYMBOLS },
      { name: '.strtab', type: change.namesType ?? STRTAB, bytes: NAMES },
    ],
  });
}

describe('symbols behind a kernel', () => {
  it.each([32, 64] as const)(
    'are an ELF file of %i bits with three sections, and zeros between what it holds',
    (bits) => {
      const { section, shoff, shentsize, link } = FORM[bits];
      const found = symbolsBehindKernel(image(bits)) as Uint8Array;
      const view = new DataView(found.buffer, 4);
      const short = (at: number) => view.getUint16(at, true);
      const long = (at: number) => view.getUint32(at, true);
      expect(new DataView(found.buffer).getUint32(0, true)).toBe(found.length - 4);
      expect([...found.subarray(4, 9)]).toEqual([0x7f, 0x45, 0x4c, 0x46, bits / 32]);
      expect(long(shoff)).toBe(64);
      expect([-4, -2, 0, 2, 4].map((at) => short(shentsize + at))).toEqual([0, 0, section, 3, 0]);
      if (bits === 32) expect(found.subarray(4 + 52, 4 + 64).every((byte) => byte === 0)).toBe(true);
      expect(found.subarray(4 + 64, 4 + 64 + section).every((byte) => byte === 0)).toBe(true);
      const [symbols, names] = [64 + section, 64 + 2 * section];
      expect([long(symbols), long(symbols + 4), long(symbols + link), long(symbols + link + 4)]).toEqual([0, 2, 2, 5]);
      expect([long(names + 4), long(names + link)]).toEqual([STRTAB, 0]);
      const contents = (at: number, size: number) => {
        const offset = long(at + (bits === 32 ? 16 : 24));
        expect((offset + 4) % (bits / 8)).toBe(0);
        return found.subarray(4 + offset, 4 + offset + size);
      };
      expect(contents(symbols, SYMBOLS.length)).toEqual(SYMBOLS);
      expect(contents(names, NAMES.length)).toEqual(NAMES);
    },
  );

  it('are not there without names, and are asked for by a note', () => {
    expect(symbolsBehindKernel(image(64, { link: 9 }))).toBeUndefined();
    expect(symbolsBehindKernel(image(64, { namesType: 1 }))).toBeUndefined();
    expect(symbolsBehindKernel(elfImage())).toBeUndefined();
  });

  it('are where the kernel looks for them, and what follows is behind them', () => {
    const { bytes, sections, notes } = image(64);
    const parts = sections.map((section) => ({
      ...section,
      bytes: bytes.subarray(section.offset, section.offset + section.sizeBytes),
    }));
    const guest = boot({ notes, bytes: bytes.subarray(0, KERNEL_BYTES), sections: parts });
    const end = VIRT_BASE + KERNEL_PADDR + BigInt(KERNEL_BYTES);
    const gpa = walk(guest.memory, guest.cpu.cr3, end, 'read', true) as number;
    const expected = symbolsBehindKernel(image(64)) as Uint8Array;
    expect(guest.memory.readBytes(gpa, expected.length)).toEqual(expected);
    const info = walk(guest.memory, guest.cpu.cr3, guest.cpu.gpr[6], 'read', true) as number;
    expect(guest.memory.read64(info + 104)).toBe(end + 0x1000n);
  });

  it('leave a file that lies about its sections alone', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<32 | 64>(32, 64),
        fc.uint8Array({ maxLength: 300 }),
        fc.array(
          fc.record({ offset: fc.integer({ min: -9, max: 400 }), sizeBytes: fc.integer({ min: -9, max: 400 }) }),
        ),
        (bits, bytes, places) => {
          const sections = places.map((place, i) => ({
            name: '',
            type: 2 + (i & 1),
            flags: 0n,
            address: 0n,
            ...place,
          }));
          const found = symbolsBehindKernel({ ...elfImage({ class: bits }), bytes, sections });
          if (found) expect(found.length).toBeLessThan(2 * bytes.length + 300);
        },
      ),
    );
  });
});

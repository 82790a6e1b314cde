import type { ElfSection } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { elfImage, guestImage, KERNEL_PADDR, numberNote, PLAIN_NOTES, textNote, VIRT_BASE } from '../testing/guest.ts';
import { NoteType, xenNotes } from './elfNotes.ts';
import { missingFeatures, parseFeatures } from './features.ts';
import { findXenEntries } from './finder.ts';
import { parseGuestInfo } from './guestInfo.ts';
import { readImageNotes } from './imageNotes.ts';

function withSection(name: string, type: number, bytes: Uint8Array) {
  const section: ElfSection = { name, type, flags: 0n, address: 0n, offset: 0, sizeBytes: bytes.length };
  return {
    ...elfImage({ notes: [], bytes }),
    sections: [section],
    section: (wanted: string) => (wanted === name ? section : undefined),
  };
}

describe('reading notes', () => {
  it('reads all types', () => {
    const pairs = new Uint8Array(BigUint64Array.of(1n, 1n, 6n, 2n).buffer);
    const notes = readImageNotes(
      elfImage({
        notes: [
          ...PLAIN_NOTES,
          textNote(NoteType.INFO, 'a=b'),
          textNote(NoteType.GUEST_VERSION, '2.6'),
          textNote(NoteType.PAE_MODE, 'yes'),
          textNote(NoteType.FEATURES, '!writable_page_tables|pae_pgdir_above_4gb'),
          textNote(NoteType.BSD_SYMTAB, 'yes'),
          numberNote(NoteType.HV_START_LOW, 0xffff_8000_0000_0000n),
          { owner: 'Xen', type: NoteType.L1_MFN_VALID, desc: pairs, where: 'PT_NOTE' },
          numberNote(NoteType.SUSPEND_CANCEL, 1n),
          numberNote(NoteType.INIT_P2M, 0x80_0000_0000n),
          numberNote(NoteType.MOD_START_PFN, 1n),
          { owner: 'Xen', type: NoteType.SUPPORTED_FEATURES, desc: Uint8Array.of(1, 0x88, 0, 0), where: 'PT_NOTE' },
          { owner: 'Xen', type: NoteType.PHYS32_ENTRY, desc: Uint8Array.of(0x50, 8, 0, 1), where: 'PT_NOTE' },
          {
            owner: 'Xen',
            type: NoteType.PHYS32_RELOC,
            desc: Uint8Array.of(0, 0, 0x20, 0, 0, 0, 0, 1),
            where: 'PT_NOTE',
          },
          { owner: 'Xen', type: 99, desc: Uint8Array.of(1), where: 'PT_NOTE' },
        ],
      }),
    );
    expect(notes).toMatchObject({
      info: 'a=b',
      guestVersion: '2.6',
      paeMode: 'yes',
      bsdSymtab: true,
      suspendCancel: true,
      modStartPfn: true,
      initP2m: 0x80_0000_0000n,
      hvStartLow: 0xffff_8000_0000_0000n,
      l1MfnValid: [
        { mask: 1n, value: 1n },
        { mask: 6n, value: 2n },
      ],
      features: { supported: 0x8811n, required: 1n },
      phys32Entry: 0x100_0850n,
      phys32Reloc: { align: 0x20_0000, min: 0x100_0000, max: undefined },
    });
  });

  it('prefers PT_NOTE, then note sections, then __xen_guest, and counts only the owner "Xen"', () => {
    const foreign = { owner: 'name', type: 1, desc: new Uint8Array(8), where: 'PT_NOTE' };
    expect(readImageNotes(elfImage({ notes: [foreign] }))).toBeUndefined();
    const section = Uint8Array.of(4, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0x58, 0x65, 0x6e, 0, 0x67, 0, 0, 0);
    expect(xenNotes(withSection('.note.Xen', 7, section))).toMatchObject([{ type: 8, where: '.note.Xen' }]);
    const legacy = new TextEncoder().encode(
      'GUEST_OS=Mach,XEN_VER=xen-3.0,VIRT_BASE=0x40000000,HYPERCALL_PAGE=0x2,LOADER=generic\0',
    );
    const notes = readImageNotes(withSection('__xen_guest', 1, legacy));
    expect(notes).toMatchObject({
      legacy: true,
      virtBase: 0x4000_0000n,
      hypercallPage: 0x4000_2000n,
      loader: 'generic',
    });
  });

  it('never throws on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isNote) => {
        readImageNotes(withSection(isNote ? '.note' : '__xen_guest', isNote ? 7 : 1, bytes));
      }),
      { numRuns: 300, seed: 1 },
    );
    fc.assert(
      fc.property(fc.string(), (text) => void parseGuestInfo(text)),
      { numRuns: 200, seed: 2 },
    );
    fc.assert(
      fc.property(fc.string(), (text) => void missingFeatures(parseFeatures(text))),
      { numRuns: 200, seed: 3 },
    );
  });

  it('reads numbers as strtoull does', () => {
    expect(parseGuestInfo('VIRT_BASE=010,VIRT_ENTRY=12junk').virtBase).toBe(8n);
    expect(parseGuestInfo('VIRT_BASE=x').virtBase).toBe(0n);
    expect(parseGuestInfo('VIRT_ENTRY=12junk').entry).toBe(12n);
  });
});

describe('finding entries', () => {
  it('offers pv with its address and where it was found', () => {
    const { entries } = findXenEntries(guestImage(elfImage()));
    expect(entries).toMatchObject([{ name: 'pv', plugin: 'xen', foundIn: 'ELF note XEN_ELFNOTE_ENTRY (PT_NOTE)' }]);
  });

  it.each([
    ['no ELF', undefined, 'no ELF image inside'],
    ['no notes', elfImage({ notes: [] }), 'no ELF notes of owner "Xen"'],
    ['another loader', elfImage({ notes: [textNote(NoteType.XEN_VERSION, 'xen-3.0')] }), 'LOADER'],
    ['another Xen', elfImage({ notes: [textNote(NoteType.LOADER, 'generic')] }), 'xen-3.0'],
    ['32 bits of another machine', elfImage({ class: 32 }), 'ELF machine 62 is not i386'],
  ])('says why there is no pv: %s', (_name, elf, reason) => {
    const { entries, missing } = findXenEntries(guestImage(elf));
    expect(entries).toEqual([]);
    expect(missing.find(({ name }) => name === 'pv')?.reason).toContain(reason);
  });

  it.each([
    ['32 bits without PAE', { ...elfImage({ class: 32 }), machine: 3 }, 'it does not use PAE'],
    [
      'a feature',
      elfImage({ notes: [...PLAIN_NOTES, textNote(NoteType.FEATURES, '!supervisor_mode_kernel|!xyz')] }),
      'requires xyz, supervisor_mode_kernel',
    ],
  ])('says why pv is closed: %s', (_name, elf, reason) => {
    const { entries, closed } = findXenEntries(guestImage(elf));
    expect(entries).toEqual([]);
    expect(closed).toEqual([
      expect.objectContaining({
        name: 'pv',
        address: VIRT_BASE + KERNEL_PADDR + 0x10n,
        foundIn: expect.stringContaining('XEN_ELFNOTE_ENTRY'),
        reason: expect.stringContaining(reason),
      }),
    ]);
  });

  it('offers pvh beside pv, which goes first', () => {
    const notes = [...PLAIN_NOTES, numberNote(NoteType.PHYS32_ENTRY, 0x100_0850n)];
    const { entries, missing } = findXenEntries(guestImage(elfImage({ notes })));
    expect(entries.map(({ name }) => name)).toEqual(['pv', 'pvh']);
    expect(entries[0].priority).toBeGreaterThan(entries[1].priority);
    expect(entries[1]).toMatchObject({
      address: 0x100_0850n,
      foundIn: 'ELF note XEN_ELFNOTE_PHYS32_ENTRY (PT_NOTE)',
    });
    expect(missing).toEqual([]);
  });

  it('sees no pv in an image whose notes are those of PVH', () => {
    const common = PLAIN_NOTES.filter(({ type }) => type !== NoteType.ENTRY);
    const notes = [...common, numberNote(NoteType.PHYS32_ENTRY, 0x100_0850n)];
    const { entries, missing } = findXenEntries(guestImage(elfImage({ notes })));
    expect(entries.map(({ name }) => name)).toEqual(['pvh']);
    expect(missing).toEqual([expect.objectContaining({ name: 'pv', reason: expect.stringContaining('PVH only') })]);
  });
});

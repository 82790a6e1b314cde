/** The domain builder has no branch for an operating system. */
import { describe, expect, it } from 'vitest';
import { NoteType } from '../notes/elfNotes.ts';
import { boot, PLAIN_NOTES, textNote } from '../testing/guest.ts';

describe('GUEST_OS', () => {
  it('changes nothing in the guest that is built', () => {
    const built = ['linux', 'NetBSD', 'GNU Mach', 'GRUB', ''].map((name) => {
      const notes = PLAIN_NOTES.filter(({ type }) => type !== NoteType.GUEST_OS);
      const { memory, cpu } = boot({ notes: [...notes, textNote(NoteType.GUEST_OS, name)] });
      return { bytes: memory.bytes, registers: [cpu.rip, cpu.cr3, ...cpu.gpr] };
    });
    for (const other of built.slice(1)) {
      expect(other.registers).toEqual(built[0].registers);
      expect(Buffer.compare(other.bytes, built[0].bytes)).toBe(0);
    }
  });
});

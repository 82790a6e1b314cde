import type { ElfNote, ElfProgramHeader, ElfSection } from '@polyvisor/plugin-api';
import { ByteReader, latin1 } from './byte-reader.ts';
import { SectionType, SegmentType } from './elf-constants.ts';
import { damagedImage, hex } from './image-error.ts';

/** namesz, descsz, type. */
const NOTE_HEADER_BYTES = 12;

/**
 * The notes of every PT_NOTE segment; in a file without such segments, of every SHT_NOTE section.
 * Name and descriptor are padded to four bytes in both classes, as Linux and Xen write them
 * (gABI 4.1, chapter 5, "Note Section"). A last descriptor that claims more bytes than are left is
 * cut there, as Xen's libelf does: GRUB's i386-xen image carries one.
 */
export function readNotes(
  file: ByteReader,
  programHeaders: readonly ElfProgramHeader[],
  sections: readonly ElfSection[],
): ElfNote[] {
  const segments = programHeaders.filter((header) => header.type === SegmentType.PT_NOTE);
  if (segments.length > 0) {
    return segments.flatMap((segment) => notesIn(file, segment.offset, segment.fileSizeBytes, 'PT_NOTE'));
  }
  return sections
    .filter((section) => section.type === SectionType.SHT_NOTE)
    .flatMap((section) => notesIn(file, section.offset, section.sizeBytes, section.name));
}

function notesIn(file: ByteReader, offset: number, sizeBytes: number, where: string): ElfNote[] {
  const area = new ByteReader(file.slice(offset, sizeBytes, `ELF notes (${where})`));
  const notes: ElfNote[] = [];
  let at = 0;
  while (at + NOTE_HEADER_BYTES <= area.sizeBytes) {
    const what = `ELF note ${notes.length} of ${where}`;
    const nameSize = area.u32(at, what);
    const descSize = area.u32(at + 4, what);
    const nameAt = at + NOTE_HEADER_BYTES;
    const descAt = nameAt + padTo4(nameSize);
    if (descAt > area.sizeBytes) {
      throw damagedImage(`${what} at offset ${hex(offset + at)} runs beyond the end of its segment or section`);
    }
    notes.push({
      owner: latin1(area.slice(nameAt, nameSize, what)).replace(/\0+$/, ''),
      type: area.u32(at + 8, what),
      desc: area.bytes.subarray(descAt, descAt + descSize),
      where,
    });
    at = descAt + padTo4(descSize);
  }
  return notes;
}

function padTo4(sizeBytes: number): number {
  return Math.ceil(sizeBytes / 4) * 4;
}

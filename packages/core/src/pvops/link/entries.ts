import { latin1 } from '../../loader/image/byte-reader.ts';
import type { ElfObject } from '../../loader/image/elf-object.ts';

/** The section that names a module's slots; `struct pvops_entry` of `pvops.h`. */
export const ENTRIES_SECTION = '.pvops';
/** The section with the manifest, as lines of `key=value`. */
export const MANIFEST_SECTION = '.pvops.manifest';

const SLOT_NAME_BYTES = 48;
/** Entries are aligned to this; a compiler may leave gaps of zeros between them. */
const ENTRY_ALIGN_BYTES = 8;
const MOST_ENTRIES = 1024;

/** One slot that an object names, before it is linked: its pointers are relocations yet. */
export interface ObjectEntry {
  readonly slot: string;
  /** Offsets in the section of the pointer to the function, and of that to where the previous one goes. */
  readonly functionAt: number;
  readonly previousAt: number;
}

/** Answers the entries, or in words what is wrong with them. */
export function readEntries(object: ElfObject): ObjectEntry[] | string {
  const section = object.sections.find(({ name }) => name === ENTRIES_SECTION);
  if (!section) return `there is no section ${ENTRIES_SECTION}`;
  const wordBytes = object.class / 8;
  const sizeBytes = entryBytes(wordBytes);
  const entries: ObjectEntry[] = [];
  for (let at = 0; at < section.bytes.length; ) {
    if (section.bytes[at] === 0) {
      at += ENTRY_ALIGN_BYTES;
      continue;
    }
    if (at + sizeBytes > section.bytes.length) return `${ENTRIES_SECTION} ends within an entry`;
    const entry = readEntry(section.bytes, at, wordBytes);
    if (typeof entry === 'string') return entry;
    if (entries.some(({ slot }) => slot === entry.slot)) return `${ENTRIES_SECTION} names ${entry.slot} twice`;
    if (entries.push(entry) > MOST_ENTRIES) return `${ENTRIES_SECTION} has more than ${MOST_ENTRIES} entries`;
    at += sizeBytes;
  }
  return entries.length > 0 ? entries : `${ENTRIES_SECTION} names no slot`;
}

/** Size of one entry. */
export const entryBytes = (wordBytes: number) => SLOT_NAME_BYTES + 2 * wordBytes + 8;

/** The entry at an offset, or in words what is wrong with it. */
export function readEntry(bytes: Uint8Array, at: number, wordBytes: number): ObjectEntry | string {
  const name = bytes.subarray(at, at + SLOT_NAME_BYTES);
  const slot = latin1(name.subarray(0, name.indexOf(0)));
  if (name[SLOT_NAME_BYTES - 1] !== 0 || !/^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$/.test(slot)) {
    return `${ENTRIES_SECTION} has at offset 0x${at.toString(16)} something that is no slot's name`;
  }
  const functionAt = at + SLOT_NAME_BYTES;
  const previousAt = functionAt + wordBytes;
  // Not yet of any meaning: whoever sets it means something that this reader does not know.
  const reserved = bytes.subarray(previousAt + wordBytes, previousAt + wordBytes + 8);
  if (reserved.some((byte) => byte !== 0))
    return `${ENTRIES_SECTION} wants of ${slot} something that is not known here`;
  return { slot, functionAt, previousAt };
}

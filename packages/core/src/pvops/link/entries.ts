import { latin1 } from '../../loader/image/byte-reader.ts';
import type { ElfObject } from '../../loader/image/elf-object.ts';

/** The sections that name a module's slots, by the major version of the API; `struct pvops_entry` of `pvops.h`. */
const SECTIONS = { 1: '.pvops', 2: '.pvops.2' } as const;
type Major = keyof typeof SECTIONS;
/** The section with the manifest, as lines of `key=value`. */
export const MANIFEST_SECTION = '.pvops.manifest';

const SLOT_NAME_BYTES = 48;
/** Of API 2: what stands before the pointers, and the name behind them. */
const HEAD_BYTES = 8;
const LONG_NAME_BYTES = 80;
/** PVOPS_OPTIONAL. */
const OPTIONAL = 1;
const SLOT_NAME = /^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$/;
/** Entries are aligned to this; a compiler may leave gaps of zeros between them. */
const ENTRY_ALIGN_BYTES = 8;
const MOST_ENTRIES = 1024;

/** One slot that an object names, before it is linked: its pointers are relocations yet. */
export interface ObjectEntry {
  readonly slot: string;
  /** Offsets in the section of the pointer to the function, and of that to where the previous one goes. */
  readonly functionAt: number;
  readonly previousAt: number;
  /** A kernel need not have the slot. */
  readonly isOptional: boolean;
}

/** The section that names an object's slots. */
export const entriesSection = (object: ElfObject) =>
  object.sections.find(({ name }) => name === SECTIONS[1] || name === SECTIONS[2]);

/** Answers the entries, or in words what is wrong with them. */
export function readEntries(object: ElfObject): ObjectEntry[] | string {
  const section = entriesSection(object);
  if (!section) return `there is no section ${SECTIONS[1]}`;
  const major: Major = section.name === SECTIONS[1] ? 1 : 2;
  if (object.sections.some(({ name }) => name === SECTIONS[major === 1 ? 2 : 1])) {
    return `there are both ${SECTIONS[1]} and ${SECTIONS[2]}, of two versions of the API`;
  }
  const wordBytes = object.class / 8;
  const [sizeBytes, read] =
    major === 1 ? [entryBytes(wordBytes), readEntry] : [longEntryBytes(wordBytes), readLongEntry];
  const entries: ObjectEntry[] = [];
  for (let at = 0; at < section.bytes.length; ) {
    if (section.bytes[at] === 0) {
      at += ENTRY_ALIGN_BYTES;
      continue;
    }
    if (at + sizeBytes > section.bytes.length) return `${section.name} ends within an entry`;
    const entry = read(section.bytes, at, wordBytes);
    if (typeof entry === 'string') return entry;
    if (entries.some(({ slot }) => slot === entry.slot)) return `${section.name} names ${entry.slot} twice`;
    if (entries.push(entry) > MOST_ENTRIES) return `${section.name} has more than ${MOST_ENTRIES} entries`;
    at += sizeBytes;
  }
  return entries.length > 0 ? entries : `${section.name} names no slot`;
}

/** Size of one entry of API 1, which is that of a guest's own table too. */
export const entryBytes = (wordBytes: number) => SLOT_NAME_BYTES + 2 * wordBytes + 8;

/** The entry at an offset, or in words what is wrong with it. */
export function readEntry(bytes: Uint8Array, at: number, wordBytes: number): ObjectEntry | string {
  const name = bytes.subarray(at, at + SLOT_NAME_BYTES);
  const slot = latin1(name.subarray(0, name.indexOf(0)));
  if (name[SLOT_NAME_BYTES - 1] !== 0 || !SLOT_NAME.test(slot)) {
    return `${SECTIONS[1]} has at offset 0x${at.toString(16)} something that is no slot's name`;
  }
  const functionAt = at + SLOT_NAME_BYTES;
  const previousAt = functionAt + wordBytes;
  // Not yet of any meaning: whoever sets it means something that this reader does not know.
  const reserved = bytes.subarray(previousAt + wordBytes, previousAt + wordBytes + 8);
  if (reserved.some((byte) => byte !== 0)) return `${SECTIONS[1]} wants of ${slot} something that is not known here`;
  return { slot, functionAt, previousAt, isOptional: false };
}

const longEntryBytes = (wordBytes: number) => HEAD_BYTES + 2 * wordBytes + LONG_NAME_BYTES;

/** The same of API 2. */
function readLongEntry(bytes: Uint8Array, at: number, wordBytes: number): ObjectEntry | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, longEntryBytes(wordBytes));
  const [sizeBytes, flags] = [view.getUint32(0, true), view.getUint32(4, true)];
  const functionAt = at + HEAD_BYTES;
  const nameAt = functionAt + 2 * wordBytes;
  const name = bytes.subarray(nameAt, nameAt + LONG_NAME_BYTES);
  const slot = latin1(name.subarray(0, name.indexOf(0)));
  if (sizeBytes !== view.byteLength || name[LONG_NAME_BYTES - 1] !== 0 || !SLOT_NAME.test(slot)) {
    return `${SECTIONS[2]} has at offset 0x${at.toString(16)} something that is no entry`;
  }
  if (flags & ~OPTIONAL) return `${SECTIONS[2]} wants of ${slot} something that is not known here`;
  return { slot, functionAt, previousAt: functionAt + wordBytes, isOptional: (flags & OPTIONAL) !== 0 };
}

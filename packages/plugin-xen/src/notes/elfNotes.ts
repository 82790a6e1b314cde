import type { ElfImage, ElfNote } from '@polyvisor/plugin-api';

/** XEN_ELFNOTE_* types (public/elfnote.h). */
export const NoteType = {
  INFO: 0,
  ENTRY: 1,
  HYPERCALL_PAGE: 2,
  VIRT_BASE: 3,
  PADDR_OFFSET: 4,
  XEN_VERSION: 5,
  GUEST_OS: 6,
  GUEST_VERSION: 7,
  LOADER: 8,
  PAE_MODE: 9,
  FEATURES: 10,
  BSD_SYMTAB: 11,
  HV_START_LOW: 12,
  L1_MFN_VALID: 13,
  SUSPEND_CANCEL: 14,
  INIT_P2M: 15,
  MOD_START_PFN: 16,
  SUPPORTED_FEATURES: 17,
  PHYS32_ENTRY: 18,
  PHYS32_RELOC: 19,
} as const;

const SHT_NOTE = 7;
const NOTE_HEADER_BYTES = 12;

/** Notes of owner "Xen": those the loader found, or, when its PT_NOTEs hold none, those of SHT_NOTE sections. */
export function xenNotes(elf: ElfImage): ElfNote[] {
  const found = elf.notes.filter(isXen);
  return found.length > 0 ? found : sectionNotes(elf).filter(isXen);
}

function isXen(note: ElfNote): boolean {
  return note.owner === 'Xen';
}

function sectionNotes(elf: ElfImage): ElfNote[] {
  const notes: ElfNote[] = [];
  for (const section of elf.sections) {
    if (section.type !== SHT_NOTE) continue;
    const end = Math.min(section.offset + section.sizeBytes, elf.bytes.length);
    if (section.offset >= 0 && section.offset < end) readNotes(elf.bytes, section.offset, end, section.name, notes);
  }
  return notes;
}

/** System V ABI, "Note Section": three words, then name and descriptor, each padded to 4 bytes. */
function readNotes(bytes: Uint8Array, start: number, end: number, where: string, notes: ElfNote[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = start;
  while (at + NOTE_HEADER_BYTES <= end) {
    const nameBytes = view.getUint32(at, true);
    const descBytes = view.getUint32(at + 4, true);
    const nameAt = at + NOTE_HEADER_BYTES;
    const descAt = nameAt + roundUp4(nameBytes);
    if (descAt + descBytes > end) return;
    const desc = bytes.subarray(descAt, descAt + descBytes);
    notes.push({
      owner: text(bytes.subarray(nameAt, nameAt + nameBytes)),
      type: view.getUint32(at + 8, true),
      desc,
      where,
    });
    at = descAt + roundUp4(descBytes);
  }
}

function roundUp4(value: number): number {
  return Math.ceil(value / 4) * 4;
}

/** Bytes up to the first NUL, as Latin-1. */
export function text(bytes: Uint8Array): string {
  let result = '';
  for (const byte of bytes) {
    if (byte === 0) break;
    result += String.fromCharCode(byte);
  }
  return result;
}

/** A numeric descriptor of 1, 2, 4 or 8 bytes; any other size reads as 0, as Xen's parser has it. */
export function numeric(desc: Uint8Array): bigint {
  if (desc.length !== 1 && desc.length !== 2 && desc.length !== 4 && desc.length !== 8) return 0n;
  return littleEndian(desc);
}

/** Little-endian unsigned number of any length. */
export function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let index = bytes.length - 1; index >= 0; index--) value = (value << 8n) | BigInt(bytes[index]!);
  return value;
}

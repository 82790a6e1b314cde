import { ByteReader } from './byte-reader.ts';

/** Multiboot Specification 0.6.96, 3.1: header magic, flags, checksum; in the first 8192 bytes, 4-byte aligned. */
const MULTIBOOT1 = { magic: 0x1badb002, searchBytes: 8192, alignBytes: 4, words: 3 } as const;
/** Multiboot2 Specification 2.0, 3.1: magic, architecture, length, checksum; in the first 32768 bytes, 8-byte aligned. */
const MULTIBOOT2 = { magic: 0xe85250d6, searchBytes: 32768, alignBytes: 8, words: 4 } as const;

/** Flag 16 of a Multiboot header: the address fields at offsets 12 to 31 are valid (3.1.3). */
const MULTIBOOT1_ADDRESSES = 1 << 16;
const MULTIBOOT1_ENTRY_ADDR = 28;
/** Multiboot2 header tags (3.1.3 and following): type, flags, size; padded to 8 bytes. */
const MULTIBOOT2_HEADER_BYTES = 16;
const TAG_HEADER_BYTES = 8;
const Tag = { END: 0, ENTRY_ADDRESS: 3, EFI_I386_ENTRY: 8, EFI_AMD64_ENTRY: 9 } as const;

export interface MultibootHeader {
  readonly version: 1 | 2;
  readonly offset: number;
}

/** An entry address that a Multiboot header gives itself, before one of the file's format. */
interface MultibootEntry {
  readonly address: bigint;
  /** The field or tag that gives it. */
  readonly foundIn: string;
}

/** The header that counts: of version 1, else of version 2. */
export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  return findMultibootHeaderOf(1, bytes) ?? findMultibootHeaderOf(2, bytes);
}

/** The first header of this version whose words sum to zero. */
export function findMultibootHeaderOf(version: 1 | 2, bytes: Uint8Array): MultibootHeader | undefined {
  const offset = search(bytes, version === 1 ? MULTIBOOT1 : MULTIBOOT2);
  return offset === undefined ? undefined : { version, offset };
}

/** `undefined`: the header has no entry address. Throws `PolyvisorError` PV2001 if it is cut short. */
export function multibootEntry(bytes: Uint8Array, header: MultibootHeader): MultibootEntry | undefined {
  const reader = new ByteReader(bytes);
  if (header.version === 2) return multiboot2Tags(reader, header.offset).get(Tag.ENTRY_ADDRESS);
  if ((reader.u32(header.offset + 4, 'multiboot flags') & MULTIBOOT1_ADDRESSES) === 0) return undefined;
  const address = BigInt(reader.u32(header.offset + MULTIBOOT1_ENTRY_ADDR, 'multiboot entry_addr'));
  return { address, foundIn: 'entry_addr' };
}

const ENTRY_TAGS: ReadonlyMap<number, string> = new Map([
  [Tag.ENTRY_ADDRESS, 'entry address tag'],
  [Tag.EFI_I386_ENTRY, 'EFI i386 entry address tag'],
  [Tag.EFI_AMD64_ENTRY, 'EFI amd64 entry address tag'],
]);

/** Entry addresses by the type of the tag that gives them. */
function multiboot2Tags(reader: ByteReader, offset: number): Map<number, MultibootEntry> {
  const entries = new Map<number, MultibootEntry>();
  const end = Math.min(offset + reader.u32(offset + 8, 'multiboot2 header_length'), reader.sizeBytes);
  let at = offset + MULTIBOOT2_HEADER_BYTES;
  while (at + TAG_HEADER_BYTES <= end) {
    const type = reader.u16(at, 'multiboot2 tag type');
    const sizeBytes = reader.u32(at + 4, 'multiboot2 tag size');
    if (type === Tag.END || sizeBytes < TAG_HEADER_BYTES) break;
    const foundIn = ENTRY_TAGS.get(type);
    if (foundIn) entries.set(type, { address: BigInt(reader.u32(at + 8, 'multiboot2 entry_addr')), foundIn });
    at += Math.ceil(sizeBytes / 8) * 8;
  }
  return entries;
}

function search(bytes: Uint8Array, kind: typeof MULTIBOOT1 | typeof MULTIBOOT2): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(bytes.length, kind.searchBytes) - kind.words * 4;
  for (let at = 0; at <= end; at += kind.alignBytes) {
    if (view.getUint32(at, true) !== kind.magic) continue;
    let sum = 0;
    for (let word = 0; word < kind.words; word++) sum = (sum + view.getUint32(at + word * 4, true)) >>> 0;
    if (sum === 0) return at;
  }
  return undefined;
}

import { ByteReader } from './byte-reader.ts';
import { damagedImage } from './image-error.ts';

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

/** Where a header says that the file belongs, when it does not leave that to the file's format. Untrusted. */
export interface MultibootAddresses {
  /** Bytes of the file from `fileOffset` on go to guest-physical `loadAt`. */
  readonly fileOffset: number;
  readonly loadAt: number;
  /** 0: to the end of the file. */
  readonly loadSizeBytes: number;
  /** With what follows and is zero; at least the loaded bytes. */
  readonly memorySizeBytes: number;
}

/** What a header asks of its loader. */
export interface MultibootRequests {
  readonly addresses: MultibootAddresses | undefined;
  /** In words, what a loader must provide or else refuse the image. */
  readonly required: readonly string[];
}

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

/** Flags 0 to 15 must be understood (3.1.2): modules on page boundaries, memory information. */
const MULTIBOOT1_KNOWN = 3;
const MULTIBOOT1_VIDEO = 4;
const MULTIBOOT1_REQUIRED = 0xffff;
const HeaderTag = { INFORMATION: 1, ADDRESS: 2, CONSOLE: 4, MODULE_ALIGN: 6, RELOCATABLE: 10, OPTIONAL: 1 } as const;

/** Reads what the header asks for. Throws `PolyvisorError` PV2001 for addresses that contradict each other. */
export function multibootRequests(bytes: Uint8Array, header: MultibootHeader): MultibootRequests {
  const reader = new ByteReader(bytes);
  return header.version === 1 ? requestsOf1(reader, header.offset) : requestsOf2(reader, header.offset);
}

function requestsOf1(reader: ByteReader, at: number): MultibootRequests {
  const flags = reader.u32(at + 4, 'multiboot flags');
  const unknown = flags & MULTIBOOT1_REQUIRED & ~(MULTIBOOT1_KNOWN | MULTIBOOT1_VIDEO);
  const required = (flags & MULTIBOOT1_VIDEO) !== 0 ? ['a table of video modes (flag 2)'] : [];
  if (unknown !== 0) required.push(`flags 0x${unknown.toString(16)}`);
  const given = (flags & MULTIBOOT1_ADDRESSES) !== 0;
  return { addresses: given ? addressesAt(reader, at + 12, at) : undefined, required };
}

function requestsOf2(reader: ByteReader, at: number): MultibootRequests {
  const required: string[] = [];
  let addresses: MultibootAddresses | undefined;
  for (const { type, flags, at: tag, sizeBytes } of multiboot2HeaderTags(reader, at)) {
    if (type === HeaderTag.ADDRESS) addresses = addressesAt(reader, tag + TAG_HEADER_BYTES, at);
    else if ((flags & HeaderTag.OPTIONAL) === 0) {
      if (type === HeaderTag.INFORMATION) required.push(...unknownInformation(reader, tag, sizeBytes));
      else if (!UNDERSTOOD_TAGS.has(type)) required.push(`header tag ${type}`);
    }
  }
  return { addresses, required };
}

/** What boot information tags are given (3.6): command line, loader's name, modules, memory, map, new ACPI RSDP. */
const GIVEN_INFORMATION = new Set([1, 2, 3, 4, 6, 15]);
const UNDERSTOOD_TAGS: ReadonlySet<number> = new Set([
  ...[HeaderTag.CONSOLE, HeaderTag.MODULE_ALIGN, HeaderTag.RELOCATABLE],
  // Entry addresses: that of EFI counts for EFI alone (3.1.7, 3.1.8).
  ...[Tag.ENTRY_ADDRESS, Tag.EFI_I386_ENTRY, Tag.EFI_AMD64_ENTRY],
]);

function unknownInformation(reader: ByteReader, tag: number, sizeBytes: number): string[] {
  const unknown: string[] = [];
  for (let at = tag + TAG_HEADER_BYTES; at + 4 <= tag + sizeBytes; at += 4) {
    const type = reader.u32(at, 'multiboot2 information request');
    if (!GIVEN_INFORMATION.has(type)) unknown.push(`boot information of type ${type}`);
  }
  return unknown;
}

/** header_addr, load_addr, load_end_addr, bss_end_addr (0.6.96, 3.1.3; 2.0, 3.1.5). */
function addressesAt(reader: ByteReader, at: number, headerOffset: number): MultibootAddresses {
  const [headerAddress, loadAt, loadEnd, bssEnd] = [0, 4, 8, 12].map((i) => reader.u32(at + i, 'multiboot address'));
  // load_addr -1: the file is loaded from its first byte on (2.0, 3.1.5).
  const wholeFile = loadAt === 0xffffffff;
  const fileOffset = wholeFile ? 0 : headerOffset - (headerAddress - loadAt);
  const start = wholeFile ? headerAddress - headerOffset : loadAt;
  if (fileOffset < 0 || fileOffset > reader.sizeBytes || start < 0) {
    throw damagedImage(`the multiboot header's load_addr 0x${loadAt.toString(16)} leads out of the file`);
  }
  const loadSizeBytes = loadEnd === 0 ? reader.sizeBytes - fileOffset : loadEnd - start;
  reader.require(fileOffset, loadSizeBytes, 'multiboot image up to load_end_addr');
  const memorySizeBytes = Math.max(loadSizeBytes, bssEnd === 0 ? 0 : bssEnd - start);
  return { fileOffset, loadAt: start, loadSizeBytes, memorySizeBytes };
}

interface HeaderTagAt {
  readonly type: number;
  readonly flags: number;
  readonly at: number;
  readonly sizeBytes: number;
}

/** The tags of a Multiboot2 header up to its end. */
function multiboot2HeaderTags(reader: ByteReader, offset: number): HeaderTagAt[] {
  const tags: HeaderTagAt[] = [];
  const end = Math.min(offset + reader.u32(offset + 8, 'multiboot2 header_length'), reader.sizeBytes);
  let at = offset + MULTIBOOT2_HEADER_BYTES;
  while (at + TAG_HEADER_BYTES <= end) {
    const type = reader.u16(at, 'multiboot2 tag type');
    const flags = reader.u16(at + 2, 'multiboot2 tag flags');
    const sizeBytes = reader.u32(at + 4, 'multiboot2 tag size');
    if (type === Tag.END || sizeBytes < TAG_HEADER_BYTES) break;
    tags.push({ type, flags, at, sizeBytes });
    at += Math.ceil(sizeBytes / 8) * 8;
  }
  return tags;
}

const ENTRY_TAGS: ReadonlyMap<number, string> = new Map([
  [Tag.ENTRY_ADDRESS, 'entry address tag'],
  [Tag.EFI_I386_ENTRY, 'EFI i386 entry address tag'],
  [Tag.EFI_AMD64_ENTRY, 'EFI amd64 entry address tag'],
]);

/** Entry addresses by the type of the tag that gives them. */
function multiboot2Tags(reader: ByteReader, offset: number): Map<number, MultibootEntry> {
  const entries = new Map<number, MultibootEntry>();
  for (const { type, at } of multiboot2HeaderTags(reader, offset)) {
    const foundIn = ENTRY_TAGS.get(type);
    if (foundIn) entries.set(type, { address: BigInt(reader.u32(at + 8, 'multiboot2 entry_addr')), foundIn });
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

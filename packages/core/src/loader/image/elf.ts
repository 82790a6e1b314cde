import type { ElfImage, ElfProgramHeader, ElfSection } from '@polyvisor/plugin-api';
import { ByteReader } from './byte-reader.ts';
import {
  ELF_MAGIC,
  ELFDATA2LSB,
  ElfClass,
  FILE_HEADER,
  PN_XNUM,
  PROGRAM_HEADER,
  SECTION_HEADER,
  SectionType,
  SegmentType,
  SHN_XINDEX,
} from './elf-constants.ts';
import { readNotes } from './elf-notes.ts';
import { damagedImage, hex, printable, unsupportedImage } from './image-error.ts';

type Width = 32 | 64;
/** A reader that knows how wide the file's addresses are. */
interface ElfReader {
  readonly width: Width;
  readonly reader: ByteReader;
  address(offset: number, what: string): bigint;
  size(offset: number, what: string): number;
}

export function isElf(bytes: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, index) => bytes[index] === byte);
}

/**
 * The headers of a little-endian ELF file of either class (gABI 4.1, chapters 4 and 5).
 * Throws `PolyvisorError` PV2001 for anything that points outside the file, PV2002 for big-endian
 * files and unknown classes. Bytes after the last structure are allowed.
 */
export function parseElf(bytes: Uint8Array): ElfImage {
  const elf = elfReader(new ByteReader(bytes));
  const sections = readSections(elf);
  const programHeaders = readProgramHeaders(elf);
  const fields = FILE_HEADER[elf.width];
  return {
    bytes,
    class: elf.width,
    machine: elf.reader.u16(18, 'ELF e_machine'),
    entry: elf.address(fields.entry, 'ELF e_entry'),
    programHeaders,
    sections,
    notes: readNotes(elf.reader, programHeaders, sections),
    section: (name) => sections.find((section) => section.name === name),
  };
}

function elfReader(reader: ByteReader): ElfReader {
  if (!isElf(reader.bytes)) throw damagedImage('no ELF magic at offset 0x0');
  const elfClass = reader.u8(4, 'ELF EI_CLASS');
  if (elfClass !== ElfClass.ELFCLASS32 && elfClass !== ElfClass.ELFCLASS64) {
    throw damagedImage(`ELF EI_CLASS at offset 0x4 is ${elfClass}, neither 32 nor 64 bit`);
  }
  if (reader.u8(5, 'ELF EI_DATA') !== ELFDATA2LSB) {
    throw unsupportedImage('big-endian ELF file (EI_DATA at offset 0x5)', 'give an image built for x86');
  }
  const width: Width = elfClass === ElfClass.ELFCLASS64 ? 64 : 32;
  reader.require(0, FILE_HEADER[width].sizeBytes, 'ELF file header');
  const wide = width === 64;
  return {
    width,
    reader,
    address: (offset, what) => (wide ? reader.u64(offset, what) : BigInt(reader.u32(offset, what))),
    size: (offset, what) => (wide ? reader.size64(offset, what) : reader.u32(offset, what)),
  };
}

/** Offset of a table's first entry, after checking that all of it lies inside the file. */
function requireTable(elf: ElfReader, offset: number, count: number, entry: number, least: number, what: string): void {
  if (count === 0) return;
  if (entry < least) throw damagedImage(`entry size of the ${what} table is ${entry}, less than ${least}`);
  elf.reader.require(offset, count * entry, `ELF ${what} table`);
}

function readProgramHeaders(elf: ElfReader): ElfProgramHeader[] {
  const { reader } = elf;
  const fields = FILE_HEADER[elf.width];
  const tableOffset = elf.size(fields.phoff, 'ELF e_phoff');
  const entrySizeBytes = reader.u16(fields.phentsize, 'ELF e_phentsize');
  let count = reader.u16(fields.phnum, 'ELF e_phnum');
  if (count === PN_XNUM) {
    const section0 = elf.size(fields.shoff, 'ELF e_shoff');
    count = reader.u32(section0 + SECTION_HEADER[elf.width].info, 'ELF sh_info of section 0');
  }
  requireTable(elf, tableOffset, count, entrySizeBytes, PROGRAM_HEADER[elf.width].sizeBytes, 'program header');
  return Array.from({ length: count }, (_, index) =>
    readProgramHeader(elf, tableOffset + index * entrySizeBytes, index),
  );
}

function readProgramHeader(elf: ElfReader, at: number, index: number): ElfProgramHeader {
  const fields = PROGRAM_HEADER[elf.width];
  const what = `ELF program header ${index}`;
  const header: ElfProgramHeader = {
    type: elf.reader.u32(at + fields.type, what),
    flags: elf.reader.u32(at + fields.flags, what),
    offset: elf.size(at + fields.offset, `${what} p_offset`),
    vaddr: elf.address(at + fields.vaddr, what),
    paddr: elf.address(at + fields.paddr, what),
    fileSizeBytes: elf.size(at + fields.filesz, `${what} p_filesz`),
    memorySizeBytes: elf.size(at + fields.memsz, `${what} p_memsz`),
    align: elf.address(at + fields.align, what),
  };
  if (header.type === SegmentType.PT_LOAD || header.type === SegmentType.PT_NOTE) {
    elf.reader.require(header.offset, header.fileSizeBytes, `ELF segment ${index}`);
  }
  if (header.type === SegmentType.PT_LOAD && header.memorySizeBytes < header.fileSizeBytes) {
    throw damagedImage(`${what} at offset ${hex(at)} has more bytes in the file than in memory`);
  }
  return header;
}

function readSections(elf: ElfReader): ElfSection[] {
  const { reader } = elf;
  const fields = FILE_HEADER[elf.width];
  const sectionFields = SECTION_HEADER[elf.width];
  const tableOffset = elf.size(fields.shoff, 'ELF e_shoff');
  if (tableOffset === 0) return [];
  const entrySizeBytes = reader.u16(fields.shentsize, 'ELF e_shentsize');
  let count = reader.u16(fields.shnum, 'ELF e_shnum');
  if (count === 0) count = elf.size(tableOffset + sectionFields.size, 'ELF sh_size of section 0');
  requireTable(elf, tableOffset, count, entrySizeBytes, sectionFields.sizeBytes, 'section header');
  if (count === 0) return [];
  let namesIndex = reader.u16(fields.shstrndx, 'ELF e_shstrndx');
  if (namesIndex === SHN_XINDEX) namesIndex = reader.u32(tableOffset + sectionFields.link, 'ELF sh_link of section 0');
  const names = sectionNames(elf, tableOffset, entrySizeBytes, count, namesIndex);
  return Array.from({ length: count }, (_, index) =>
    readSection(elf, tableOffset + index * entrySizeBytes, index, names),
  );
}

/** The section-name string table; SHN_UNDEF means that sections have no names. */
function sectionNames(elf: ElfReader, table: number, entry: number, count: number, index: number): ByteReader {
  if (index === 0) return new ByteReader(new Uint8Array(0));
  if (index >= count) throw damagedImage(`ELF e_shstrndx is ${index}, but there are ${count} sections`);
  const fields = SECTION_HEADER[elf.width];
  const offset = elf.size(table + index * entry + fields.offset, 'ELF section-name table offset');
  const size = elf.size(table + index * entry + fields.size, 'ELF section-name table size');
  return new ByteReader(elf.reader.slice(offset, size, 'ELF section-name table'));
}

const LONGEST_NAME_BYTES = 256;

function readSection(elf: ElfReader, at: number, index: number, names: ByteReader): ElfSection {
  const fields = SECTION_HEADER[elf.width];
  const what = `ELF section ${index}`;
  const nameOffset = elf.reader.u32(at + fields.name, what);
  const section: ElfSection = {
    name: names.sizeBytes === 0 ? '' : names.cString(nameOffset, LONGEST_NAME_BYTES, `${what} name`),
    type: elf.reader.u32(at + fields.type, what),
    flags: elf.address(at + fields.flags, what),
    address: elf.address(at + fields.addr, what),
    offset: elf.size(at + fields.offset, `${what} sh_offset`),
    sizeBytes: elf.size(at + fields.size, `${what} sh_size`),
  };
  const hasBytes = index > 0 && section.type !== 0 && section.type !== SectionType.SHT_NOBITS;
  if (hasBytes) elf.reader.require(section.offset, section.sizeBytes, `${what} (${printable(section.name)})`);
  return section;
}

import type { ElfImage, ElfSection } from '@polyvisor/plugin-api';
import { ByteReader } from './byte-reader.ts';
import { parseElf } from './elf.ts';
import { ElfMachine, ET_REL, FILE_HEADER, RELOCATION, SECTION_HEADER, SectionType, SYMBOL } from './elf-constants.ts';
import { damagedImage, printable, unsupportedImage } from './image-error.ts';

/** What an object may have at most; more is refused before it is read. */
const LIMITS = { sections: 4096, symbols: 1 << 16, relocations: 1 << 18, nameBytes: 512 } as const;

export interface ObjectSection extends ElfSection {
  readonly index: number;
  /** A power of two, 1 if the file says 0. */
  readonly alignBytes: number;
  /** Without those of a section that occupies no bytes of the file. */
  readonly bytes: Uint8Array;
  readonly relocations: readonly ObjectRelocation[];
}

export interface ObjectSymbol {
  readonly name: string;
  readonly binding: 'local' | 'global' | 'weak';
  /** The index of its section, or that it has none. */
  readonly place: number | 'undefined' | 'absolute' | 'common';
  /** Offset in its section; of `common` the alignment. */
  readonly value: bigint;
  readonly sizeBytes: bigint;
  /** STT_OBJECT: a variable. */
  readonly isVariable: boolean;
}

export interface ObjectRelocation {
  readonly offset: number;
  readonly type: number;
  /** Index into the symbols. */
  readonly symbol: number;
  /** `undefined`: what stands at the place (SHT_REL). */
  readonly addend: bigint | undefined;
}

/** A relocatable file: what `gcc -c` writes. */
export interface ElfObject {
  readonly class: 32 | 64;
  readonly sections: readonly ObjectSection[];
  readonly symbols: readonly ObjectSymbol[];
}

/** e_type says relocatable, whatever else the file holds. */
export function isElfObject(bytes: Uint8Array): boolean {
  return bytes.length > 18 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[16] === ET_REL && bytes[17] === 0;
}

/**
 * A relocatable file of ELF64 x86-64 or ELF32 i386 (gABI 4.1, chapter 4, "Sections", "Symbol Table", "Relocation").
 * Throws `PolyvisorError` PV2001 for what is damaged, PV2002 for what is well-formed and not for this reader.
 */
export function parseElfObject(bytes: Uint8Array): ElfObject {
  const elf = parseElf(bytes);
  const file = new ByteReader(bytes);
  refuseOthers(elf, file);
  const tables = elf.sections.map((_, index) => sectionLinks(elf, file, index));
  const symtabAt = elf.sections.findIndex(({ type }) => type === SectionType.SHT_SYMTAB);
  const symbols = symtabAt < 0 ? [] : readObjectSymbols(elf, file, symtabAt, tables[symtabAt].link);
  const relocations = readRelocations(elf, file, tables, symtabAt, symbols.length);
  const sections = elf.sections.map((section, index): ObjectSection => {
    const { alignBytes } = tables[index];
    const hasBytes = index > 0 && section.type !== 0 && section.type !== SectionType.SHT_NOBITS;
    const held = hasBytes ? file.slice(section.offset, section.sizeBytes, `section ${index}`) : bytes.subarray(0, 0);
    return { ...section, index, alignBytes, bytes: held, relocations: relocations.get(index) ?? [] };
  });
  return { class: elf.class, sections, symbols };
}

function refuseOthers(elf: ElfImage, file: ByteReader): void {
  const type = file.u16(16, 'ELF e_type');
  const fix = 'give an object as `gcc -c` writes it, for x86-64 or, with -m32, for i386';
  if (type !== ET_REL) throw unsupportedImage(`ELF file of type ${type}, not a relocatable object`, fix);
  const wanted = elf.class === 64 ? ElfMachine.EM_X86_64 : ElfMachine.EM_386;
  if (elf.machine !== wanted) throw unsupportedImage(`${elf.class}-bit ELF object for machine ${elf.machine}`, fix);
  if (elf.sections.length > LIMITS.sections) {
    throw unsupportedImage(`ELF object of ${elf.sections.length} sections, more than ${LIMITS.sections}`, fix);
  }
}

interface SectionLinks {
  readonly link: number;
  readonly info: number;
  readonly alignBytes: number;
}

function sectionLinks(elf: ElfImage, file: ByteReader, index: number): SectionLinks {
  const header = FILE_HEADER[elf.class];
  const fields = SECTION_HEADER[elf.class];
  const wide = elf.class === 64;
  const table = wide ? file.size64(header.shoff, 'ELF e_shoff') : file.u32(header.shoff, 'ELF e_shoff');
  const at = table + index * file.u16(header.shentsize, 'ELF e_shentsize');
  const align = wide
    ? file.size64(at + fields.addralign, 'ELF sh_addralign')
    : file.u32(at + fields.addralign, 'ELF sh_addralign');
  const alignBytes = Math.max(1, align);
  if (!Number.isInteger(Math.log2(alignBytes))) throw damagedImage(`ELF section ${index} is aligned to ${align} bytes`);
  return {
    link: file.u32(at + fields.link, 'ELF sh_link'),
    info: file.u32(at + fields.info, 'ELF sh_info'),
    alignBytes,
  };
}

const BINDINGS = ['local', 'global', 'weak'] as const;
const STB_GNU_UNIQUE = 10;
const STT_OBJECT = 1;
const SPECIAL_PLACES: Readonly<Record<number, 'undefined' | 'absolute' | 'common'>> = {
  0: 'undefined',
  65521: 'absolute',
  65522: 'common',
};
/** SHN_LORESERVE: indices from here on are no sections (gABI 4.1, figure 4-7). */
const RESERVED_PLACES = 0xff00;

function readObjectSymbols(elf: ElfImage, file: ByteReader, symtabAt: number, strtabAt: number): ObjectSymbol[] {
  const { offset, sizeBytes } = elf.sections[symtabAt];
  const strtab = elf.sections[strtabAt];
  if (!strtab)
    throw damagedImage(`the names of ELF section ${symtabAt} are in section ${strtabAt}, which is not there`);
  const names = new ByteReader(file.slice(strtab.offset, strtab.sizeBytes, 'ELF string table'));
  const fields = SYMBOL[elf.class];
  const count = Math.floor(sizeBytes / fields.sizeBytes);
  if (count > LIMITS.symbols) throw unsupportedImage(`ELF object of ${count} symbols`, 'split it');
  const wide = elf.class === 64;
  const word = (at: number) => (wide ? file.u64(at, 'ELF symbol') : BigInt(file.u32(at, 'ELF symbol')));
  return Array.from({ length: count }, (_, index): ObjectSymbol => {
    const at = offset + index * fields.sizeBytes;
    const info = file.u8(at + fields.info, 'ELF symbol');
    const binding = info >> 4;
    const shndx = file.u16(at + fields.shndx, 'ELF symbol');
    const name = names.cString(file.u32(at + fields.name, 'ELF symbol'), LIMITS.nameBytes, 'ELF symbol name');
    return {
      name,
      binding: BINDINGS[binding === STB_GNU_UNIQUE ? 1 : binding] ?? 'local',
      place: placeOf(shndx, elf.sections.length, name),
      value: word(at + fields.value),
      sizeBytes: word(at + fields.size),
      isVariable: (info & 15) === STT_OBJECT,
    };
  });
}

function placeOf(shndx: number, sectionCount: number, name: string): ObjectSymbol['place'] {
  const special = SPECIAL_PLACES[shndx];
  if (special) return special;
  if (shndx < RESERVED_PLACES && shndx < sectionCount) return shndx;
  throw damagedImage(`ELF symbol ${printable(name)} is in section ${shndx}, which is not there`);
}

type RelocationsBySection = ReadonlyMap<number, readonly ObjectRelocation[]>;

function readRelocations(
  elf: ElfImage,
  file: ByteReader,
  tables: readonly SectionLinks[],
  symtabAt: number,
  symbolCount: number,
): RelocationsBySection {
  const bySection = new Map<number, ObjectRelocation[]>();
  let total = 0;
  elf.sections.forEach(({ type, offset, sizeBytes }, index) => {
    if (type !== SectionType.SHT_RELA && type !== SectionType.SHT_REL) return;
    const { link, info } = tables[index];
    if (link !== symtabAt || !elf.sections[info])
      throw damagedImage(`ELF relocations in section ${index} belong to none`);
    const withAddends = type === SectionType.SHT_RELA;
    const fields = RELOCATION[elf.class];
    const entryBytes = withAddends ? fields.withAddend : fields.withoutAddend;
    const count = Math.floor(sizeBytes / entryBytes);
    total += count;
    if (total > LIMITS.relocations) throw unsupportedImage(`ELF object of ${total} relocations`, 'split it');
    const rows = bySection.get(info) ?? [];
    for (let row = 0; row < count; row++) {
      const relocation = readRelocation(elf.class, file, offset + row * entryBytes, withAddends);
      if (relocation.symbol >= symbolCount)
        throw damagedImage(`ELF relocation ${row} of section ${index} has no symbol`);
      rows.push(relocation);
    }
    bySection.set(info, rows);
  });
  return bySection;
}

function readRelocation(width: 32 | 64, file: ByteReader, at: number, withAddend: boolean): ObjectRelocation {
  const fields = RELOCATION[width];
  if (width === 32) {
    const info = file.u32(at + fields.info, 'ELF relocation');
    const addend = withAddend ? BigInt(file.u32(at + fields.addend, 'ELF relocation') | 0) : undefined;
    return { offset: file.u32(at, 'ELF relocation'), type: info & 0xff, symbol: info >>> 8, addend };
  }
  const info = file.u64(at + fields.info, 'ELF relocation');
  const addend = withAddend ? BigInt.asIntN(64, file.u64(at + fields.addend, 'ELF relocation')) : undefined;
  const offset = file.size64(at, 'ELF relocation');
  return { offset, type: Number(info & 0xffffffffn), symbol: Number(info >> 32n), addend };
}

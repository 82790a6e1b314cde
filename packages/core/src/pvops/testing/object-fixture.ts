import { FILE_HEADER, RELOCATION, SECTION_HEADER, SYMBOL } from '../../loader/image/elf-constants.ts';

export interface FixtureRelocation {
  readonly at: number;
  readonly type: number;
  /** Name of a symbol. */
  readonly symbol: string;
  /** `undefined` for all of a section: SHT_REL. */
  readonly addend?: number;
}

export interface FixtureSection {
  readonly name: string;
  /** SHF_WRITE 1, SHF_ALLOC 2, SHF_EXECINSTR 4; default 2. */
  readonly flags?: number;
  /** SHT_PROGBITS by default. */
  readonly type?: number;
  readonly bytes?: readonly number[] | Uint8Array;
  /** Of SHT_NOBITS. */
  readonly sizeBytes?: number;
  readonly alignBytes?: number;
  readonly relocations?: readonly FixtureRelocation[];
}

export interface FixtureSymbol {
  readonly name: string;
  /** Name of its section, or a section number of the ABI: 0 undefined, 0xfff1 absolute, 0xfff2 common. */
  readonly section: string | number;
  readonly value?: number;
  readonly sizeBytes?: number;
  readonly weak?: boolean;
  readonly isVariable?: boolean;
}

export interface ObjectOptions {
  readonly width?: 32 | 64;
  readonly sections: readonly FixtureSection[];
  readonly symbols?: readonly FixtureSymbol[];
}

interface Raw {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;
  readonly link: number;
  readonly info: number;
  readonly alignBytes: number;
}

/** A relocatable object (gABI 4.1, chapter 4), as a compiler would write it. */
export function buildObject({ width = 64, sections, symbols = [] }: ObjectOptions): Uint8Array {
  const raw: Raw[] = [empty()];
  for (const { name, type = 1, flags = 2, bytes = [], sizeBytes, alignBytes = 1 } of sections) {
    const content = Uint8Array.from(bytes);
    raw.push({ ...empty(), name, type, flags, bytes: content, sizeBytes: sizeBytes ?? content.length, alignBytes });
  }
  const symtab = raw.length + sections.filter(({ relocations }) => relocations).length;
  sections.forEach(({ name, relocations }, index) => {
    if (!relocations) return;
    const withAddends = relocations.some(({ addend }) => addend !== undefined);
    const bytes = relocationBytes(width, relocations, symbols, withAddends);
    const type = withAddends ? 4 : 9;
    raw.push({ ...empty(), name: `.rel${name}`, type, bytes, sizeBytes: bytes.length, link: symtab, info: index + 1 });
  });
  const names = stringTable(symbols.map(({ name }) => name));
  const table = symbolBytes(width, symbols, names.at, sections);
  raw.push({ ...empty(), name: '.symtab', type: 2, bytes: table, sizeBytes: table.length, link: symtab + 1 });
  raw.push({ ...empty(), name: '.strtab', type: 3, bytes: names.bytes, sizeBytes: names.bytes.length });
  return assemble(width, raw);
}

function empty(): Raw {
  const none = new Uint8Array(0);
  return { name: '', type: 0, flags: 0, bytes: none, sizeBytes: 0, link: 0, info: 0, alignBytes: 1 };
}

function stringTable(strings: readonly string[]): { bytes: Uint8Array; at: number[] } {
  const bytes: number[] = [0];
  const at = strings.map((text) => {
    bytes.push(...new TextEncoder().encode(text), 0);
    return bytes.length - text.length - 1;
  });
  return { bytes: Uint8Array.from(bytes), at };
}

function writer(width: 32 | 64, bytes: Uint8Array) {
  const view = new DataView(bytes.buffer);
  return {
    u8: (at: number, value: number) => view.setUint8(at, value),
    u16: (at: number, value: number) => view.setUint16(at, value, true),
    u32: (at: number, value: number) => view.setUint32(at, value, true),
    word: (at: number, value: bigint) =>
      width === 64
        ? view.setBigUint64(at, BigInt.asUintN(64, value), true)
        : view.setUint32(at, Number(BigInt.asUintN(32, value)), true),
  };
}

function symbolBytes(
  width: 32 | 64,
  symbols: readonly FixtureSymbol[],
  names: readonly number[],
  sections: readonly FixtureSection[],
): Uint8Array {
  const fields = SYMBOL[width];
  const bytes = new Uint8Array((symbols.length + 1) * fields.sizeBytes);
  const put = writer(width, bytes);
  symbols.forEach(({ section, value = 0, sizeBytes = 0, weak, isVariable }, index) => {
    const at = (index + 1) * fields.sizeBytes;
    put.u32(at + fields.name, names[index]);
    put.word(at + fields.value, BigInt(value));
    put.word(at + fields.size, BigInt(sizeBytes));
    put.u8(at + fields.info, ((weak ? 2 : 1) << 4) | (isVariable ? 1 : 0));
    const number = typeof section === 'number' ? section : sections.findIndex(({ name }) => name === section) + 1;
    put.u16(at + fields.shndx, number);
  });
  return bytes;
}

function relocationBytes(
  width: 32 | 64,
  relocations: readonly FixtureRelocation[],
  symbols: readonly FixtureSymbol[],
  withAddends: boolean,
): Uint8Array {
  const fields = RELOCATION[width];
  const entryBytes = withAddends ? fields.withAddend : fields.withoutAddend;
  const bytes = new Uint8Array(relocations.length * entryBytes);
  const put = writer(width, bytes);
  relocations.forEach(({ at, type, symbol, addend = 0 }, index) => {
    const row = index * entryBytes;
    const number = BigInt(symbols.findIndex(({ name }) => name === symbol) + 1);
    put.word(row, BigInt(at));
    put.word(row + fields.info, (number << (width === 64 ? 32n : 8n)) | BigInt(type));
    if (withAddends) put.word(row + fields.addend, BigInt(addend));
  });
  return bytes;
}

function assemble(width: 32 | 64, sections: readonly Raw[]): Uint8Array {
  const names = stringTable([...sections.map(({ name }) => name), '.shstrtab']);
  const all = [
    ...sections,
    { ...empty(), name: '.shstrtab', type: 3, bytes: names.bytes, sizeBytes: names.bytes.length },
  ];
  const header = FILE_HEADER[width];
  const fields = SECTION_HEADER[width];
  let end: number = header.sizeBytes;
  const offsets = all.map(({ bytes }) => {
    const at = Math.ceil(end / 16) * 16;
    end = at + bytes.length;
    return at;
  });
  const table = Math.ceil(end / 16) * 16;
  const file = new Uint8Array(table + all.length * fields.sizeBytes);
  const put = writer(width, file);
  file.set([0x7f, 0x45, 0x4c, 0x46, width === 64 ? 2 : 1, 1, 1]);
  put.u16(16, 1);
  put.u16(18, width === 64 ? 62 : 3);
  put.word(header.shoff, BigInt(table));
  put.u16(header.shentsize, fields.sizeBytes);
  put.u16(header.shnum, all.length);
  put.u16(header.shstrndx, all.length - 1);
  all.forEach((section, index) => {
    file.set(section.bytes, offsets[index]);
    const at = table + index * fields.sizeBytes;
    put.u32(at + fields.name, names.at[index]);
    put.u32(at + fields.type, section.type);
    put.word(at + fields.flags, BigInt(section.flags));
    put.word(at + fields.offset, BigInt(offsets[index]));
    put.word(at + fields.size, BigInt(section.sizeBytes));
    put.u32(at + fields.link, section.link);
    put.u32(at + fields.info, section.info);
    put.word(at + fields.addralign, BigInt(section.alignBytes));
  });
  return file;
}

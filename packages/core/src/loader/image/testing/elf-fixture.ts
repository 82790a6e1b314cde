import { FILE_HEADER, PROGRAM_HEADER, SECTION_HEADER, SYMBOL } from '../elf-constants.ts';

/** A note to be put into a fixture. */
export interface FixtureNote {
  readonly owner: string;
  readonly type: number;
  readonly desc: Uint8Array;
}

export interface FixtureOptions {
  readonly width?: 32 | 64;
  readonly notes?: readonly FixtureNote[];
  /** Put the notes into a PT_NOTE segment; otherwise only into a SHT_NOTE section. */
  readonly noteSegment?: boolean;
  readonly symbols?: readonly { readonly name: string; readonly address: number }[];
}

const LOAD_BYTES = 64;

/** Test images: an ELF file with one PT_LOAD, notes, and a symbol table. */
export function buildElf(options: FixtureOptions = {}): Uint8Array {
  const { width = 64, notes = [], noteSegment = true, symbols = [] } = options;
  const names = ['', '.text', '.note.Xen', '.symtab', '.strtab', '.shstrtab'];
  const contents = [
    new Uint8Array(0),
    new Uint8Array(LOAD_BYTES).fill(0x90),
    encodeNotes(notes),
    encodeSymbols(width, symbols),
    stringTable(['', ...symbols.map((symbol) => symbol.name)]),
    stringTable(names),
  ];
  const types = [0, 1, 7, 2, 3, 3];
  const phnum = noteSegment ? 2 : 1;
  const headersEnd = FILE_HEADER[width].sizeBytes + phnum * PROGRAM_HEADER[width].sizeBytes;
  const offsets: number[] = [];
  let at = headersEnd;
  for (const content of contents) {
    offsets.push(at);
    at += Math.ceil(content.length / 8) * 8;
  }
  const file = new Uint8Array(at + names.length * SECTION_HEADER[width].sizeBytes);
  const put = putter(file, width);
  contents.forEach((content, index) => file.set(content, offsets[index]));
  file.set([0x7f, 0x45, 0x4c, 0x46, width === 64 ? 2 : 1, 1, 1]);
  put.u16(18, width === 64 ? 62 : 3);
  const header = FILE_HEADER[width];
  put.word(header.entry, 0x100000);
  put.word(header.phoff, header.sizeBytes);
  put.word(header.shoff, at);
  put.u16(header.phentsize, PROGRAM_HEADER[width].sizeBytes);
  put.u16(header.phnum, phnum);
  put.u16(header.shentsize, SECTION_HEADER[width].sizeBytes);
  put.u16(header.shnum, names.length);
  put.u16(header.shstrndx, names.length - 1);
  const segments = [
    { type: 1, section: 1 },
    { type: 4, section: 2 },
  ].slice(0, phnum);
  segments.forEach(({ type, section }, index) => {
    const fields = PROGRAM_HEADER[width];
    const base = header.sizeBytes + index * fields.sizeBytes;
    put.u32(base + fields.type, type);
    put.word(base + fields.offset, offsets[section]);
    put.word(base + fields.vaddr, 0x100000);
    put.word(base + fields.paddr, 0x100000);
    put.word(base + fields.filesz, contents[section].length);
    put.word(base + fields.memsz, contents[section].length);
  });
  names.forEach((name, index) => {
    const fields = SECTION_HEADER[width];
    const base = at + index * fields.sizeBytes;
    put.u32(base + fields.name, stringOffset(names, name));
    put.u32(base + fields.type, types[index]);
    put.word(base + fields.offset, offsets[index]);
    put.word(base + fields.size, contents[index].length);
  });
  return file;
}

function putter(file: Uint8Array, width: 32 | 64) {
  const view = new DataView(file.buffer);
  const u32 = (offset: number, value: number) => view.setUint32(offset, value, true);
  return {
    u16: (offset: number, value: number) => view.setUint16(offset, value, true),
    u32,
    word: (offset: number, value: number) =>
      width === 64 ? view.setBigUint64(offset, BigInt(value), true) : u32(offset, value),
  };
}

function encodeNotes(notes: readonly FixtureNote[]): Uint8Array {
  const pad = (size: number) => Math.ceil(size / 4) * 4;
  const total = notes.reduce((sum, note) => sum + 12 + pad(note.owner.length + 1) + pad(note.desc.length), 0);
  const bytes = new Uint8Array(total);
  const put = putter(bytes, 32);
  let at = 0;
  for (const { owner, type, desc } of notes) {
    put.u32(at, owner.length + 1);
    put.u32(at + 4, desc.length);
    put.u32(at + 8, type);
    bytes.set(new TextEncoder().encode(owner), at + 12);
    bytes.set(desc, at + 12 + pad(owner.length + 1));
    at += 12 + pad(owner.length + 1) + pad(desc.length);
  }
  return bytes;
}

function encodeSymbols(width: 32 | 64, symbols: readonly { name: string; address: number }[]): Uint8Array {
  const fields = SYMBOL[width];
  const bytes = new Uint8Array(symbols.length * fields.sizeBytes);
  const put = putter(bytes, width);
  const names = ['', ...symbols.map((symbol) => symbol.name)];
  symbols.forEach(({ name, address }, index) => {
    const base = index * fields.sizeBytes;
    put.u32(base + fields.name, stringOffset(names, name));
    bytes[base + fields.info] = 2;
    put.u16(base + fields.shndx, 1);
    put.word(base + fields.value, address);
  });
  return bytes;
}

function stringTable(strings: readonly string[]): Uint8Array {
  return new TextEncoder().encode(strings.map((text) => `${text}\0`).join(''));
}

function stringOffset(strings: readonly string[], wanted: string): number {
  return strings.slice(0, strings.indexOf(wanted)).reduce((sum, text) => sum + text.length + 1, 0);
}

/**
 * The symbols of a kernel with the note BSD_SYMTAB, which it finds behind itself: a size in 32 bits, then an ELF file of three
 * sections, the empty one, the symbols and their names (layout of Xen's libelf since 4.7, elf_load_bsdsyms). What lies between
 * those is zero.
 */
import type { ElfImage, ElfSection } from '@polyvisor/plugin-api';

const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SIZE_BYTES = 4;
const SECTIONS = 3;
/** From the ELF header to the section headers, for both classes: the longer header's size. */
const SECTION_HEADERS_AT = 64;

/** Where fields are and how long structures are, by class (System V gABI, figures 4-3 and 4-8). */
const FORM = {
  32: { header: 52, section: 40, word: 4, shoff: 32, phentsize: 42, shentsize: 46, offset: 16, size: 20, link: 24 },
  64: { header: 64, section: 64, word: 8, shoff: 40, phentsize: 54, shentsize: 58, offset: 24, size: 32, link: 40 },
} as const;
type Form = (typeof FORM)[keyof typeof FORM];
/** Of a section header, in both classes. */
const SECTION_ADDRESS = { 4: 12, 8: 16 } as const;

/** `undefined`: the image has no table of symbols that lies in its file with its names. */
export function symbolsBehindKernel(elf: ElfImage): Uint8Array | undefined {
  const form = FORM[elf.class];
  const file = viewOf(elf.bytes);
  const headerOf = (index: number): number =>
    word(file, form.shoff, form) + index * file.getUint16(form.shentsize, true);
  const index = elf.sections.findIndex(({ type }) => type === SHT_SYMTAB);
  if (index < 0 || elf.bytes.length < form.header) return undefined;
  const at = headerOf(index);
  if (at + form.section > elf.bytes.length) return undefined;
  const link = file.getUint32(at + form.link, true);
  const [symbols, names] = [elf.sections[index], elf.sections[link]];
  if (names?.type !== SHT_STRTAB || headerOf(link) + form.section > elf.bytes.length) return undefined;
  if (![symbols, names].every((section) => isInFile(elf, section))) return undefined;
  return assemble(elf, form, [
    { ...symbols, header: at },
    { ...names, header: headerOf(link) },
  ]);
}

function assemble(
  elf: ElfImage,
  form: Form,
  tables: readonly (ElfSection & { readonly header: number })[],
): Uint8Array {
  const roundUp = (bytes: number) => Math.ceil(bytes / form.word) * form.word;
  const starts: number[] = [];
  let end = roundUp(SIZE_BYTES + SECTION_HEADERS_AT + SECTIONS * form.section);
  for (const { sizeBytes } of tables) {
    starts.push(end);
    end = roundUp(end + sizeBytes);
  }
  const result = new Uint8Array(end);
  const view = viewOf(result);
  view.setUint32(0, end - SIZE_BYTES, true);
  result.set(elf.bytes.subarray(0, form.header), SIZE_BYTES);
  const header = viewOf(result.subarray(SIZE_BYTES));
  // e_phoff stands before e_shoff; of e_phentsize, e_phnum, e_shentsize, e_shnum and e_shstrndx the first two and the last are none.
  setWord(header, form.shoff - form.word, 0, form);
  setWord(header, form.shoff, SECTION_HEADERS_AT, form);
  for (const [i, value] of [0, 0, form.section, SECTIONS, 0].entries())
    header.setUint16(form.phentsize + 2 * i, value, true);
  tables.forEach(({ header: from, offset, sizeBytes }, i) => {
    const to = SECTION_HEADERS_AT + (i + 1) * form.section;
    result.set(elf.bytes.subarray(from, from + form.section), SIZE_BYTES + to);
    // Names of sections are not taken along; the symbols' names are in the section behind them.
    header.setUint32(to, 0, true);
    setWord(header, to + SECTION_ADDRESS[form.word], 0, form);
    setWord(header, to + form.offset, starts[i] - SIZE_BYTES, form);
    header.setUint32(to + form.link, i === 0 ? 2 : 0, true);
    result.set(elf.bytes.subarray(offset, offset + sizeBytes), starts[i]);
  });
  return result;
}

const isInFile = ({ bytes }: ElfImage, { offset, sizeBytes }: ElfSection): boolean =>
  offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= bytes.length;
const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength);
const word = (view: DataView, at: number, form: Form): number =>
  form.word === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
function setWord(view: DataView, at: number, value: number, form: Form): void {
  if (form.word === 4) view.setUint32(at, value, true);
  else view.setBigUint64(at, BigInt(value), true);
}

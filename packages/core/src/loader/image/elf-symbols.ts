import type { ElfImage } from '@polyvisor/plugin-api';
import { ByteReader } from './byte-reader.ts';
import { SectionType, SYMBOL } from './elf-constants.ts';
import { readKallsyms } from './kallsyms.ts';
import type { SymbolEntry } from './symbol-table.ts';
import { SymbolTable } from './symbol-table.ts';

/** st_info type (low four bits): STT_NOTYPE, STT_OBJECT and STT_FUNC name addresses. */
const ADDRESS_TYPES = new Set([0, 1, 2]);
const SHN_UNDEF = 0;
const LONGEST_NAME_BYTES = 512;

/**
 * The named addresses of `.symtab` (gABI 4.1, chapter 4, "Symbol Table"); in a stripped Linux kernel
 * those of its own table; else none.
 * Throws `PolyvisorError` PV2001 if a name lies outside `.strtab`.
 */
export function readSymbols(elf: ElfImage): SymbolTable {
  const symtab = elf.sections.find((section) => section.type === SectionType.SHT_SYMTAB);
  const strtab = elf.section('.strtab');
  if (!symtab || !strtab) return new SymbolTable(readKallsyms(elf));
  const file = new ByteReader(elf.bytes);
  const table = new ByteReader(file.slice(symtab.offset, symtab.sizeBytes, 'ELF .symtab'));
  const names = new ByteReader(file.slice(strtab.offset, strtab.sizeBytes, 'ELF .strtab'));
  const fields = SYMBOL[elf.class];
  const entries: SymbolEntry[] = [];
  for (let at = 0; at + fields.sizeBytes <= table.sizeBytes; at += fields.sizeBytes) {
    if (!ADDRESS_TYPES.has(table.u8(at + fields.info, 'ELF symbol') & 15)) continue;
    if (table.u16(at + fields.shndx, 'ELF symbol') === SHN_UNDEF) continue;
    const wide = elf.class === 64;
    const address = wide
      ? table.u64(at + fields.value, 'ELF symbol')
      : BigInt(table.u32(at + fields.value, 'ELF symbol'));
    const name = names.cString(table.u32(at + fields.name, 'ELF symbol'), LONGEST_NAME_BYTES, 'ELF symbol name');
    if (name !== '') entries.push({ address, name });
  }
  return new SymbolTable(entries);
}

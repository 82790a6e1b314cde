import type { ElfImage } from '@polyvisor/plugin-api';
import { ByteReader } from './byte-reader.ts';
import { SectionType, SYMBOL } from './elf-constants.ts';
import { kallsymsInSteps } from './kallsyms.ts';
import { allAtOnce, type Steps } from './steps.ts';
import type { SymbolEntry } from './symbol-table.ts';
import { SymbolTable } from './symbol-table.ts';

/** st_info type (low four bits): STT_NOTYPE, STT_OBJECT and STT_FUNC name addresses. */
const ADDRESS_TYPES = new Set([0, 1, 2]);
const SHN_UNDEF = 0;
const LONGEST_NAME_BYTES = 512;
const ENTRIES_A_STEP = 256;

/**
 * The named addresses of `.symtab` (gABI 4.1, chapter 4, "Symbol Table"); in a stripped Linux kernel
 * those of its own table; else none.
 * Throws `PolyvisorError` PV2001 if a name lies outside `.strtab`.
 */
export function readSymbols(elf: ElfImage): SymbolTable {
  return allAtOnce(symbolsInSteps(elf));
}

/** {@link readSymbols} in steps. */
export function* symbolsInSteps(elf: ElfImage): Steps<SymbolTable> {
  const symtab = elf.sections.find((section) => section.type === SectionType.SHT_SYMTAB);
  const strtab = elf.section('.strtab');
  if (!symtab || !strtab) return yield* SymbolTable.ofSorted(yield* kallsymsInSteps(elf));
  const file = new ByteReader(elf.bytes);
  const table = new ByteReader(file.slice(symtab.offset, symtab.sizeBytes, 'ELF .symtab'));
  const names = new ByteReader(file.slice(strtab.offset, strtab.sizeBytes, 'ELF .strtab'));
  const fields = SYMBOL[elf.class];
  const entries: SymbolEntry[] = [];
  for (let at = 0; at + fields.sizeBytes <= table.sizeBytes; at += fields.sizeBytes) {
    if ((entries.length + 1) % ENTRIES_A_STEP === 0) yield;
    if (!ADDRESS_TYPES.has(table.u8(at + fields.info, 'ELF symbol') & 15)) continue;
    if (table.u16(at + fields.shndx, 'ELF symbol') === SHN_UNDEF) continue;
    const wide = elf.class === 64;
    const address = wide
      ? table.u64(at + fields.value, 'ELF symbol')
      : BigInt(table.u32(at + fields.value, 'ELF symbol'));
    const name = names.cString(table.u32(at + fields.name, 'ELF symbol'), LONGEST_NAME_BYTES, 'ELF symbol name');
    if (name !== '') entries.push({ address, name });
  }
  return yield* SymbolTable.ofSorted(yield* sortedByAddress(entries));
}

const byAddress = (a: SymbolEntry, b: SymbolEntry) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0);

/** Sorted runs, merged by twos; entries of one address stay in their order. */
function* sortedByAddress(entries: readonly SymbolEntry[]): Steps<readonly SymbolEntry[]> {
  let runs: SymbolEntry[][] = [];
  for (let first = 0; first < entries.length; first += ENTRIES_A_STEP) {
    yield;
    runs.push(entries.slice(first, first + ENTRIES_A_STEP).sort(byAddress));
  }
  while (runs.length > 1) {
    const merged: SymbolEntry[][] = [];
    for (let i = 0; i < runs.length; i += 2) merged.push(yield* merge(runs[i], runs[i + 1] ?? []));
    runs = merged;
  }
  return runs[0] ?? [];
}

function* merge(a: readonly SymbolEntry[], b: readonly SymbolEntry[]): Steps<SymbolEntry[]> {
  const merged: SymbolEntry[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if ((merged.length + 1) % ENTRIES_A_STEP === 0) yield;
    const takesFirst = j >= b.length || (i < a.length && byAddress(a[i], b[j]) <= 0);
    merged.push(takesFirst ? a[i++] : b[j++]);
  }
  return merged;
}

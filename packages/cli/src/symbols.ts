import { readSymbols, type SymbolTable } from '@polyvisor/core';
import type { ElfImage } from '@polyvisor/plugin-api';

/** Names for guest addresses, from an image whose symbols are read when the first name is asked for. */
export function lazySymbols(elf: ElfImage): (gva: bigint) => string | undefined {
  let table: SymbolTable | undefined;
  return (gva) => {
    try {
      table ??= readSymbols(elf);
      return table.lookup(gva);
    } catch {
      // A damaged symbol table is no reason for a report to fail.
      return undefined;
    }
  };
}

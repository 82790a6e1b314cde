export { parseElf } from './elf.ts';
export { readSymbols } from './elf-symbols.ts';
export type { UnpackProgress } from './recognise.ts';
export { recogniseImage } from './recognise.ts';
export type { SymbolEntry } from './symbol-table.ts';
export { SymbolTable } from './symbol-table.ts';

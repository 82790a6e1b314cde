import type { ElfImage, ElfSection } from '@polyvisor/plugin-api';

export type Width = 32 | 64;
const ALLOC = 2n;
const CODE = 6n;

/** Where the parts of the fixture's kernel are linked, above this. */
export const BASES = { 32: 0xc1000000n, 64: 0xffffffff81000000n } as const;
export const TEXT = 0x0n;
export const TEXT_BYTES = 0x400;
export const DATA = 0x10000n;
const KEYS = 0x18000n;
const INIT = 0x20000n;
/** Of the list of sites of static calls. */
const STATIC_SITES = INIT + 0xc000n;

/** A call site in the making: at an offset of .text, to a slot. */
export interface FixtureSite {
  readonly at: number;
  readonly slot: number;
  /** Written into the table instead of the slot; the instruction is the slot's all the same. */
  readonly type?: number;
  /** Instead of a call through the table; empty: nothing is written. */
  readonly code?: readonly number[];
}

export interface FixtureAlternative {
  readonly at: number;
  readonly feature: number;
  readonly flags?: number;
}

/** A static call in the making; places are offsets of .text. */
export interface FixtureStaticCall {
  readonly call: string;
  readonly target: number;
  readonly trampoline: number;
  /** Branches to the trampoline. */
  readonly sites?: readonly { readonly at: number; readonly opcode: 0xe8 | 0xe9 }[];
}

export interface KernelOptions {
  readonly width?: Width;
  /** What each slot points to: an offset in .text, or `null`. */
  readonly slots: readonly (number | null)[];
  /** Code by offset in .text. */
  readonly code?: Readonly<Record<number, readonly number[]>>;
  readonly parainstructions?: readonly FixtureSite[];
  readonly alternatives?: readonly FixtureAlternative[];
  /** Calls through the table that no .parainstructions list. */
  readonly calls?: readonly FixtureSite[];
  readonly alternativeBytes?: 12 | 13 | 14;
  readonly staticCalls?: readonly FixtureStaticCall[];
  readonly symbols?: Readonly<Record<string, bigint>>;
  readonly btf?: Uint8Array;
  /** Words after the table. */
  readonly after?: readonly bigint[];
}

/** A kernel file in the form in which the loader hands it over. */
export function buildKernel(options: KernelOptions): ElfImage {
  const { width = 64, slots, parainstructions = [], calls = [], alternatives = [], after = [] } = options;
  const { staticCalls = [] } = options;
  const base = BASES[width];
  const wordBytes = width / 8;
  const text = new Uint8Array(TEXT_BYTES).fill(0xcc);
  for (const [at, code] of Object.entries(options.code ?? {})) text.set(code, Number(at));
  for (const { at, slot, code = callThrough(width, at, slot) } of [...parainstructions, ...calls]) {
    if (code.length > 0) text.set(code, at);
  }
  for (const { target, trampoline, sites = [] } of staticCalls) {
    text.set(rel32(0xe9, trampoline, target), trampoline);
    for (const { at, opcode } of sites) text.set(rel32(opcode, at, trampoline), at);
  }
  const words = [...slots.map((slot) => (slot === null ? 0n : base + TEXT + BigInt(slot))), ...after];
  const sections: [name: string, type: number, flags: bigint, address: bigint, bytes: Uint8Array][] = [
    ['.text', 1, CODE, base + TEXT, text],
    ['.data', 1, ALLOC, base + DATA, wordsOf(wordBytes, words)],
    ['.altinstr_replacement', 1, CODE, base + INIT + 0x8000n, new Uint8Array(64).fill(0x90)],
  ];
  if (parainstructions.length > 0) {
    sections.push(['.parainstructions', 1, ALLOC, base + INIT, siteTable(width, parainstructions)]);
  }
  if (alternatives.length > 0) {
    const rows = alternativeTable(options.alternativeBytes ?? 14, alternatives);
    sections.push(['.altinstructions', 1, ALLOC, base + INIT + 0x4000n, rows]);
  }
  if (staticCalls.length > 0) {
    const keys = staticCalls.flatMap(({ target }) => [base + TEXT + BigInt(target), 1n]);
    sections.push(['.keys', 1, ALLOC, base + KEYS, wordsOf(wordBytes, keys)]);
    sections.push(['.static_call_sites', 1, ALLOC, base + STATIC_SITES, staticSites(wordBytes, staticCalls)]);
  }
  if (options.btf) sections.push(['.BTF', 1, ALLOC, base + 0x30000n, options.btf]);
  const { symtab, strtab } = symbolTable(width, options.symbols ?? {});
  sections.push(['.symtab', 2, 0n, 0n, symtab], ['.strtab', 3, 0n, 0n, strtab]);
  return image(width, sections);
}

function image(width: Width, parts: readonly [string, number, bigint, bigint, Uint8Array][]): ElfImage {
  const bytes = new Uint8Array(parts.reduce((sum, [, , , , part]) => sum + part.length, 0));
  let at = 0;
  const sections = parts.map(([name, type, flags, address, part]): ElfSection => {
    bytes.set(part, at);
    at += part.length;
    return { name, type, flags, address, offset: at - part.length, sizeBytes: part.length };
  });
  return {
    ...{ bytes, class: width, machine: width === 64 ? 62 : 3, entry: 0n, programHeaders: [], sections, notes: [] },
    section: (name) => sections.find((section) => section.name === name),
  };
}

/** CALL through memory: relative to RIP in 64-bit code, absolute in 32-bit code (SDM vol. 2A, "CALL", FF /2). */
function callThrough(width: Width, at: number, slot: number): number[] {
  const base = BASES[width];
  const pointer = base + DATA + BigInt(slot * (width / 8));
  const operand = width === 64 ? pointer - (base + TEXT + BigInt(at + 6)) : pointer;
  return [0xff, 0x15, ...bytesOf(operand, 4)];
}

function bytesOf(value: bigint, sizeBytes: number): number[] {
  return Array.from({ length: sizeBytes }, (_, i) => Number((BigInt.asUintN(64, value) >> BigInt(i * 8)) & 0xffn));
}
function wordsOf(wordBytes: number, words: readonly bigint[]): Uint8Array {
  return Uint8Array.from(words.flatMap((word) => bytesOf(word, wordBytes)));
}

function siteTable(width: Width, sites: readonly FixtureSite[]): Uint8Array {
  const wordBytes = width / 8;
  const rows = sites.flatMap(({ at, slot, type = slot }) => {
    const row = [...bytesOf(BASES[width] + TEXT + BigInt(at), wordBytes), type, 6];
    return [...row, ...Array(2 * wordBytes - row.length).fill(0)];
  });
  return Uint8Array.from(rows);
}

/** Rows of struct alt_instr in one of its shapes; offsets are relative to their own place. */
function alternativeTable(rowBytes: 12 | 13 | 14, rows: readonly FixtureAlternative[]): Uint8Array {
  const bytes = rows.flatMap(({ at, feature, flags = 0 }, index) => {
    const here = INIT + 0x4000n + BigInt(index * rowBytes);
    const row = [
      ...bytesOf(TEXT + BigInt(at) - here, 4),
      ...bytesOf(INIT + 0x8000n - (here + 4n), 4),
      ...bytesOf(BigInt(feature), 2),
      ...(rowBytes === 14 ? bytesOf(BigInt(flags), 2) : []),
      ...[6, 5],
    ];
    return [...row, ...Array(rowBytes - row.length).fill(0)];
  });
  return Uint8Array.from(bytes);
}

/** CALL or JMP rel32 from one offset of .text to another. */
export function rel32(opcode: number, from: number, to: number): number[] {
  return [opcode, ...bytesOf(BigInt(to - from - 5), 4)];
}

/** Rows of struct static_call_site: offsets from their own place to the site and to the key, here with the flag of a tail call. */
function staticSites(wordBytes: number, calls: readonly FixtureStaticCall[]): Uint8Array {
  const all = calls.flatMap(({ sites = [] }, number) => sites.map((site) => ({ ...site, number })));
  const rows = all.flatMap(({ at, opcode, number }, row) => {
    const here = STATIC_SITES + BigInt(row * 8);
    const key = KEYS + BigInt(number * 2 * wordBytes);
    return [...bytesOf(TEXT + BigInt(at) - here, 4), ...bytesOf((key | (opcode === 0xe9 ? 1n : 0n)) - (here + 4n), 4)];
  });
  return Uint8Array.from(rows);
}

/** What a kernel's symbols say of its static calls; `listed`: where their sites are told, and not only the trampolines. */
export function staticCallSymbols(
  width: Width,
  calls: readonly FixtureStaticCall[],
  listed = true,
): Record<string, bigint> {
  const rows = calls.reduce((sum, { sites = [] }) => sum + sites.length, 0);
  const named = calls.map(({ call, trampoline }, number): [string, bigint][] => [
    [`__SCT__${call}`, BigInt(trampoline)],
    ...(listed ? [[`__SCK__${call}`, KEYS + BigInt((number * 2 * width) / 8)] as [string, bigint]] : []),
  ]);
  const list = { __start_static_call_sites: STATIC_SITES, __stop_static_call_sites: STATIC_SITES + BigInt(rows * 8) };
  return { ...Object.fromEntries(named.flat()), ...(listed && list) };
}

/** gABI 4.1, chapter 4, "Symbol Table". */
function symbolTable(width: Width, symbols: Readonly<Record<string, bigint>>) {
  const strtab: number[] = [0];
  const rows = Object.entries(symbols).map(([name, offset]) => {
    const at = strtab.length;
    strtab.push(...new TextEncoder().encode(name), 0);
    const address = BASES[width] + offset;
    return width === 64
      ? [...bytesOf(BigInt(at), 4), 1, 0, 1, 0, ...bytesOf(address, 8), ...Array(8).fill(0)]
      : [...bytesOf(BigInt(at), 4), ...bytesOf(address, 4), ...Array(4).fill(0), 1, 0, 1, 0];
  });
  return { symtab: Uint8Array.from(rows.flat()), strtab: Uint8Array.from(strtab) };
}

import type { ElfImage } from '@polyvisor/plugin-api';
import { ByteReader } from './byte-reader.ts';
import type { SymbolEntry } from './symbol-table.ts';

/**
 * The symbol table that a Linux kernel carries for its own use (CONFIG_KALLSYMS; written by the
 * kernel's scripts/kallsyms.c, read by its kernel/kallsyms.c). A distribution's kernel is stripped of
 * ELF symbols, but not of these. The tables have no header, so they are found by their shape:
 * a table of 256 strings ("tokens") with an index that must agree with it; before it a count, so many
 * names made of tokens, and one offset per 256 names ("markers") that must agree with these.
 *
 * NOT IMPLEMENTED: 32-bit kernels, and tables of absolute addresses (before Linux 4.6).
 */
export function readKallsyms(elf: ElfImage): SymbolEntry[] {
  const section = elf.section('.rodata');
  if (elf.class !== 64 || !section) return [];
  const area = new ByteReader(new ByteReader(elf.bytes).slice(section.offset, section.sizeBytes, 'ELF .rodata'));
  const tokens = findTokens(area);
  const names = tokens && findNames(area, tokens);
  if (!tokens || !names) return [];
  const addresses = readAddresses(area, tokens, names);
  if (!addresses) return [];
  const texts = readNames(area, tokens, names);
  // Per-CPU symbols are offsets, and would give names to user space.
  return texts
    .map((name, index) => ({ name, address: addresses[index] }))
    .filter((entry) => entry.address >= LOWEST_KERNEL_ADDRESS);
}

const TOKENS = 256;
/** Digits are seldom worth a token of their own making, so each stands for itself in a row. */
const DIGITS = [...'0123456789'].flatMap((digit) => [digit.charCodeAt(0), 0]);
const FIRST_DIGIT_TOKEN = 0x30;
const LONGEST_TOKEN_TABLE_BYTES = 16 * 1024;
const NAMES_PER_MARKER = 256;
const LONGEST_NAME_BYTES = 512;
const FEWEST_NAMES = 16;
const MOST_NAMES = 1 << 21;
/** A hostile image must not make the search long: places looked at, and names walked in all. */
const MOST_TOKEN_TABLES = 1000;
const MOST_NAMES_WALKED = 1 << 25;
const LOWEST_KERNEL_ADDRESS = 0xffff_8000_0000_0000n;

interface Tokens {
  readonly tableAt: number;
  readonly texts: readonly string[];
  /** First byte after the token index. */
  readonly end: number;
}

interface Names {
  readonly countAt: number;
  readonly at: number;
  readonly count: number;
}

function align8(offset: number): number {
  return Math.ceil(offset / 8) * 8;
}

function findTokens(area: ByteReader): Tokens | undefined {
  const { bytes } = area;
  let tried = 0;
  for (let at = bytes.indexOf(DIGITS[0]); at >= 0; at = bytes.indexOf(DIGITS[0], at + 1)) {
    if (!DIGITS.every((byte, index) => bytes[at + index] === byte)) continue;
    if (++tried > MOST_TOKEN_TABLES) return undefined;
    const tokens = tokensAround(area, at);
    if (tokens) return tokens;
  }
  return undefined;
}

/** The table in which the token for "0" lies at `digitsAt`, if its index agrees. */
function tokensAround(area: ByteReader, digitsAt: number): Tokens | undefined {
  const { bytes } = area;
  let start = digitsAt - 1;
  for (let token = 0; token < FIRST_DIGIT_TOKEN && start > 0; token++) {
    do start--;
    while (start > 0 && bytes[start] !== 0 && digitsAt - start < LONGEST_TOKEN_TABLE_BYTES);
  }
  // The table is aligned, so that zeros of padding may stand before it.
  const tableAt = start + 1;
  const texts: string[] = [];
  const offsets: number[] = [];
  let at = tableAt;
  while (texts.length < TOKENS && at < bytes.length && at - tableAt < LONGEST_TOKEN_TABLE_BYTES) {
    const text = area.cString(at, LONGEST_NAME_BYTES, 'kallsyms token');
    offsets.push(at - tableAt);
    texts.push(text);
    at += text.length + 1;
  }
  const indexAt = align8(at);
  if (texts.length < TOKENS || indexAt + TOKENS * 2 > bytes.length) return undefined;
  const agrees = offsets.every((offset, token) => area.u16(indexAt + token * 2, 'kallsyms index') === offset);
  return agrees ? { tableAt, texts, end: indexAt + TOKENS * 2 } : undefined;
}

/** The nearest count before the tokens that is followed by so many names and then by their markers. */
function findNames(area: ByteReader, tokens: Tokens): Names | undefined {
  const budget = { names: MOST_NAMES_WALKED };
  for (let at = tokens.tableAt - (tokens.tableAt % 8) - 8; at >= 0 && budget.names > 0; at -= 8) {
    const count = area.u32(at, 'kallsyms count');
    // Padding follows the count.
    if (count < FEWEST_NAMES || count > MOST_NAMES || area.u32(at + 4, 'kallsyms count') !== 0) continue;
    const names = { countAt: at, at: at + 8, count };
    if (namesFit(area, names, tokens.tableAt, budget)) return names;
  }
  return undefined;
}

/** Whether the names end before `limit` and markers that agree with them follow. */
function namesFit(area: ByteReader, names: Names, limit: number, budget: { names: number }): boolean {
  const markers: number[] = [];
  let at = names.at;
  for (let index = 0; index < names.count; index++) {
    if (index % NAMES_PER_MARKER === 0) markers.push(at - names.at);
    const { headBytes, length } = nameHead(area, at);
    at += headBytes + length;
    if (length === 0 || at >= limit || --budget.names < 0) return false;
  }
  const markersAt = align8(at);
  if (markersAt + markers.length * 4 > limit) return false;
  return markers.every((marker, index) => area.u32(markersAt + index * 4, 'kallsyms marker') === marker);
}

/** A name's length in tokens: one byte, or since Linux 6.1 two, seven bits each, if the top bit is set. */
function nameHead(area: ByteReader, at: number): { headBytes: number; length: number } {
  const first = area.u8(at, 'kallsyms name');
  if (first < 0x80) return { headBytes: 1, length: first };
  return { headBytes: 2, length: (first & 0x7f) | (area.u8(at + 1, 'kallsyms name') << 7) };
}

/** The names, without the letter for the symbol's type that stands before each. */
function readNames(area: ByteReader, tokens: Tokens, names: Names): string[] {
  const texts: string[] = [];
  let at = names.at;
  for (let index = 0; index < names.count; index++) {
    const { headBytes, length } = nameHead(area, at);
    let text = '';
    for (let token = 0; token < length; token++) text += tokens.texts[area.bytes[at + headBytes + token]];
    texts.push(text.slice(1));
    at += headBytes + length;
  }
  return texts;
}

/** One 32-bit offset per name with a base: before the count, or, since Linux 6.4, after the tokens. */
function readAddresses(area: ByteReader, tokens: Tokens, names: Names): bigint[] | undefined {
  const sizeBytes = align8(names.count * 4);
  const layouts = [
    { offsetsAt: names.countAt - 8 - sizeBytes, baseAt: names.countAt - 8 },
    { offsetsAt: align8(tokens.end), baseAt: align8(tokens.end) + sizeBytes },
  ];
  for (const { offsetsAt, baseAt } of layouts) {
    if (offsetsAt < 0 || baseAt + 8 > area.sizeBytes) continue;
    const base = area.u64(baseAt, 'kallsyms base');
    if (base >= LOWEST_KERNEL_ADDRESS) return addressesFrom(area, offsetsAt, names.count, base);
  }
  return undefined;
}

/**
 * With per-CPU symbols kept absolute (CONFIG_KALLSYMS_ABSOLUTE_PERCPU) an offset below zero counts
 * down from `base - 1` and any other is an address; without, all are added to the base.
 */
function addressesFrom(area: ByteReader, offsetsAt: number, count: number, base: bigint): bigint[] {
  const offsets = Array.from({ length: count }, (_, index) => area.u32(offsetsAt + index * 4, 'kallsyms offset') | 0);
  const countsDown = offsets.some((offset) => offset < 0);
  return offsets.map((offset) => {
    if (!countsDown) return base + BigInt(offset);
    return offset < 0 ? base - 1n - BigInt(offset) : BigInt(offset);
  });
}

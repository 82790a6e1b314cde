import type { ElfImage } from '@polyvisor/plugin-api';
import { ByteReader } from './byte-reader.ts';
import { allAtOnce, type Steps } from './steps.ts';
import type { SymbolEntry } from './symbol-table.ts';

/**
 * The symbol table that a Linux kernel carries for its own use (CONFIG_KALLSYMS; written by the
 * kernel's scripts/kallsyms.c, read by its kernel/kallsyms.c). A distribution's kernel is stripped of
 * ELF symbols, but not of these. The tables have no header, so they are found by their shape:
 * a table of 256 strings ("tokens") with an index that must agree with it; before it a count, so many
 * names made of tokens, and one offset per 256 names ("markers") that must agree with these. Each table is
 * aligned to the kernel's word.
 */
export function readKallsyms(elf: ElfImage): SymbolEntry[] {
  return allAtOnce(kallsymsInSteps(elf));
}

/** {@link readKallsyms} in steps: sorted by address. */
export function* kallsymsInSteps(elf: ElfImage): Steps<SymbolEntry[]> {
  const section = elf.section('.rodata');
  if (!section) return [];
  const reader = new ByteReader(new ByteReader(elf.bytes).slice(section.offset, section.sizeBytes, 'ELF .rodata'));
  const area: Area = { reader, ...(elf.class === 64 ? WORDS_64 : WORDS_32) };
  const tokens = yield* findTokens(area);
  const names = tokens && (yield* findNames(area, tokens));
  if (!tokens || !names) return [];
  const addresses = yield* readAddresses(area, tokens, names);
  return addresses ? yield* readEntries(area, tokens, names, addresses) : [];
}

/** How many names, words of a table or places of a search a step takes. */
const NAMES_A_STEP = 256;
const WORDS_A_STEP = 2048;
const PLACES_A_STEP = 512;

/** Where to look, and how wide the kernel's words are. */
interface Area {
  readonly reader: ByteReader;
  readonly wordBytes: 4 | 8;
  /** Start of the kernel's half of the address space; on i386 the lowest that CONFIG_VMSPLIT can put it. */
  readonly lowestAddress: bigint;
}
const WORDS_64 = { wordBytes: 8, lowestAddress: 0xffff_8000_0000_0000n } as const;
const WORDS_32 = { wordBytes: 4, lowestAddress: 0x4000_0000n } as const;

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

function align(area: Area, offset: number): number {
  return Math.ceil(offset / area.wordBytes) * area.wordBytes;
}
function word(area: Area, offset: number, what: string): bigint {
  return area.wordBytes === 8 ? area.reader.u64(offset, what) : BigInt(area.reader.u32(offset, what));
}

function* findTokens(area: Area): Steps<Tokens | undefined> {
  const { bytes } = area.reader;
  let tried = 0;
  let looked = 0;
  for (let at = bytes.indexOf(DIGITS[0]); at >= 0; at = bytes.indexOf(DIGITS[0], at + 1)) {
    if (++looked % PLACES_A_STEP === 0) yield;
    if (!DIGITS.every((byte, index) => bytes[at + index] === byte)) continue;
    if (++tried > MOST_TOKEN_TABLES) return undefined;
    const tokens = tokensAround(area, at);
    if (tokens) return tokens;
  }
  return undefined;
}

/** The table in which the token for "0" lies at `digitsAt`, if its index agrees. */
function tokensAround(area: Area, digitsAt: number): Tokens | undefined {
  const { bytes } = area.reader;
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
    const text = area.reader.cString(at, LONGEST_NAME_BYTES, 'kallsyms token');
    offsets.push(at - tableAt);
    texts.push(text);
    at += text.length + 1;
  }
  const indexAt = align(area, at);
  if (texts.length < TOKENS || indexAt + TOKENS * 2 > bytes.length) return undefined;
  const agrees = offsets.every((offset, token) => area.reader.u16(indexAt + token * 2, 'kallsyms index') === offset);
  return agrees ? { tableAt, texts, end: indexAt + TOKENS * 2 } : undefined;
}

/** The nearest count before the tokens that is followed by so many names and then by their markers. */
function* findNames(area: Area, tokens: Tokens): Steps<Names | undefined> {
  const { reader, wordBytes } = area;
  const budget = { names: MOST_NAMES_WALKED };
  const last = tokens.tableAt - (tokens.tableAt % wordBytes) - wordBytes;
  let looked = 0;
  for (let at = last; at >= 0 && budget.names > 0; at -= wordBytes) {
    if (++looked % PLACES_A_STEP === 0) yield;
    const count = reader.u32(at, 'kallsyms count');
    // In a wider word, padding follows the count.
    if (count < FEWEST_NAMES || count > MOST_NAMES || word(area, at, 'kallsyms count') !== BigInt(count)) continue;
    const names = { countAt: at, at: at + wordBytes, count };
    if (yield* namesFit(area, names, tokens.tableAt, budget)) return names;
  }
  return undefined;
}

/** Whether the names end before `limit` and markers that agree with them follow. */
function* namesFit(area: Area, names: Names, limit: number, budget: { names: number }): Steps<boolean> {
  const markers: number[] = [];
  let at = names.at;
  for (let index = 0; index < names.count; index++) {
    if (index % NAMES_PER_MARKER === 0) markers.push(at - names.at);
    if ((index + 1) % WORDS_A_STEP === 0) yield;
    const { headBytes, length } = nameHead(area.reader, at);
    at += headBytes + length;
    if (length === 0 || at >= limit || --budget.names < 0) return false;
  }
  const markersAt = align(area, at);
  if (markersAt + markers.length * 4 > limit) return false;
  return markers.every((marker, index) => area.reader.u32(markersAt + index * 4, 'kallsyms marker') === marker);
}

/** A name's length in tokens: one byte, or since Linux 6.1 two, seven bits each, if the top bit is set. */
function nameHead(reader: ByteReader, at: number): { headBytes: number; length: number } {
  const first = reader.u8(at, 'kallsyms name');
  if (first < 0x80) return { headBytes: 1, length: first };
  return { headBytes: 2, length: (first & 0x7f) | (reader.u8(at + 1, 'kallsyms name') << 7) };
}

/**
 * The names, without the letter for the symbol's type that stands before each; less per-CPU symbols, which are offsets, and would
 * give names to user space.
 */
function* readEntries(
  { reader, lowestAddress }: Area,
  tokens: Tokens,
  names: Names,
  addresses: BigUint64Array,
): Steps<SymbolEntry[]> {
  const entries: SymbolEntry[] = [];
  let at = names.at;
  for (let index = 0; index < names.count; index++) {
    if ((index + 1) % NAMES_A_STEP === 0) yield;
    const { headBytes, length } = nameHead(reader, at);
    let text = '';
    for (let token = 0; token < length; token++) text += tokens.texts[reader.bytes[at + headBytes + token]];
    at += headBytes + length;
    if (addresses[index] >= lowestAddress) entries.push({ name: text.slice(1), address: addresses[index] });
  }
  return entries;
}

/**
 * One 32-bit offset per name with a base: before the count, or, since Linux 6.4, after the tokens. Before Linux 4.6,
 * or without CONFIG_KALLSYMS_BASE_RELATIVE, one whole address per name before the count. Which it is shows in that the
 * names are sorted by address.
 */
function* readAddresses(area: Area, tokens: Tokens, names: Names): Steps<BigUint64Array | undefined> {
  const { wordBytes } = area;
  const offsetsBytes = align(area, names.count * 4);
  const afterTokens = align(area, tokens.end);
  const layouts = [
    { offsetsAt: names.countAt - wordBytes - offsetsBytes, baseAt: names.countAt - wordBytes },
    { offsetsAt: afterTokens, baseAt: afterTokens + offsetsBytes },
  ];
  for (const { offsetsAt, baseAt } of layouts) {
    if (offsetsAt < 0 || baseAt + wordBytes > area.reader.sizeBytes) continue;
    const base = word(area, baseAt, 'kallsyms base');
    if (base < area.lowestAddress) continue;
    const addresses = yield* addressesFrom(area, offsetsAt, names.count, base);
    if (yield* ascend(addresses)) return addresses;
  }
  const tableAt = names.countAt - names.count * wordBytes;
  if (tableAt < 0) return undefined;
  const addresses = new BigUint64Array(names.count);
  for (let index = 0; index < names.count; index++) {
    if ((index + 1) % WORDS_A_STEP === 0) yield;
    addresses[index] = word(area, tableAt + index * wordBytes, 'kallsyms address');
  }
  return (yield* ascend(addresses)) ? addresses : undefined;
}

function* ascend(addresses: BigUint64Array): Steps<boolean> {
  for (let index = 1; index < addresses.length; index++) {
    if (index % WORDS_A_STEP === 0) yield;
    if (addresses[index] < addresses[index - 1]) return false;
  }
  return true;
}

/**
 * With per-CPU symbols kept absolute (CONFIG_KALLSYMS_ABSOLUTE_PERCPU) an offset below zero counts
 * down from `base - 1` and any other is an address; without, all are added to the base.
 */
function* addressesFrom({ reader }: Area, offsetsAt: number, count: number, base: bigint): Steps<BigUint64Array> {
  const offsets = new Int32Array(count);
  let countsDown = false;
  for (let index = 0; index < count; index++) {
    if ((index + 1) % WORDS_A_STEP === 0) yield;
    offsets[index] = reader.u32(offsetsAt + index * 4, 'kallsyms offset');
    countsDown ||= offsets[index] < 0;
  }
  const addresses = new BigUint64Array(count);
  for (let index = 0; index < count; index++) {
    if ((index + 1) % WORDS_A_STEP === 0) yield;
    const offset = BigInt(offsets[index]);
    if (!countsDown) addresses[index] = base + offset;
    else addresses[index] = offset < 0n ? base - 1n - offset : offset;
  }
  return addresses;
}

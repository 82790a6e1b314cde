import type { SecondLevelAccess } from '@polyvisor/plugin-api';
import { FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NestedPageTables, type NestedPagingMode, NpfCode } from './nested-paging.ts';

const MEMORY = 0x8000;
const ROOT = 0x1000;
const TABLES = [0x1000n, 0x2000n, 0x3000n, 0x4000n];
const P = 1n;
const RW = 2n;
const US = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const G = 0x100n;
const NX = 1n << 63n;
const ALL = P | RW | US;

type Answer = { readonly page: bigint } | { readonly errorCode: number };

const field = (value: bigint, high: number, low: number) =>
  (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
const isWrite = (access: SecondLevelAccess) => access === 'write' || access === 'table';

/** Nested paging in the manual's words (15.25, 5.2 to 5.4), on memory that it changes; slowly. */
function reference(memory: FakeMemory, mode: NestedPagingMode, page: bigint, access: SecondLevelAccess): Answer {
  const fetch = access === 'execute' && mode.fetchesAreTold ? 16 : 0;
  const fault = (present: boolean, reserved: boolean): Answer => ({
    errorCode: (present ? 1 : 0) | (isWrite(access) ? 2 : 0) | 4 | (reserved ? 8 : 0) | fetch,
  });
  const gpa = page << 12n;
  if (gpa >> (mode.levels === 'four' ? 40n : 32n) !== 0n) return fault(false, false);
  const entryBytes = mode.levels === 'legacy' ? 4n : 8n;
  const read = (at: bigint) =>
    entryBytes === 4n ? BigInt(memory.read32(Number(at)) >>> 0) : memory.read64(Number(at));
  const set = (at: bigint, bits: bigint) => memory.write8(Number(at), Number((read(at) | bits) & 0xffn));
  const indexBits = mode.levels === 'legacy' ? 10n : 9n;
  let table =
    BigInt(mode.nCr3) & (mode.levels === 'pae' ? 0xffff_ffe0n : mode.levels === 'four' ? ~0xfffn : 0xffff_f000n);
  let [isWritable, isUser, isExecutable] = [true, true, true];
  for (let level = { legacy: 2n, pae: 3n, four: 4n }[mode.levels]; ; level--) {
    const shift = 12n + indexBits * (level - 1n);
    const at = table + ((gpa >> shift) & ((1n << indexBits) - 1n)) * entryBytes;
    if (at + entryBytes > BigInt(MEMORY)) return fault(false, false);
    const entry = read(at);
    if ((entry & P) === 0n) return fault(false, false);
    const isPdpe = mode.levels === 'pae' && level === 3n;
    const mayBePage =
      level === 1n || (level === 2n && (mode.levels !== 'legacy' || mode.pageSizeExtensions)) || level === 3n;
    const isPage = !isPdpe && mayBePage && (level === 1n || (entry & PS) !== 0n);
    if (isReserved(entry, mode, level, isPage)) return fault(true, true);
    if (!isPdpe) {
      isWritable &&= (entry & RW) !== 0n;
      isUser &&= (entry & US) !== 0n;
      if (mode.levels !== 'legacy') isExecutable &&= (entry & NX) === 0n;
    }
    if (!isPage) {
      if (!isPdpe) set(at, A);
      table = field(entry, 39, 12) << 12n;
      continue;
    }
    if (!isUser || (isWrite(access) && !isWritable) || (access === 'execute' && !isExecutable))
      return fault(true, false);
    set(at, isWrite(access) ? A | D : A);
    const base =
      mode.levels === 'legacy' && level === 2n
        ? (field(entry, 20, 13) << 32n) | (field(entry, 31, 22) << 22n)
        : (field(entry, 39, 12) << 12n) & ~((1n << shift) - 1n);
    return { page: (base | (gpa & ((1n << shift) - 1n))) >> 12n };
  }
}

function isReserved(entry: bigint, mode: NestedPagingMode, level: bigint, isPage: boolean): boolean {
  if (mode.levels === 'legacy') return level === 2n && isPage && field(entry, 21, 21) !== 0n;
  if (field(entry, 51, 40) !== 0n) return true;
  if (mode.levels === 'pae' && field(entry, 62, 52) !== 0n) return true;
  if (mode.levels === 'pae' && level === 3n) {
    return field(entry, 63, 63) !== 0n || field(entry, 8, 5) !== 0n || field(entry, 2, 1) !== 0n;
  }
  if ((entry & NX) !== 0n && !mode.noExecute) return true;
  if (level === 4n) return (entry & (PS | G)) !== 0n;
  if (level === 3n) return isPage ? field(entry, 29, 13) !== 0n : (entry & G) !== 0n;
  return level === 2n && isPage && field(entry, 20, 13) !== 0n;
}

/** The answer of the walk under test. */
function walk(memory: FakeMemory, mode: NestedPagingMode, page: bigint, access: SecondLevelAccess): Answer {
  const tables = new NestedPageTables(memory, mode);
  const machinePage = tables.translate(Number(page), access);
  return machinePage < 0 ? { errorCode: tables.errorCode } : { page: BigInt(machinePage) };
}

/** Bits that are turned in an entry that would lead on: mostly none, or one. */
const oddity = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0n) },
  { weight: 4, arbitrary: fc.constantFrom(P, RW, US, PS, A, D, NX, G) },
  { weight: 1, arbitrary: fc.constantFrom(...[12, 13, 21, 29, 40, 51, 52, 62].map((bit) => 1n << BigInt(bit))) },
);
const target = fc.constantFrom(...TABLES, ...TABLES, 0x20_0000n, 0x4000_0000n, 0xff_c000_0000n, 0x9000n);
const entry = fc.tuple(target, oddity).map(([address, odd]) => (address | ALL) ^ odd);
const SLOTS = 4;
const entries = fc.array(entry, { minLength: SLOTS * TABLES.length, maxLength: SLOTS * TABLES.length });
const goodRoot = fc.constantFrom(ROOT, ROOT | 0x18);
const oddRoot = fc.constantFrom(ROOT + 0x20, 0x7fe0, 0x1_0000_0000, 0xff_ffff_f000);
const mode = fc.record({
  levels: fc.constantFrom('legacy', 'pae', 'four'),
  nCr3: fc.oneof({ weight: 9, arbitrary: goodRoot }, { weight: 1, arbitrary: oddRoot }),
  noExecute: fc.boolean(),
  fetchesAreTold: fc.boolean(),
  pageSizeExtensions: fc.boolean(),
});
const LONG: NestedPagingMode = {
  levels: 'four',
  nCr3: ROOT,
  noExecute: true,
  fetchesAreTold: true,
  pageSizeExtensions: false,
};
const ACCESSES = ['read', 'write', 'execute', 'table'] as const;
const access = fc.constantFrom(...ACCESSES);
/** Few indexes at each level, and what is beyond. */
const page = fc
  .tuple(
    ...[0, 9, 10, 18, 19, 27, 28].map((shift) =>
      fc.nat(shift === 28 ? 30 : shift > 17 ? 7 : 3).map((n) => (n === 1 ? 1n << BigInt(shift) : 0n)),
    ),
  )
  .map((parts) => parts.reduce((whole, part) => whole | part));

/** PDPEs of PAE paging have neither RW nor US. */
function fill(memory: FakeMemory, values: readonly bigint[], { levels }: NestedPagingMode): void {
  values.forEach((value, index) => {
    const at = Number(TABLES[Math.floor(index / SLOTS)]) + (index % SLOTS) * (levels === 'legacy' ? 4 : 8);
    if (levels === 'legacy') memory.write32(at, Number(value & 0xffff_ffffn));
    else memory.write64(at, levels === 'pae' && index < SLOTS ? value ^ (RW | US) : value);
  });
}

describe('a nested walk', () => {
  it('answers, and leaves the tables, as the manual says', () => {
    let translated = 0;
    fc.assert(
      fc.property(entries, mode, page, access, (values, paging, gpaPage, kind) => {
        const [memory, expected] = [new FakeMemory(MEMORY), new FakeMemory(MEMORY)];
        for (const each of [memory, expected]) fill(each, values, paging);
        const answer = walk(memory, paging, gpaPage, kind);
        expect(answer).toEqual(reference(expected, paging, gpaPage, kind));
        expect(memory.words.every((word, index) => word === expected.words[index])).toBe(true);
        if ('page' in answer) translated++;
      }),
      { numRuns: 5000 },
    );
    expect(translated).toBeGreaterThan(500);
  });
});

/** Page 0x12345 by 4-KiB pages of long mode; the last entry is `pte`. */
function fourLevels(pte: bigint): FakeMemory {
  const memory = new FakeMemory(MEMORY);
  memory.write64(0x1000, 0x2000n | ALL);
  memory.write64(0x2000, 0x3000n | ALL);
  memory.write64(0x3000 + 0x91 * 8, 0x4000n | ALL);
  memory.write64(0x4000 + 0x145 * 8, pte);
  return memory;
}

describe('four levels', () => {
  const { P: present, RW: write, US: user, RSV: reserved, ID: fetch } = NpfCode;
  it.each([
    ['a page beyond memory', 0xab_cdef_0000n | ALL, 'read', { page: 0xabc_def0n }],
    ['not present', 0n, 'read', { errorCode: user }],
    ['not present, fetch', 0n, 'execute', { errorCode: user | fetch }],
    ['not present, table', 0n, 'table', { errorCode: user | write }],
    ['read-only', 0x6000n | P | US, 'write', { errorCode: present | write | user }],
    ['read-only, table', 0x6000n | P | US, 'table', { errorCode: present | write | user }],
    ['supervisor', 0x6000n | P | RW, 'read', { errorCode: present | user }],
    ['NX', 0x6000n | ALL | NX, 'execute', { errorCode: present | user | fetch }],
    ['NX, read', 0x6000n | ALL | NX, 'read', { page: 6n }],
    ['bit 40', 0x100_0000_6000n | ALL, 'read', { errorCode: present | user | reserved }],
  ] as const)('%s', (_, pte, kind, answer) => {
    expect(walk(fourLevels(pte), LONG, 0x12345n, kind)).toEqual(answer);
  });

  it.each(ACCESSES)('accessed and dirty bits: %s', (kind) => {
    const memory = fourLevels(0x6000n | ALL);
    walk(memory, LONG, 0x12345n, kind);
    const marks = [0x1000, 0x2000, 0x3000 + 0x91 * 8, 0x4000 + 0x145 * 8].map((at) => memory.read64(at) & (A | D));
    expect(marks).toEqual([A, A, A, isWrite(kind) ? A | D : A]);
  });

  it('2 MiB and 1 GiB', () => {
    const memory = fourLevels(0n);
    memory.write64(0x3000 + 0x91 * 8, 0x40_0000n | ALL | PS);
    expect(walk(memory, LONG, 0x12345n, 'read')).toEqual({ page: 0x545n });
    memory.write64(0x2000, 0xc000_0000n | ALL | PS);
    expect(walk(memory, LONG, 0x12345n, 'read')).toEqual({ page: 0xd_2345n });
  });

  it.each([13, 20])('bit %i is reserved in 2-MiB pages', (bit) => {
    const memory = fourLevels(0n);
    memory.write64(0x3000 + 0x91 * 8, 0x40_0000n | ALL | PS | (1n << BigInt(bit)));
    expect(walk(memory, LONG, 0x12345n, 'read')).toEqual({ errorCode: present | user | reserved });
  });

  it.each([13, 29])('bit %i is reserved in 1-GiB pages', (bit) => {
    const memory = fourLevels(0n);
    memory.write64(0x2000, 0xc000_0000n | ALL | PS | (1n << BigInt(bit)));
    expect(walk(memory, LONG, 0x12345n, 'read')).toEqual({ errorCode: present | user | reserved });
  });

  it.each([
    ['NX', NX, 'execute', present | user | fetch],
    ['no RW', RW, 'write', present | write | user],
    ['no US', US, 'read', present | user],
  ] as const)('%s of any level holds for the page', (_, bit, kind, errorCode) => {
    for (const at of [0x1000, 0x2000, 0x3000 + 0x91 * 8, 0x4000 + 0x145 * 8]) {
      const memory = fourLevels(0x6000n | ALL);
      memory.write64(at, memory.read64(at) ^ bit);
      expect(walk(memory, LONG, 0x12345n, kind)).toEqual({ errorCode });
    }
  });

  it('guest-physical addresses have 40 bits', () => {
    expect(walk(fourLevels(0x6000n | ALL), LONG, 0x1001_2345n, 'read')).toEqual({ errorCode: NpfCode.US });
    expect(walk(fourLevels(0x6000n | ALL), LONG, -1n, 'read')).toEqual({ errorCode: NpfCode.US });
  });
});

describe('32-bit hosts', () => {
  const LEGACY: NestedPagingMode = {
    levels: 'legacy',
    nCr3: ROOT,
    noExecute: true,
    fetchesAreTold: true,
    pageSizeExtensions: true,
  };

  it('4 MiB above 4 GiB, if CR4.PSE is set', () => {
    const memory = new FakeMemory(MEMORY);
    memory.write32(0x1000, Number(0x0080_0000n | (0x92n << 13n) | ALL | PS));
    expect(walk(memory, LEGACY, 0x345n, 'execute')).toEqual({ page: 0x920_0b45n });
    expect(walk(memory, { ...LEGACY, pageSizeExtensions: false }, 0x345n, 'read')).toEqual({ errorCode: NpfCode.US });
  });

  it('PAE begins with four PDPEs at a multiple of 32', () => {
    const memory = new FakeMemory(MEMORY);
    memory.write64(0x1020 + 3 * 8, 0x2000n | P);
    memory.write64(0x2000, 0x20_0000n | ALL | PS);
    const pae: NestedPagingMode = { ...LEGACY, levels: 'pae', nCr3: 0x103f };
    expect(walk(memory, pae, 0xc_0001n, 'write')).toEqual({ page: 0x201n });
    memory.write64(0x1020 + 3 * 8, 0x2000n | P | RW);
    expect(walk(memory, pae, 0xc_0001n, 'read')).toEqual({ errorCode: NpfCode.P | NpfCode.US | NpfCode.RSV });
  });

  it('guest-physical addresses have 32 bits', () => {
    expect(walk(new FakeMemory(MEMORY), LEGACY, 0x10_0000n, 'read')).toEqual({ errorCode: NpfCode.US });
  });
});

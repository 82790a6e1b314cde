import type { ElfImage } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { readSymbols } from './elf-symbols.ts';
import { kallsymsInSteps, readKallsyms } from './kallsyms.ts';

const BASE = 0xffffffff81000000n;
const BASES = { 32: 0xc1000000n, 64: BASE } as const;
const SYMBOLS = Array.from({ length: 600 }, (_, index) => ({ name: `symbol_${index}`, offset: index * 16 }));
SYMBOLS[300] = { name: 'a_long_name_'.repeat(12), offset: 4800 };

/** Tokens: printable characters stand for themselves, one stands for "symbol_", the rest is unused. */
const TOKENS = Array.from({ length: 256 }, (_, code) =>
  code > 0x20 && code < 0x7f ? String.fromCharCode(code) : `?${code}?`,
);
TOKENS[200] = 'symbol_';

function encodeName(name: string): number[] {
  const tokens = name.startsWith('symbol_') ? [...'T'].concat('\u00c8', ...name.slice(7)) : [...`T${name}`];
  const codes = tokens.map((character) => character.charCodeAt(0));
  const head = codes.length < 0x80 ? [codes.length] : [(codes.length & 0x7f) | 0x80, codes.length >> 7];
  return [...head, ...codes];
}

class Writer {
  bytes: number[] = [];
  put(value: bigint | number, sizeBytes: number): void {
    for (let i = 0n; i < sizeBytes; i++) this.bytes.push(Number((BigInt(value) >> (i * 8n)) & 0xffn));
  }
  readonly wordBytes: number;
  constructor(wordBytes: number) {
    this.wordBytes = wordBytes;
  }
  align(): void {
    while (this.bytes.length % this.wordBytes !== 0) this.bytes.push(0);
  }
  word(value: bigint | number): void {
    this.put(value, this.wordBytes);
  }
}

type Order = 'offsetsFirst' | 'offsetsLast' | 'addresses';

/** All orders of the tables that kernels have had. */
function buildRodata(order: Order, percpu: boolean, width: 32 | 64 = 64): Uint8Array {
  const out = new Writer(width / 8);
  const base = BASES[width];
  out.bytes.push(...Array(64).fill(0x41));
  const offsets = () => {
    for (const { offset } of SYMBOLS) out.put(BigInt.asUintN(32, percpu ? -1n - BigInt(offset) : BigInt(offset)), 4);
    out.align();
    out.word(base);
  };
  if (order === 'offsetsFirst') offsets();
  if (order === 'addresses') for (const { offset } of SYMBOLS) out.word(base + BigInt(offset));
  out.word(SYMBOLS.length);
  const start = out.bytes.length;
  const markers: number[] = [];
  SYMBOLS.forEach(({ name }, index) => {
    if (index % 256 === 0) markers.push(out.bytes.length - start);
    out.bytes.push(...encodeName(name));
  });
  out.align();
  for (const marker of markers) out.put(marker, 4);
  out.align();
  const tokenOffsets: number[] = [];
  const table = out.bytes.length;
  for (const token of TOKENS) {
    tokenOffsets.push(out.bytes.length - table);
    out.bytes.push(...Buffer.from(token), 0);
  }
  out.align();
  for (const offset of tokenOffsets) out.put(offset, 2);
  out.align();
  if (order === 'offsetsLast') offsets();
  return Uint8Array.from(out.bytes);
}

function elfWith(bytes: Uint8Array, width: 32 | 64 = 64): ElfImage {
  const rodata = { name: '.rodata', type: 1, flags: 2n, address: 0n, offset: 0, sizeBytes: bytes.length };
  return {
    bytes,
    class: width,
    machine: 62,
    entry: 0n,
    programHeaders: [],
    sections: [rodata],
    notes: [],
    section: (name) => (name === '.rodata' ? rodata : undefined),
  };
}

describe.each<[32 | 64, Order, boolean]>([
  [64, 'offsetsFirst', true],
  [64, 'offsetsFirst', false],
  [64, 'offsetsLast', true],
  [64, 'offsetsLast', false],
  [64, 'addresses', false],
  [32, 'offsetsFirst', false],
  [32, 'offsetsLast', false],
  [32, 'addresses', false],
])("a %i-bit kernel's own symbols, %s, per-CPU symbols absolute: %s", (width, order, percpu) => {
  it('are found and read', () => {
    const entries = readKallsyms(elfWith(buildRodata(order, percpu, width), width));
    expect(entries).toEqual(SYMBOLS.map(({ name, offset }) => ({ name, address: BASES[width] + BigInt(offset) })));
  });
});

it('are not those of each processor, which are offsets', () => {
  const bytes = buildRodata('offsetsFirst', true);
  // The first offset of the table, as an address.
  bytes.set([5, 0, 0, 0], 64);
  expect(readKallsyms(elfWith(bytes)).map(({ name }) => name)).toEqual(SYMBOLS.slice(1).map(({ name }) => name));
});

it('are read some at a time', () => {
  const steps = [...kallsymsInSteps(elfWith(buildRodata('offsetsFirst', true)))];
  // 600 names.
  expect(steps.length).toBeGreaterThanOrEqual(2);
});

it('name addresses when there is no .symtab', () => {
  const table = readSymbols(elfWith(buildRodata('offsetsFirst', true)));
  expect(table.lookup(BASE + 0x25n)).toBe('symbol_2+0x5');
});

it('are not found where one table does not agree with another', () => {
  const bytes = buildRodata('offsetsFirst', true);
  bytes[bytes.length - 1] ^= 1;
  expect(readKallsyms(elfWith(bytes))).toEqual([]);
  expect(readKallsyms(elfWith(new Uint8Array(5000)))).toEqual([]);
});

import type { ElfImage, ElfSection } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readSymbols, symbolsInSteps } from './elf-symbols.ts';
import { SymbolTable } from './symbol-table.ts';

/** A 64-bit file with these symbols, in this order (gABI 4.1, chapter 4, "Symbol Table"). */
function elfWith(symbols: readonly { readonly name: string; readonly address: bigint }[]): ElfImage {
  const names = symbols.map(({ name }) => `${name}\0`);
  const symtab = Buffer.alloc(symbols.length * 24);
  let nameAt = 1;
  for (const [i, { address }] of symbols.entries()) {
    symtab.writeUInt32LE(nameAt, i * 24);
    symtab.writeUInt16LE(1, i * 24 + 6);
    symtab.writeBigUInt64LE(address, i * 24 + 8);
    nameAt += names[i].length;
  }
  const strtab = Buffer.from(`\0${names.join('')}`, 'latin1');
  const section = (name: string, type: number, offset: number, sizeBytes: number): ElfSection => ({
    ...{ name, type, flags: 0n, address: 0n, offset, sizeBytes },
  });
  const sections = [section('.symtab', 2, 0, symtab.length), section('.strtab', 3, symtab.length, strtab.length)];
  return {
    ...{ bytes: Buffer.concat([symtab, strtab]), class: 64, machine: 62, entry: 0n, programHeaders: [], notes: [] },
    ...{ sections, section: (name) => sections.find((each) => each.name === name) },
  };
}

const names = fc.constantFrom('a', 'b', 'start', 'end', 'pv_ops', 'native_halt');
/** Several times what a step takes. */
const entries = fc.array(fc.record({ name: names, address: fc.bigInt({ min: 0n, max: 300n }) }), {
  ...{ minLength: 600, maxLength: 1500, size: 'max' },
});

describe('symbols of a file', () => {
  it('are sorted by address, and those of one address in the order of the file', () => {
    fc.assert(
      fc.property(entries, fc.bigInt({ min: 0n, max: 310n }), (symbols, address) => {
        const [read, sorted] = [readSymbols(elfWith(symbols)), new SymbolTable(symbols)];
        expect(read.size).toBe(symbols.length);
        expect(read.namesAt(150n)).toEqual(sorted.namesAt(150n));
        expect(read.namesAt(address)).toEqual(sorted.namesAt(address));
        expect(read.lookup(address)).toBe(sorted.lookup(address));
        expect(read.nextAddress(address)).toBe(sorted.nextAddress(address));
        for (const name of ['a', 'pv_ops', 'nothing']) expect(read.address(name)).toBe(sorted.address(name));
      }),
      { numRuns: 30 },
    );
  });

  it('are read some at a time', () => {
    const many = Array.from({ length: 2000 }, (_, i) => ({ name: `s${i}`, address: BigInt((i * 7919) % 2000) }));
    const few = [...symbolsInSteps(elfWith(many.slice(0, 200)))].length;
    expect([...symbolsInSteps(elfWith(many))].length).toBeGreaterThan(few + 10);
  });
});

import { describe, expect, it } from 'vitest';
import { DecodeTable } from './decode-table.ts';
import { encodings } from './encodings/index.ts';

/** Throws for an opcode that two rows claim. */
function opcodesOf(table: DecodeTable): number[] {
  return Array.from({ length: 4 * 256 }, (_, index) => index).filter((index) => table.entry(index) !== null);
}

describe('the decode table', () => {
  it.each([
    ['long mode', true],
    ['the modes before it', false],
  ])('gives no bytes two meanings in %s', (_name, longMode) => {
    expect(opcodesOf(new DecodeTable(encodings, longMode)).length).toBeGreaterThan(400);
  });

  it('names two rows that claim the same bytes', () => {
    const add = encodings.filter(({ map, opcode }) => map === 0 && opcode === 0);
    const table = new DecodeTable([...add, ...add], true);
    expect(() => table.entry(0)).toThrow(/claim the same bytes/);
  });
});

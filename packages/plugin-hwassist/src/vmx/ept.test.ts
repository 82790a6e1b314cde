import type { SecondLevelAccess } from '@polyvisor/plugin-api';
import { FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExtendedPageTables, isLegalEptPointer } from './ept.ts';

const PAGES = 8;
const ACCESSES: readonly SecondLevelAccess[] = ['read', 'write', 'execute', 'table', 'tableWrite'];
const DIRTY = 1n << 6n;

/** As the manual says it, slowly: SDM vol. 3C, 28.3.2 and 28.3.3. Answers and changes like {@link ExtendedPageTables}. */
function model(memory: FakeMemory, eptp: bigint, page: number, access: SecondLevelAccess) {
  const flags = (eptp & DIRTY) !== 0n;
  const writes = access === 'write' || access === 'tableWrite' || (access === 'table' && flags);
  const reads = access === 'read' || access === 'table' || access === 'tableWrite';
  const wanted = (reads ? 1n : 0n) | (writes ? 2n : 0n) | (access === 'execute' ? 4n : 0n);
  const violation = (rights: bigint) => ({ page: -1, violation: Number(wanted | (rights << 3n)) });
  let table = eptp & 0xff_ffff_f000n;
  let rights = 7n;
  for (const level of [3, 2, 1, 0]) {
    const at = Number(table) + ((page / 512 ** level) & 511) * 8;
    if (at + 8 > memory.sizeBytes) return violation(0n);
    const entry = memory.read64(at);
    if ((entry & 7n) === 0n) return violation(0n);
    const isPage = level === 0 || ((level === 1 || level === 2) && (entry & 0x80n) !== 0n);
    const pageBits = 12n + 9n * BigInt(level);
    const reserved =
      0xf_ff00_0000_0000n |
      (isPage ? ((1n << pageBits) - 1n) & ~0xfffn : level === 0 ? 0n : level === 3 ? 0xf8n : 0x78n);
    const isBadType = isPage && ![0n, 1n, 4n, 5n, 6n].includes((entry >> 3n) & 7n);
    if ((entry & 3n) === 2n || (entry & reserved) !== 0n || isBadType) return { page: -1, violation: undefined };
    rights &= entry;
    if (!isPage) {
      if (flags) memory.write64(at, entry | 0x100n);
      table = entry & 0xff_ffff_f000n;
      continue;
    }
    if ((wanted & ~rights) !== 0n) return violation(rights);
    if (flags) memory.write64(at, entry | (writes ? 0x300n : 0x100n));
    const frame = (entry & 0xff_ffff_f000n) >> 12n;
    return { page: Number(frame | (BigInt(page) & ((1n << (9n * BigInt(level))) - 1n))), violation: 0 };
  }
  throw new Error('a walk has no end');
}

/** Mostly sound entries that lead into the few pages there are. */
const entry = fc
  .record({
    rights: fc.constantFrom(7n, 7n, 7n, 7n, 5n, 3n, 1n, 4n, 0n, 2n, 6n),
    frame: fc.constantFrom(...Array.from({ length: PAGES }, (_, i) => BigInt(i)), 0x200n, 0x4_0000n, 0xfff_ffffn),
    type: fc.constantFrom(0n, 0n, 0n, 6n, 3n),
    large: fc.constantFrom(0n, 0n, 0n, 0n, 0x80n),
    odd: fc.constantFrom(0n, 0n, 0n, 0n, 0n, 0n, 1n << 41n, 1n << 60n, 0x300n, 0x800n),
  })
  .map(({ rights, frame, type, large, odd }) => rights | (frame << 12n) | (type << 3n) | large | odd);

describe('extended page tables', () => {
  it('answer, and mark entries, as the manual says', () => {
    const found = new Set<string>();
    fc.assert(
      fc.property(
        fc.array(entry, { minLength: PAGES * 4, maxLength: PAGES * 4 }),
        fc.boolean(),
        fc.array(fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(3), fc.constantFrom(...ACCESSES)), {
          minLength: 1,
          maxLength: 12,
        }),
        (entries, flags, walks) => {
          const eptp = 0x1en | (flags ? DIRTY : 0n);
          const memories = [new FakeMemory(PAGES * 4096), new FakeMemory(PAGES * 4096)];
          for (const memory of memories)
            entries.forEach((value, i) => memory.write64((i >> 2) * 4096 + (i & 3) * 8, value));
          const tables = new ExtendedPageTables(memories[0], eptp);
          // The numbers of the highest level must be below 2^28 pages: one of two.
          for (const [a, b, c, d, access] of walks) {
            const page = ((a & 1) << 27) | (b << 18) | (c << 9) | d;
            const expected = model(memories[1], eptp, page, access);
            const answer = tables.translate(page, access);
            expect(answer).toBe(expected.page);
            if (answer < 0) expect(tables.violation).toBe(expected.violation);
            found.add(answer >= 0 ? 'page' : expected.violation === undefined ? 'misconfiguration' : 'violation');
          }
          const [left, right] = memories.map(({ words }) => words.filter((word) => word !== 0).join());
          expect(left).toBe(right);
        },
      ),
      { numRuns: 1000, seed: 5 },
    );
    expect(found).toEqual(new Set(['page', 'misconfiguration', 'violation']));
  });

  it('have nothing beyond 40 bits', () => {
    const tables = new ExtendedPageTables(new FakeMemory(4096), 0x1en);
    expect([tables.translate(2 ** 28, 'read'), tables.violation]).toEqual([-1, 1]);
    expect(tables.translate(-1, 'read')).toBe(-1);
  });

  it.each<[bigint, boolean]>([
    [0x1234_501en, true],
    [0x1234_505en, true],
    [0x1234_5018n, true],
    [0x1234_5019n, false],
    [0x1234_5016n, false],
    [0x1234_509en, false],
    [0x100_0000_001en, false],
  ])('take an EPT pointer of %x or not', (eptp, isLegal) => {
    expect(isLegalEptPointer(eptp)).toBe(isLegal);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MemoryWrites } from '../memory/memory-writes.ts';
import { AS_BEFORE, numberOf, SitePlace } from './live-site.ts';
import { SiteTable, type SlotTargets } from './site-table.ts';

const MEMORY_BYTES = 0x8000;
const SLOTS = 4;
const KERNEL = 0xffffffff81000000n;
/** Pages that follow each other in the kernel's addresses lie in memory where this says. */
const PAGES = [5, 2, 7, 0, 3];
const INDIRECT_CALL = [0xff, 0x14, 0x25, 0, 0, 0, 0];

const gpaOf = (offset: number) => PAGES[offset >>> 12] * 0x1000 + (offset & 0xfff);

/** A call of seven bytes at an offset from {@link KERNEL}. */
function siteAt(offset: number, slot: number, module?: string): SitePlace {
  const gva = KERNEL + BigInt(offset);
  const original = Uint8Array.from(INDIRECT_CALL);
  const site = { address: gva, gva, original, slot, module, sizeBytes: original.length };
  return new SitePlace({ ...site, listedIn: '.parainstructions', alternatives: [] }, 'call', {
    gpa: gpaOf(offset),
    lastGpa: gpaOf(offset + original.length - 1),
  });
}

class Memory {
  readonly bytes = new Uint8Array(MEMORY_BYTES);
  constructor(places: readonly SitePlace[]) {
    for (const place of places) this.#each(place, place.original, (gpa, byte) => (this.bytes[gpa] = byte));
  }
  write({ count, gpas, starts, sizesBytes, bytes }: MemoryWrites): void {
    for (let i = 0; i < count; i++) {
      if ((gpas[i] & 0xfff) + sizesBytes[i] > 0x1000)
        throw new Error(`a write at 0x${gpas[i].toString(16)} leaves its page`);
      this.bytes.set(bytes.subarray(starts[i], starts[i] + sizesBytes[i]), gpas[i]);
    }
  }
  /** What a processor would find at a site. */
  at(place: SitePlace): number[] {
    const found: number[] = [];
    this.#each(place, place.original, (gpa) => found.push(this.bytes[gpa]));
    return found;
  }
  #each({ gva }: SitePlace, bytes: Uint8Array, visit: (gpa: number, byte: number) => void): void {
    for (const [i, byte] of bytes.entries()) visit(gpaOf(Number(gva - KERNEL) + i), byte);
  }
}

/** Sites 8 bytes from each other; the last one of a page reaches into the next, which begins with none. Each other one is in a module. */
const someSites = fc
  .uniqueArray(
    fc.integer({ min: 1, max: 4 * 512 - 1 }).filter((place) => place % 512 !== 0),
    { minLength: 1, maxLength: 60 },
  )
  .map((places) =>
    places.map((place, i) =>
      siteAt(place * 8 + (place % 512 === 511 ? 4 : 0), i % SLOTS, i % 2 ? 'a module' : undefined),
    ),
  );
const target = fc.oneof(fc.constant(undefined), fc.integer({ min: -(2 ** 27), max: 2 ** 27 }));
const someTargets = fc.array(target, { minLength: SLOTS, maxLength: SLOTS });

const toNumber = (offset: number | undefined) => (offset === undefined ? AS_BEFORE : numberOf(KERNEL) + offset);

/** Of the branch that is in a site; NaN: the site is as it was. */
function displacement({ bytes, original }: SitePlace): number {
  return bytes === original ? AS_BEFORE : new DataView(bytes.buffer).getInt32(3, true);
}

describe('where sites lead', () => {
  it('is what is written, in both parts of those that reach into another page, for any changes', () => {
    fc.assert(
      fc.property(someSites, fc.array(fc.tuple(someTargets, fc.boolean()), { maxLength: 6 }), (places, changes) => {
        const memory = new Memory(places);
        const table = SiteTable.of(places);
        const leads = new Map(places.map((place) => [place, AS_BEFORE]));
        for (const [offsets, modulesAreKnown] of changes) {
          const inKernel = Float64Array.from(offsets, toNumber);
          const targets: SlotTargets = { inKernel, inModules: modulesAreKnown ? inKernel : undefined };
          let changing = 0;
          for (const place of places) {
            if (place.module !== undefined && !modulesAreKnown) continue;
            if (!Object.is(leads.get(place), inKernel[place.slot])) changing++;
            leads.set(place, inKernel[place.slot]);
          }
          expect(table.outOfReach(targets)).toBeUndefined();
          expect(table.wouldChange(targets).filter((each) => each === 1).length).toBe(changing);
          const { writes, changed } = table.lead(targets);
          expect(changed).toBe(changing);
          memory.write(writes);
          const expected = places.map((place) => leads.get(place) as number);
          expect(places.map(({ to }) => to ?? AS_BEFORE)).toEqual(expected);
          expect(places.map((place) => memory.at(place))).toEqual(places.map(({ bytes }) => [...bytes]));
          expect(places.map(displacement)).toEqual(places.map(({ gva }, i) => expected[i] - numberOf(gva) - 7));
        }
        const before = memory.bytes.slice();
        const all = new Uint8Array(places.length).fill(1);
        memory.write(table.asTheyAre(0, table.partCount, all, (place) => place.module === undefined));
        expect(Buffer.compare(memory.bytes, before)).toBe(0);
        expect(table.asTheyAre(0, table.partCount, all.fill(0), () => false).count).toBe(0);
      }),
    );
  });

  it('is kept when another table takes the sites over', () => {
    const place = siteAt(0xffc, 1);
    const to = numberOf(KERNEL) + 0x1234;
    SiteTable.of([place]).lead(() => to);
    const again = SiteTable.of([siteAt(0x10, 1), place]);
    expect(place.to).toBe(to);
    expect(again.lead(() => to).changed).toBe(1);
    expect(again.lead(() => undefined).changed).toBe(2);
    expect(place.bytes).toEqual(place.original);
  });

  it('is refused where a branch would not reach', () => {
    const place = siteAt(0, 0);
    const table = SiteTable.of([place]);
    expect(table.outOfReach(() => place.end + 2 ** 31 - 1)).toBeUndefined();
    expect(table.outOfReach(() => place.end + 2 ** 31)).toBe(place);
    expect(place.to).toBeUndefined();
  });
});

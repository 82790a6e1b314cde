import { FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MmioBus } from './mmio-bus.ts';
import { PageAliases } from './page-aliases.ts';

const MEMORY_BYTES = 0x8000;

function setUp() {
  const memory = new FakeMemory(MEMORY_BYTES);
  const aliases = new PageAliases(memory);
  const bus = new MmioBus();
  bus.aliases = aliases;
  return { memory, aliases, bus };
}
function read(bus: MmioBus, gpa: number, sizeBytes: number): number[] {
  const into = new Uint8Array(sizeBytes);
  bus.read(gpa, into);
  return [...into];
}

describe('aliases of pages', () => {
  it('show memory at another address, for reading and writing, until they are taken away', () => {
    const { memory, aliases, bus } = setUp();
    aliases.set(0x9000, 0x3000);
    bus.write(0x9ff8, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    expect(memory.read64(0x3ff8)).toBe(0x0807_0605_0403_0201n);
    expect(read(bus, 0x9ffc, 4)).toEqual([5, 6, 7, 8]);
    expect(read(bus, 0xa000, 1)).toEqual([0xff]);
    aliases.set(0x9000, undefined);
    expect(read(bus, 0x9ffc, 4)).toEqual([0xff, 0xff, 0xff, 0xff]);
  });

  it('come before what a device answers there', () => {
    const { aliases, bus } = setUp();
    bus.claim('device', 0x9000, 0x1000, { readMmio: () => 0x5a, writeMmio: () => {} });
    expect(read(bus, 0x9000, 1)).toEqual([0x5a]);
    aliases.set(0x9000, 0);
    expect(read(bus, 0x9000, 1)).toEqual([0]);
  });

  it('are whole pages, above memory and of memory', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1, max: 0x20000 }), fc.integer({ min: -1, max: 0x20000 }), (gpa, target) => {
        const { aliases, bus } = setUp();
        const isFine =
          gpa % 4096 === 0 && gpa >= MEMORY_BYTES && target % 4096 === 0 && target >= 0 && target < MEMORY_BYTES;
        if (isFine) aliases.set(gpa, target);
        else expect(() => aliases.set(gpa, target)).toThrow(RangeError);
        expect(read(bus, Math.max(MEMORY_BYTES, gpa), 8)).toHaveLength(8);
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});

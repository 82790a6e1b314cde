import { expect, it } from 'vitest';
import { type LinkGuest, readOpsObject } from './object-module.ts';
import { PlacedObjects } from './placed-objects.ts';
import { buildModule } from './testing/module-fixture.ts';

const guest: LinkGuest = { wordBytes: 8, slots: [], symbol: () => undefined, previous: () => 0x1234n };

function setUp() {
  const written: { gva: bigint; sizeBytes: number }[] = [];
  const allocated: string[] = [];
  let next = 0x10010;
  const placed = new PlacedObjects({
    allocate: (region, sizeBytes) => {
      const gpa = next;
      next += sizeBytes;
      allocated.push(region);
      return { gva: 0xffffffffc0000000n + BigInt(gpa), gpa, sizeBytes };
    },
    write: ({ gva }, bytes) => written.push({ gva, sizeBytes: bytes.length }),
  });
  return { placed, written, allocated };
}

it('a module gets memory for code and for data, aligned as it wants', () => {
  const { placed, written, allocated } = setUp();
  const sections = [{ name: '.test', flags: 3, bytes: [1], alignBytes: 256 }];
  const { regions } = placed.place(readOpsObject(buildModule({ sections }), 'a.o'), guest);
  expect(allocated).toEqual(['text', 'data']);
  expect(regions.data.base % 256n).toBe(0n);
  expect(written.map(({ gva }) => gva)).toEqual([regions.text.base, regions.data.base]);
});

it('a file that comes again goes to where it was, another one elsewhere', () => {
  const { placed, written, allocated } = setUp();
  const file = buildModule();
  const first = placed.place(readOpsObject(file, 'a.o'), guest);
  const again = placed.place(readOpsObject(file.slice(), 'b.o'), guest);
  expect(again.regions.text.base).toBe(first.regions.text.base);
  expect([allocated.length, written.length]).toEqual([2, 4]);
  const other = placed.place(readOpsObject(buildModule({ ops: { 'irq.save_fl': 'op' } }), 'c.o'), guest);
  expect(other.regions.text.base).not.toBe(first.regions.text.base);
});

it('a module that cannot be linked is not written', () => {
  const { placed, written } = setUp();
  const relocations = [{ at: 0, type: 1, symbol: 'nowhere', addend: 0 }];
  const options = {
    sections: [{ name: '.test', flags: 3, bytes: Array(8).fill(0), relocations }],
    symbols: [{ name: 'nowhere', section: 0 }],
  };
  const module = readOpsObject(buildModule(options), 'a.o');
  expect(() => placed.place(module, guest)).toThrow(expect.objectContaining({ code: 'PV5025' }));
  expect(written).toEqual([]);
});

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { MODES } from '../../isa/modes.ts';
import { type KeptPart, type KeptRegion, PackedRegions } from './packed-regions.ts';

const part: fc.Arbitrary<KeptPart> = fc
  .record({
    distance: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map((each) => each & ~0xfff),
    blocks: fc.uniqueArray(fc.nat(4095), { minLength: 2, maxLength: 8 }).map((each) => {
      const sorted = each.sort((a, b) => a - b);
      return sorted.slice(0, sorted.length & ~1);
    }),
    fields: fc.array(fc.tuple(fc.nat(40), fc.constantFrom(4, 8), fc.constantFrom(1, -1)), { maxLength: 3 }),
    fill: fc.nat(255),
  })
  .map(({ distance, blocks, fields, fill }) => {
    let size = 0;
    for (let i = 0; i < blocks.length; i += 2) size += blocks[i + 1] - blocks[i];
    const addresses: number[] = [];
    let end = 0;
    for (const [gap, sizeBytes, direction] of fields) {
      if (end + gap + sizeBytes > size) break;
      addresses.push(end + gap, sizeBytes, direction);
      end += gap + sizeBytes;
    }
    return { distance, blocks, addresses, bytes: Uint8Array.from({ length: size }, (_, i) => (i * 7 + fill) & 255) };
  });
const region: fc.Arbitrary<KeptRegion> = fc.record({
  mode: fc.constantFrom(...MODES),
  pageBase: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }).map((each) => each & ~0xfffn),
  growth: fc.constantFrom(0, 1, 2),
  parts: fc.array(part, { minLength: 1, maxLength: 3 }),
  tables: fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { maxLength: 3 }),
});
/** With ordinary arrays. */
const plain = (each: KeptRegion | undefined): KeptRegion | undefined =>
  each && {
    ...each,
    tables: [...each.tables],
    parts: each.parts.map((one) => ({ ...one, blocks: [...one.blocks], addresses: [...one.addresses] })),
  };
const all = (packed: PackedRegions) => Array.from({ length: packed.size }, (_, number) => plain(packed.get(number)));

it('regions are what they were when they are unpacked, wherever in a buffer they have been read to', () => {
  fc.assert(
    fc.property(fc.array(fc.option(region, { nil: undefined }), { maxLength: 5 }), fc.nat(7), (regions, at) => {
      const { packed } = PackedRegions.of(regions);
      const buffer = new Uint8Array(packed.length + at);
      buffer.set(packed, at);
      expect(all(PackedRegions.from(buffer.subarray(at)))).toEqual(regions);
    }),
  );
});

it('the start of a region is known without it', () => {
  fc.assert(
    fc.property(region, (each) => {
      const [{ blocks, addresses, bytes }] = each.parts;
      const known = Math.min(blocks[1] - blocks[0], addresses[0] ?? 8, 8);
      const { identity, ...start } = PackedRegions.of([undefined, each]).start(1) ?? {};
      expect(start).toEqual({
        mode: each.mode,
        growth: each.growth,
        offset: blocks[0],
        bytes: bytes.subarray(0, known),
      });
      expect(PackedRegions.of([undefined, each]).start(0)).toBeUndefined();
    }),
  );
});

it('a region whose pages are too far apart is left out', () => {
  const far = (distance: number): KeptRegion => ({
    ...{ mode: 'long64', pageBase: 0n, growth: 1, tables: [] },
    parts: [{ distance, blocks: [0, 1], addresses: [], bytes: Uint8Array.of(1) }],
  });
  expect(all(PackedRegions.of([far(2 ** 31), far(2 ** 31 - 4096)]))).toEqual([undefined, far(2 ** 31 - 4096)]);
});

/** mov rax,[address] ; lea rcx,[rip+distance to somewhere that stays] ; ret */
function moved(slide: bigint, change: Partial<KeptRegion & { address: bigint; more: readonly number[] }> = {}) {
  const { address = 0xffffffff_81002000n, more = [0xc3], ...rest } = change;
  const bytes = new Uint8Array(8 + 7 + more.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x48, 0x8b, 0x04, 0x25]);
  view.setInt32(4, Number(BigInt.asIntN(32, address + slide)), true);
  bytes.set([0x48, 0x8d, 0x0d], 8);
  view.setInt32(11, Number(BigInt.asIntN(32, 0x7000_0000n - slide)), true);
  bytes.set(more, 15);
  const first = { distance: 0, blocks: [16, 16 + bytes.length], addresses: [4, 4, 1, 11, 4, -1], bytes };
  const pageBase = 0xffffffff_81000000n - (1n << 64n) + slide;
  const whole: KeptRegion = { mode: 'long64', growth: 0, tables: [], pageBase, parts: [first], ...rest };
  return PackedRegions.of([whole]).start(0)?.identity;
}

it('regions that differ in how far they have moved stand for each other, others do not', () => {
  const own = moved(0n);
  for (const slide of [0x1000n, 0x20_0000n, 0x3e00_0000n]) expect(moved(slide)).toBe(own);
  expect(moved(0n, { growth: 1 })).not.toBe(own);
  expect(moved(0n, { mode: 'flat32' })).not.toBe(own);
  expect(moved(0n, { address: 0xffffffff_81002008n })).not.toBe(own);
  expect(moved(0n, { pageBase: 0n })).not.toBe(own);
  expect(moved(0n, { more: [0xc2] })).not.toBe(own);
  expect(moved(0n, { more: [0xc3, 0x90] })).not.toBe(own);
});

import { describe, expect, it } from 'vitest';
import { EngineMemory } from '../engine/memory.ts';
import { MemoryWrites } from '../memory/memory-writes.ts';
import { MachineMemory } from './guest-memory.ts';

const SIZE = 64 << 10;
const make = () => {
  const memory = new EngineMemory(SIZE);
  const written: [number, number][] = [];
  const ram = new MachineMemory(memory, (host, size) => written.push([host - memory.layout.ram, size]));
  return { memory, ram, written };
};

describe('guest memory', () => {
  const { memory, ram, written } = make();
  const outside: [string, () => unknown][] = [
    ['read8', () => ram.read8(SIZE)],
    ['read16', () => ram.read16(SIZE - 1)],
    ['read32', () => ram.read32(SIZE - 3)],
    ['read64', () => ram.read64(SIZE - 7)],
    ['write8', () => ram.write8(SIZE, 1)],
    ['write16', () => ram.write16(SIZE - 1, 1)],
    ['write32', () => ram.write32(SIZE - 3, 1)],
    ['write64', () => ram.write64(SIZE - 7, 1n)],
    ['readBytes', () => ram.readBytes(SIZE - 1, 2)],
    ['writeBytes', () => ram.writeBytes(SIZE - 1, Uint8Array.of(1, 2))],
    ['fill', () => ram.fill(SIZE - 1, 2, 1)],
    ['a negative gpa', () => ram.read32(-4)],
    ['a negative size', () => ram.readBytes(4, -1)],
    ['a gpa that is no number', () => ram.readBytes(Number.NaN, 1)],
    ['a huge gpa', () => ram.writeBytes(2 ** 53, Uint8Array.of(1))],
    ['testAndSetBit', () => ram.testAndSetBit(SIZE - 4, 32)],
    ['testAndClearBit of an odd gpa', () => ram.testAndClearBit(2, 0)],
    ['a negative bit', () => ram.testAndSetBit(0, -1)],
  ];
  it.each(outside)('%s out of bounds throws and touches nothing', (_name, access) => {
    const before = ram.readBytes(SIZE - 16, 16);
    expect(access).toThrow(RangeError);
    expect(ram.readBytes(SIZE - 16, 16)).toEqual(before);
    expect(memory.bytes[memory.layout.ram - 1]).toBe(0);
  });

  it('reads back what is written, little-endian, at any alignment', () => {
    ram.write64(0x101, 0x8877665544332211n);
    expect([ram.read8(0x101), ram.read16(0x102), ram.read32(0x103), ram.read64(0x101)]).toEqual([
      0x11,
      0x3322,
      0x66554433,
      0x8877665544332211n,
    ]);
    expect([...ram.readBytes(0x107, 2)]).toEqual([0x77, 0x88]);
    ram.write32(0x200, -1);
    expect([ram.read32(0x200), ram.words[0x200 / 4], ram.read64(0x200)]).toEqual([0xffffffff, -1, 0xffffffffn]);
    ram.fill(0x200, 3, 7);
    expect(ram.read32(0x200)).toBe(0xff070707);
  });

  it('bits of a bitmap lie in little-endian order', () => {
    for (const bit of [0, 31, 32, 63, 500]) {
      expect(ram.testAndSetBit(0x1000, bit)).toBe(false);
      expect(ram.testAndSetBit(0x1000, bit)).toBe(true);
      expect(ram.read8(0x1000 + (bit >> 3))).toBe(1 << (bit & 7));
      expect(ram.testAndClearBit(0x1000, bit)).toBe(true);
      expect(ram.testAndClearBit(0x1000, bit)).toBe(false);
    }
  });

  it('tells of writes to pages with code, also when only the last page has some', () => {
    memory.bytes[memory.layout.pageFlags + 3] = 1;
    ram.write8(0x2fff, 1);
    expect(written).toEqual([]);
    ram.write16(0x2fff, 1);
    ram.fill(0x1000, 0x3000, 0);
    ram.writeBytes(0x3000, new Uint8Array(0));
    expect(written).toEqual([
      [0x2fff, 2],
      [0x1000, 0x3000],
    ]);
  });
});

it('many writes are told of together, and none is made if one is out of bounds', () => {
  const memory = new EngineMemory(SIZE);
  const told: unknown[] = [];
  const ram = new MachineMemory(
    memory,
    () => told.push('one'),
    ({ count, gpas, sizesBytes }) => told.push(Array.from({ length: count }, (_, i) => [gpas[i], sizesBytes[i]])),
  );
  const bytes = Uint8Array.of(1, 2);
  ram.writeAll(
    MemoryWrites.of([
      { gpa: 0x1000, bytes },
      { gpa: 0x2ffe, bytes },
    ]),
  );
  expect(told).toEqual([
    [
      [0x1000, 2],
      [0x2ffe, 2],
    ],
  ]);
  expect([ram.read16(0x1000), ram.read16(0x2ffe)]).toEqual([0x201, 0x201]);
  const bad = MemoryWrites.of([
    { gpa: 0x3000, bytes },
    { gpa: SIZE - 1, bytes },
  ]);
  expect(() => ram.writeAll(bad)).toThrow(RangeError);
  expect([ram.read16(0x3000), told.length]).toEqual([0, 1]);
});

import { FakeMemory } from '@polyvisor/testkit';
import { expect, it } from 'vitest';
import { exitsForMsr, exitsForPort } from './bitmaps.ts';

const BITMAPS = [0x1000, 0x2000] as const;
const MSR_BITMAPS = 0x3000;
function withBit(byte: number, bit: number): FakeMemory {
  const memory = new FakeMemory(0x4000);
  memory.write8(byte, 1 << bit);
  return memory;
}

it.each<[port: number, sizeBytes: number, byte: number, bit: number, exits: boolean]>([
  [0x80, 1, 0x1010, 0, true],
  [0x81, 1, 0x1010, 0, false],
  [0x7f, 2, 0x1010, 0, true],
  [0x7d, 4, 0x1010, 0, true],
  [0x7c, 4, 0x1010, 0, false],
  [0x7fff, 2, 0x2000, 0, true],
  [0x8000, 1, 0x2000, 0, true],
  [0x8000, 1, 0x1000, 0, false],
  [0xffff, 1, 0x2fff, 7, true],
  // Beyond the last port, whatever the bitmaps say.
  [0xffff, 2, 0x1000, 0, true],
])('an access to port %x of %i bytes with bit %x:%i exits or not', (port, sizeBytes, byte, bit, exits) => {
  expect(exitsForPort(withBit(byte, bit), BITMAPS, port, sizeBytes)).toBe(exits);
});

it.each<[msr: number, access: 'read' | 'write', byte: number, bit: number, exits: boolean]>([
  [0x10, 'read', 0x3002, 0, true],
  [0x10, 'write', 0x3002, 0, false],
  [0x10, 'write', 0x3802, 0, true],
  [0xc000_0080, 'read', 0x3410, 0, true],
  [0xc000_0080, 'write', 0x3c10, 0, true],
  [0xc000_0081, 'write', 0x3c10, 0, false],
  [0x1fff, 'read', 0x33ff, 7, true],
  [0x2000, 'read', 0x3000, 0, true],
  [0xc001_0114, 'read', 0x3000, 0, true],
])('MSR %x on %s with bit %x:%i exits or not', (msr, access, byte, bit, exits) => {
  expect(exitsForMsr(withBit(byte, bit), MSR_BITMAPS, msr | 0, access)).toBe(exits);
});

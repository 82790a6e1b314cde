import { FakeMemory } from '@polyvisor/testkit';
import { expect, it } from 'vitest';
import { leaveBiosBehind } from './rom.ts';

it('a BIOS leaves vectors that return, a clock tick, and the timer alone unmasked', () => {
  const memory = new FakeMemory(1 << 20);
  const written: [number, number][] = [];
  leaveBiosBehind(memory, { write: (port, _sizeBytes, value) => written.push([port, value]) });
  const codeOf = (vector: number) => memory.read16(vector * 4 + 2) * 16 + memory.read16(vector * 4);
  expect([memory.read8(codeOf(0x21)), memory.read8(codeOf(0xff))]).toEqual([0xcf, 0xcf]);
  expect([codeOf(8), memory.read8(codeOf(8))]).toEqual([0xffea5, 0x1e]);
  expect(written.filter(([port]) => port === 0x21).map(([, value]) => value)).toEqual([8, 4, 1, 0xfe]);
  expect(written.filter(([port]) => port === 0xa1).map(([, value]) => value)).toEqual([0x70, 2, 1, 0xff]);
  expect(written.slice(-3)).toEqual([
    [0x43, 0x36],
    [0x40, 0],
    [0x40, 0],
  ]);
});

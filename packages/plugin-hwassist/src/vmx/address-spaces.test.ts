import { expect, it } from 'vitest';
import { AddressSpaces } from './address-spaces.ts';

it('are one for each VPID with each EPT pointer, never the host’s', () => {
  let flushes = 0;
  const spaces = new AddressSpaces(() => {
    flushes++;
  });
  const numbers = [spaces.of(1, 0x1en), spaces.of(2, 0x1en), spaces.of(1, 0x101en), spaces.of(1, undefined)];
  expect(new Set([0, ...numbers]).size).toBe(5);
  expect([spaces.of(1, 0x1en), flushes]).toEqual([numbers[0], 0]);
});

it('are dropped all when there are too many', () => {
  let flushes = 0;
  const spaces = new AddressSpaces(() => {
    flushes++;
  });
  for (let vpid = 1; vpid <= 255; vpid++) expect(spaces.of(vpid, 0x1en)).toBe(vpid);
  expect(flushes).toBe(0);
  expect([spaces.of(256, 0x1en), flushes]).toEqual([1, 1]);
});

it('keep nothing from one entry without VPID to the next', () => {
  let flushes = 0;
  const spaces = new AddressSpaces(() => {
    flushes++;
  });
  expect([spaces.of(0, undefined), spaces.of(0, undefined), flushes]).toEqual([1, 1, 1]);
});

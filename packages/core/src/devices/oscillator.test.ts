import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Oscillator } from './oscillator.ts';

describe('an oscillator', () => {
  it('begins each cycle at the first nanosecond at which it is over', () => {
    const cycles = fc.record({ hz: fc.integer({ min: 1, max: 9_000_000 }), cycle: fc.integer({ min: 1, max: 1e12 }) });
    fc.assert(
      fc.property(cycles, ({ hz, cycle }) => {
        const oscillator = new Oscillator(new FakeClock(), hz);
        fc.pre(cycle / hz < 8e6);
        const ns = oscillator.nsOf(cycle);
        expect([oscillator.cycleAt(ns), oscillator.cycleAt(ns - 1)]).toEqual([cycle, cycle - 1]);
      }),
    );
  });

  it('has run exactly its frequency after a second, whatever the fraction of a nanosecond', () => {
    const clock = new FakeClock();
    const oscillator = new Oscillator(clock, 1_193_182);
    clock.advance(1e9 - 0.25);
    expect(oscillator.now()).toBe(1_193_181);
    clock.advance(0.25);
    expect(oscillator.now()).toBe(1_193_182);
  });

  it('refuses a frequency at which it would not be exact', () => {
    for (const hz of [0, -1, 1.5, 9_000_001, Number.NaN])
      expect(() => new Oscillator(new FakeClock(), hz)).toThrow(hz.toString());
  });
});

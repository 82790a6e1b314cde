import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FS, FZ, STATE_SIZE_BYTES } from '../cpu/state.ts';
import { Flag } from '../isa/flags.ts';
import { readFlags, writeFlags } from './lazy-flags.ts';

const block = () => new Int32Array(STATE_SIZE_BYTES / 4);
/** All that RFLAGS has (SDM vol. 1, figure 3-8), bit 1 among it. */
const DEFINED = 0x3f7fd7;

describe('flags in a state block', () => {
  it('are read as they were written, reserved bits apart', () => {
    fc.assert(
      fc.property(fc.integer(), (image) => {
        const words = block();
        writeFlags(words, image);
        expect(readFlags(words)).toBe((image & DEFINED) | 2);
      }),
    );
  });

  it('come from a result: zero if no bit of it is set, its sign, and the parity of its low byte', () => {
    const words = block();
    writeFlags(words, 0);
    const result = (low: number, high: number) => {
      for (const { offset } of [FZ, FS]) words.set([low, high], offset / 4);
      return readFlags(words) & (Flag.ZF | Flag.SF | Flag.PF);
    };
    expect(result(0, 0)).toBe(Flag.ZF | Flag.PF);
    expect(result(0, 1)).toBe(Flag.PF);
    expect(result(1, 1 << 31)).toBe(Flag.SF);
    // Bits above the low byte do not count.
    expect(result(0x103, 0)).toBe(Flag.PF);
  });
});

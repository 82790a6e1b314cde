import { describe, expect, it } from 'vitest';
import { directInstructions, leaves } from './direct-instructions.ts';

const KINDS = ['cli', 'iret', 'readCr', 'exception', 'rdtsc', 'pause'] as const;

const NOBODY = directInstructions(() => false);

describe('instructions that generated code carries out', () => {
  it('leave guest code while somebody asks, and else not', () => {
    for (const asked of KINDS) {
      const direct = directInstructions((kind) => kind === asked);
      expect(KINDS.filter((kind) => leaves(kind, direct))).toEqual([asked]);
    }
    expect(KINDS.filter((kind) => leaves(kind, NOBODY))).toEqual([]);
  });

  it('are few: all others leave', () => {
    expect(leaves('cpuid', NOBODY)).toBe(true);
  });
});

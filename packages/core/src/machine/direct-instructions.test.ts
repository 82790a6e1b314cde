import { describe, expect, it } from 'vitest';
import { Direct } from '../cpu/state.ts';
import { directInstructions, leaves, unprivilegedInstructions } from './direct-instructions.ts';

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

  it('are those of any level, if what is privileged is to leave', () => {
    const direct = unprivilegedInstructions((kind) => kind === 'pause');
    expect(KINDS.filter((kind) => leaves(kind, direct))).toEqual(['cli', 'readCr', 'exception', 'pause']);
    expect(direct & (Direct.POPF | Direct.SEGMENT | Direct.PLUGIN_CODE)).toBe(Direct.SEGMENT | Direct.PLUGIN_CODE);
  });

  it('are few: all others leave', () => {
    expect(leaves('cpuid', NOBODY)).toBe(true);
  });
});

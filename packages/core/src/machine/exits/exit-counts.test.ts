import { describe, expect, it } from 'vitest';
import { ExitCounts } from './exit-counts.ts';

describe('exit counts', () => {
  it('are in order of their names, native instructions apart from those that plug-ins see', () => {
    const counts = new ExitCounts();
    counts.instruction(7, 'loadSegment', undefined);
    counts.exception(14);
    counts.instruction(2, 'cpuid', 'cpuid');
    counts.exception(14);
    expect(Object.entries(counts.figures())).toEqual([
      ['exit.cpuid', 1],
      ['exit.exception.14', 2],
      ['exit.native.loadSegment', 1],
    ]);
  });

  it('are one for instructions that make the same exit', () => {
    const counts = new ExitCounts();
    counts.instruction(3, 'int3', 'softwareInterrupt');
    counts.instruction(4, 'into', 'softwareInterrupt');
    expect(counts.figures()).toEqual({ 'exit.softwareInterrupt': 2 });
  });
});

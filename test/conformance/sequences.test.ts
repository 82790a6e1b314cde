import { describe, expect, it } from 'vitest';
import { expand } from './case.ts';
import { differences } from './compare.ts';
import { generateSequences } from './generator/sequences.ts';
import { disassemble } from './report.ts';
import { recordedRows } from './rows.ts';
import { EvaluatorRunner } from './runners/evaluator.ts';
import { Tier0Runner } from './runners/tier0.ts';

/** Other programs than the recorded ones. */
const SEED = 0x5e9;
const PROGRAMS = 400;

describe('random programs', () => {
  it('come out the same on the evaluator and on tier 0', () => {
    const evaluator = new EvaluatorRunner();
    const tier0 = new Tier0Runner();
    const different: string[] = [];
    for (const input of generateSequences(recordedRows, PROGRAMS, SEED)) {
      const one = expand(input);
      const [want, have] = [evaluator.run(one), tier0.run(one)];
      if (want.kind !== 'ran' || have.kind !== 'ran') {
        expect(have).toEqual(want);
        continue;
      }
      const lines = differences(one, want.outcome, have.outcome);
      if (lines.length > 0)
        different.push([disassemble(input.code, 'long64'), `seed ${input.seed}`, ...lines].join('\n  '));
    }
    expect(different.join('\n')).toBe('');
  });
});

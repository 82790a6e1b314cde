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
const PROGRAMS = 300;

describe('random programs', () => {
  const evaluator = new EvaluatorRunner();
  const cases = generateSequences(recordedRows, PROGRAMS, SEED).map(expand);
  const expected = cases.map((one) => evaluator.run(one));

  it.each([
    ['in one go', {}],
    ['three instructions at a time', { budget: 3 }],
    ['in single steps', { step: true }],
  ])('come out on tier 0, run %s, as on the evaluator', (_, entry) => {
    const tier0 = new Tier0Runner(entry);
    const different: string[] = [];
    cases.forEach((one, i) => {
      const [want, have] = [expected[i], tier0.run(one)];
      if (want.kind !== 'ran' || have.kind !== 'ran') {
        expect(have).toEqual(want);
        return;
      }
      const lines = differences(one, want.outcome, have.outcome);
      if (lines.length > 0) different.push([disassemble(one.input.code, 'long64'), ...lines].join('\n  '));
    });
    expect(different.join('\n')).toBe('');
  });
});

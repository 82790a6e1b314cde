import { describe, expect, it } from 'vitest';
import { expand } from './case.ts';
import { differences } from './compare.ts';
import { generateSequences } from './generator/sequences.ts';
import { disassemble } from './report.ts';
import { recordedRows } from './rows.ts';
import { EngineRunner } from './runners/engine.ts';
import { EvaluatorRunner } from './runners/evaluator.ts';

/** Other programs than the recorded ones. */
const SEED = 0x5e9;
const PROGRAMS = 300;

describe('random programs', () => {
  const evaluator = new EvaluatorRunner();
  const cases = generateSequences(recordedRows, PROGRAMS, SEED).map(expand);
  const expected = cases.map((one) => evaluator.run(one));

  it.each([
    ['tier 0, run in one go', {}],
    ['tier 0, run three instructions at a time', { budget: 3 }],
    ['tier 0, run in single steps', { step: true }],
    ['tier 1, run in one go', { regions: true }],
    ['tier 1, run three instructions at a time', { regions: true, budget: 3 }],
  ])('come out on %s, as on the evaluator', (_, entry) => {
    const engine = new EngineRunner(entry);
    const different: string[] = [];
    cases.forEach((one, i) => {
      const [want, have] = [expected[i], engine.run(one)];
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

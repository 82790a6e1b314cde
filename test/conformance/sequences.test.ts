import { describe, expect, it } from 'vitest';
import { PAGE_BASE, ZERO } from '../../packages/core/src/cpu/state.ts';
import { type CaseInput, expand, makeInput } from './case.ts';
import { decodeCase, differences } from './compare.ts';
import { generate } from './generator/generate.ts';
import { CODE_START } from './layout.ts';
import { Random } from './random.ts';
import { disassemble } from './report.ts';
import { recordedRows } from './rows.ts';
import { EvaluatorRunner } from './runners/evaluator.ts';
import { Tier0Runner } from './runners/tier0.ts';

const SEQUENCES = 1500;
const LONGEST = 8;

/** Instructions that do not depend on registers for their addresses, so that a sequence gets somewhere. */
function isSuitable(input: CaseInput): boolean {
  const decoded = decodeCase(expand(input));
  if (!decoded || decoded.shape.encoding.endsBlock || input.codeAddress !== CODE_START) return false;
  const inMemory = decoded.shape.operands.some(({ kind }) => kind === 'mem');
  return !inMemory || ((decoded.base === ZERO.offset || decoded.base === PAGE_BASE.offset) && decoded.index === ZERO.offset);
}

describe('random instruction sequences', () => {
  const random = new Random(0x5e9);
  const pool = recordedRows.flatMap((row) => {
    const inputs = generate(row).filter((input) => input.mode === 'long64' && isSuitable(input));
    return inputs.length > 0 ? [inputs.slice(0, 40)] : [];
  });

  it('come out the same on the evaluator and on tier 0', () => {
    const evaluator = new EvaluatorRunner();
    const tier0 = new Tier0Runner();
    const different: string[] = [];
    for (let i = 0; i < SEQUENCES; i++) {
      const parts = Array.from({ length: 2 + random.below(LONGEST - 1) }, () => random.pick(random.pick(pool)));
      const code = parts.flatMap(({ code: bytes }) => [...bytes]);
      const one = expand(makeInput(code, { seed: random.next(), flavour: parts[0].flavour }));
      const [want, have] = [evaluator.run(one), tier0.run(one)];
      if (want.kind === 'ran' && have.kind === 'ran') {
        const lines = differences(one, want.outcome, have.outcome);
        if (lines.length > 0) different.push([disassemble(one.input.code, 'long64'), `seed ${one.input.seed}`, ...lines].join('\n  '));
      } else expect(have).toEqual(want);
    }
    expect(different.join('\n')).toBe('');
  });
});

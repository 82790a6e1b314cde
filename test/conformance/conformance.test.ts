import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { decodeCase } from './compare.ts';
import { decodeFile } from './file.ts';
import { check, type Results, summarize } from './report.ts';
import { recordedRows } from './rows.ts';
import { EvaluatorRunner } from './runners/evaluator.ts';
import { Tier0Runner } from './runners/tier0.ts';

const directory = join(import.meta.dirname, 'cases');
const files = readdirSync(directory).filter((name) => name.endsWith('.bin.br'));
const load = (name: string) => decodeFile(readFileSync(join(directory, name)));

/** Exits that leave an instruction to TypeScript: there is nothing of it in the engine to compare. */
const LEFT_TO_TYPESCRIPT = new Set(['popf', 'loadSegment', 'popSegment', 'into', 'softwareInterrupt', 'farJump', 'farCall', 'farReturn', 'iret']);
const LEAST_CASES = 20;

describe.each([
  ['evaluator', () => new EvaluatorRunner()],
  ['tier 0', () => new Tier0Runner()],
])('recorded cases on the %s', (_, makeRunner) => {
  it.each(files)('%s', (name) => {
    const results: Results = new Map();
    check(makeRunner(), load(name).cases(), results);
    expect(summarize(results)).toBe('');
    const reasons = new Set([...results.values()].flatMap(({ left }) => [...left.keys()]));
    expect([...reasons].filter((reason) => !LEFT_TO_TYPESCRIPT.has(reason))).toEqual([]);
  });
});

describe('coverage', () => {
  const counts = new Map<unknown, number>();
  beforeAll(() => {
    for (const name of files) {
      for (const { expanded } of load(name).cases()) {
        const encoding = decodeCase(expanded)?.shape.encoding;
        counts.set(encoding, (counts.get(encoding) ?? 0) + 1);
      }
    }
  });

  it('has cases for every encoding that user mode can run', () => {
    const wanting = recordedRows.filter((row) => (counts.get(row) ?? 0) < LEAST_CASES);
    expect(wanting.map((row) => `${row.name} (${row.pattern})`)).toEqual([]);
  });
});

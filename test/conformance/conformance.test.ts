import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeFile } from './file.ts';
import { check, type Results, summarize } from './report.ts';
import { recordedRows } from './rows.ts';
import type { CaseRunner } from './runner.ts';
import { EngineRunner } from './runners/engine.ts';
import { EvaluatorRunner } from './runners/evaluator.ts';

const directory = join(import.meta.dirname, 'cases');
const files = readdirSync(directory).filter((name) => name.endsWith('.bin.br'));
const LEAST_CASES = 20;

describe.each([
  ['evaluator', () => new EvaluatorRunner()],
  ['tier 0', () => new EngineRunner()],
  ['tier 1', () => new EngineRunner({ regions: true })],
])('recorded cases on the %s', (_, makeRunner) => {
  let runner: CaseRunner | undefined;
  const counts = new Map<unknown, number>();
  afterAll(() => {
    runner = undefined;
  });

  it.each(files)('%s', (name) => {
    runner ??= makeRunner();
    const results: Results = new Map();
    check(runner, decodeFile(readFileSync(join(directory, name))).cases(), results);
    expect(summarize(results)).toBe('');
    const left = [...results].filter(([, result]) => result.left.size > 0);
    expect(left.map(([encoding, result]) => [encoding, ...result.left.keys()])).toEqual([]);
    for (const { row, cases } of results.values()) counts.set(row, (counts.get(row) ?? 0) + cases);
  });

  it('cover every encoding that user mode can run', () => {
    const wanting = recordedRows.filter((row) => (counts.get(row) ?? 0) < LEAST_CASES);
    expect(wanting.map((row) => `${row.name} (${row.pattern})`)).toEqual([]);
  });
});

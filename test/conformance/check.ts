/**
 * `npm run conformance:check [-- OPTIONS [PATTERN]]`: run the recorded cases of the encodings whose names match, and show
 * what differs. Options: `--runner evaluator|tier0`; `--budget N`, `--step`: how tier 0 is entered; `--examples N`;
 * `--fresh cases|prefixes|programs`: newly generated cases, recorded on the spot; `--seed N`: others than the recorded.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CaseInput, ExpandedCase, Outcome } from './case.ts';
import { decodeCase } from './compare.ts';
import { decodeFile } from './file.ts';
import { generate, generatePrefixed } from './generator/generate.ts';
import { generateSequences } from './generator/sequences.ts';
import { buildOracle, isWhole, PROGRAMS, PROGRAMS_SEED, recordCases } from './record.ts';
import { check, type Results, summarize } from './report.ts';
import { recordedRows } from './rows.ts';
import { EngineRunner } from './runners/engine.ts';
import { EvaluatorRunner } from './runners/evaluator.ts';

const here = dirname(fileURLToPath(import.meta.url));
const parameters = process.argv.slice(2);
function option(name: string): string | undefined {
  const at = parameters.indexOf(name);
  return at < 0 ? undefined : parameters.splice(at, 2)[1];
}
const runnerName = option('--runner') ?? 'evaluator';
const examples = Number(option('--examples') ?? 2);
const fresh = option('--fresh');
const seed = Number(option('--seed') ?? 0);

const budget = Number(option('--budget') ?? 0);
const step = parameters.includes('--step');
const pattern = new RegExp(parameters.find((word) => !word.startsWith('--')) ?? '', 'i');

function* recorded(): Generator<{ expanded: ExpandedCase; outcome: Outcome }> {
  for (const name of readdirSync(join(here, 'cases')).filter((file) => file.endsWith('.bin.br'))) {
    for (const one of decodeFile(readFileSync(join(here, 'cases', name))).cases()) {
      const encoding = decodeCase(one.expanded)?.shape.encoding;
      if (!encoding || pattern.test(`${encoding.name} (${encoding.pattern})`)) yield one;
    }
  }
}

function freshlyRecorded(kind: string) {
  const rows = recordedRows.filter((row) => pattern.test(`${row.name} (${row.pattern})`));
  const generators: Record<string, () => CaseInput[]> = {
    cases: () => rows.flatMap((row) => generate(row, seed)),
    prefixes: () => rows.flatMap((row) => generatePrefixed(row, seed)).filter(isWhole),
    programs: () => generateSequences(rows, PROGRAMS, PROGRAMS_SEED ^ seed),
  };
  const generator = generators[kind];
  if (!generator) throw new Error(`--fresh takes cases, prefixes or programs, not ${kind}`);
  return recordCases(buildOracle(), generator());
}

const runner = runnerName === 'tier0' ? new EngineRunner(budget ? { budget } : { step }) : new EvaluatorRunner();
const results: Results = new Map();
check(runner, fresh ? freshlyRecorded(fresh) : recorded(), results);
const total = [...results.values()].reduce((sum, { cases }) => sum + cases, 0);
const wrong = [...results.values()].reduce((sum, { mismatches }) => sum + mismatches.length, 0);
console.log(summarize(results, examples));
const left = [...results].filter(([, result]) => result.left.size > 0);
for (const [name, result] of left)
  console.log(`left the engine: ${name}: ${[...result.left].map(([why, n]) => `${why} × ${n}`).join(', ')}`);
console.log(`${runner.name}: ${total} cases of ${results.size} encodings, ${wrong} differ`);

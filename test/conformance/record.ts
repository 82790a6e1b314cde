/**
 * `npm run conformance:record [-- FILE...]`: build the oracle, generate all cases, or those of the named files (`mmx`),
 * run them on this machine's processor, write cases/.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';
import { type CaseInput, type ExpandedCase, expand, type Outcome } from './case.ts';
import { decodeCase } from './compare.ts';
import { encodeFile } from './file.ts';
import { generate, generatePrefixed, isMmx, isVector, isX87 } from './generator/generate.ts';
import { generateSequences } from './generator/sequences.ts';
import { runOracle } from './oracle/oracle.ts';
import { recordedRows } from './rows.ts';
import { resultIsUndefined } from './undefined.ts';

export const PROGRAMS = 2000;
export const PROGRAMS_SEED = 0x9406;

const here = dirname(fileURLToPath(import.meta.url));

export function buildOracle(): string {
  const program = join(here, '../../node_modules/.cache/conformance/oracle');
  mkdirSync(dirname(program), { recursive: true });
  execFileSync('sh', [join(here, 'oracle/build.sh'), program], { stdio: 'inherit' });
  return program;
}

function processorName(): string {
  const text = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? '?';
  return `${field('vendor_id')} family ${field('cpu family')} model ${field('model')} stepping ${field('stepping')}, ${field('model name')}`;
}

/** Which case file an encoding's cases go to. */
export function groupOf(row: EncodingRow): string {
  if (isX87(row)) return 'x87';
  if (isMmx(row)) return 'mmx';
  if (isVector(row)) return /(PS|PD|SS|SD)/.test(row.mnemonic) ? 'sse-floating' : 'sse-integer';
  return row.map === 0 ? 'integer-one-byte' : 'integer-two-byte';
}

export interface Recorded {
  readonly expanded: ExpandedCase;
  readonly outcome: Outcome;
}

/** Leave out cases whose result the manual leaves undefined. */
function isDefined(expanded: ExpandedCase): boolean {
  const decoded = decodeCase(expanded);
  if (!decoded) return true;
  return !resultIsUndefined(decoded, expanded.image);
}
/** Not torn into two instructions by a foreign prefix. */
export function isWhole(input: CaseInput): boolean {
  const decoded = decodeCase(expand(input));
  return !decoded || decoded.lengthBytes === input.code.length;
}

export function recordCases(program: string, inputs: readonly CaseInput[]): Recorded[] {
  const expanded = inputs.map(expand).filter(isDefined);
  const outcomes = runOracle(program, expanded);
  return expanded.map((one, i) => ({ expanded: one, outcome: outcomes[i] }));
}

function main(): void {
  const program = buildOracle();
  const wanted = process.argv.slice(2);
  const processor = processorName();
  const groups = new Map<string, EncodingRow[]>();
  for (const row of recordedRows) groups.set(groupOf(row), [...(groups.get(groupOf(row)) ?? []), row]);
  mkdirSync(join(here, 'cases'), { recursive: true });
  const write = (name: string, rows: readonly EncodingRow[], inputs: () => readonly CaseInput[]) => {
    if (wanted.length > 0 && !wanted.includes(name)) return;
    const cases = recordCases(program, inputs());
    const file = encodeFile({ format: 1, processor, description: `${name}: ${rows.length} encodings` }, cases);
    writeFileSync(join(here, 'cases', `${name}.bin.br`), file);
    console.log(`${name}: ${rows.length} encodings, ${cases.length} cases, ${Math.ceil(file.length / 1024)} KiB`);
  };
  for (const [group, rows] of groups) write(group, rows, () => rows.flatMap((row) => generate(row)));
  write('prefixes', recordedRows, () => recordedRows.flatMap((row) => generatePrefixed(row)).filter(isWhole));
  write('programs', recordedRows, () => generateSequences(recordedRows, PROGRAMS, PROGRAMS_SEED));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();

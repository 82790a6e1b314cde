import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';
import { type CaseMode, type ExpandedCase, type Outcome, OverrideSlot } from './case.ts';
import { decodeCase, differences, flagNames } from './compare.ts';
import type { CaseRunner } from './runner.ts';

export interface Mismatch {
  readonly expanded: ExpandedCase;
  readonly lines: readonly string[];
}

/** What became of one encoding's cases on one runner. */
export interface EncodingResult {
  readonly row: EncodingRow | undefined;
  cases: number;
  /** Cases that left the engine, by reason. */
  readonly left: Map<string, number>;
  readonly mismatches: Mismatch[];
}

export type Results = Map<string, EncodingResult>;

/** Run cases and gather what differs, by encoding. */
export function check(
  runner: CaseRunner,
  cases: Iterable<{ expanded: ExpandedCase; outcome: Outcome }>,
  results: Results,
): void {
  for (const { expanded, outcome } of cases) {
    const row = decodeCase(expanded)?.shape.encoding as EncodingRow | undefined;
    const name = row ? `${row.name} (${row.pattern})` : 'undecoded';
    let result = results.get(name);
    if (!result) {
      result = { row, cases: 0, left: new Map(), mismatches: [] };
      results.set(name, result);
    }
    result.cases++;
    const lines = runOne(runner, expanded, outcome, result);
    if (lines.length > 0) result.mismatches.push({ expanded, lines });
  }
}

function runOne(runner: CaseRunner, expanded: ExpandedCase, outcome: Outcome, result: EncodingResult): string[] {
  try {
    const run = runner.run(expanded);
    if (run.kind === 'ran') return differences(expanded, outcome, run.outcome);
    result.left.set(run.reason, (result.left.get(run.reason) ?? 0) + 1);
    return [];
  } catch (error) {
    return [`threw: ${error instanceof Error ? error.stack?.split('\n').slice(0, 3).join(' ') : error}`];
  }
}

/** A mismatch in a few lines: bytes, disassembly where objdump is there, the inputs that matter, what differs. */
export function describe({ expanded, lines }: Mismatch): string {
  const { input, image } = expanded;
  const hexes = Buffer.from(input.code).toString('hex');
  const inputs = [...input.overrides].map(([slot, value]) => `${slotName(slot)}=${value.toString(16)}`);
  const gpr = image.gpr
    .slice(0, input.mode === 'long64' ? 16 : 8)
    .map((value) => value.toString(16))
    .join(' ');
  return [
    `  ${input.mode} ${hexes}  ${disassemble(input.code, input.mode)}  seed ${input.seed} ${inputs.join(' ')}`,
    `    gpr ${gpr} flags ${flagNames(image.rflags)} mxcsr ${image.mxcsr.toString(16)}`,
    `    x87 control ${image.x87Control.toString(16)} status ${image.x87Status.toString(16)} tag ${image.x87Tag.toString(16)}`,
    ...lines.slice(0, 8).map((line) => `    ${line}`),
  ].join('\n');
}

function slotName(slot: number): string {
  return slot < 16
    ? `r${slot}`
    : (Object.entries(OverrideSlot).find(([, value]) => value === slot)?.[0] ?? String(slot));
}

/** objdump's reading of the bytes; empty where there is no objdump. */
export function disassemble(code: Uint8Array, mode: CaseMode): string {
  const directory = mkdtempSync(join(tmpdir(), 'conformance-'));
  try {
    const file = join(directory, 'code');
    writeFileSync(file, code);
    const machine = mode === 'long64' ? 'i386:x86-64' : 'i386';
    const text = execFileSync(
      'objdump',
      ['-D', '-b', 'binary', '-m', machine, '-M', 'intel', '--no-show-raw-insn', file],
      {
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    ).toString();
    return text
      .split('\n')
      .filter((line) => /^\s+[0-9a-f]+:\t/.test(line))
      .map((line) => line.replace(/^\s+[0-9a-f]+:\t/, '').trim())
      .join('; ');
  } catch {
    return '';
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The encodings that differ, worst first, with a few examples of each. */
export function summarize(results: Results, examples = 2): string {
  const wrong = [...results].filter(([, { mismatches }]) => mismatches.length > 0);
  wrong.sort(([, a], [, b]) => b.mismatches.length - a.mismatches.length);
  return wrong
    .map(([name, { cases, mismatches }]) => {
      const step = Math.max(1, Math.floor(mismatches.length / examples));
      const shown = mismatches.filter((_, i) => i % step === 0).slice(0, examples);
      return [`${name}: ${mismatches.length} of ${cases} differ`, ...shown.map(describe)].join('\n');
    })
    .join('\n');
}

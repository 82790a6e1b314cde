/** One start of a guest in a child process: when texts appear on its console, and what its machine counted. */
import { spawn } from 'node:child_process';
import { type Moment, momentOf } from './moment.ts';
import { LineSplitter } from './session.ts';
import { median } from './table.ts';

export interface BootCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** The child does not end by itself after the last mark. */
  readonly isKilled?: boolean;
}

export interface BootRun {
  /** From the start of the process to each mark: by the clock, and of the processors (NaN where the host does not tell). */
  readonly seconds: readonly number[];
  readonly cpuSeconds: readonly number[];
  /** What the child counted, if it does: `NAME: instructions N` and `NAME: exits N` on stderr. */
  readonly instructions: number | undefined;
  readonly exits: number | undefined;
}

/** Looks for texts in a stream, each once, wherever chunks are cut. */
export class MarkWatch {
  readonly seen: (Moment | undefined)[];
  readonly #marks: readonly string[];
  readonly #keptChars: number;
  #rest = '';

  constructor(marks: readonly string[]) {
    this.#marks = marks;
    this.seen = marks.map(() => undefined);
    this.#keptChars = Math.max(...marks.map((mark) => mark.length)) - 1;
  }

  /** Answers whether every mark has been seen. */
  push(chunk: string, now: Moment): boolean {
    const text = this.#rest + chunk;
    this.#marks.forEach((mark, index) => {
      if (text.includes(mark)) this.seen[index] ??= now;
    });
    this.#rest = this.#keptChars === 0 ? '' : text.slice(-this.#keptChars);
    return this.seen.every((moment) => moment !== undefined);
  }
}

/** How much of what was said last is kept for an error. */
const TAIL_CHARS = 300;

/** One run; what went wrong instead. The child is gone afterwards, after `timeoutSeconds` at the latest. */
export async function runBoot(
  command: BootCommand,
  marks: readonly string[],
  timeoutSeconds: number,
): Promise<BootRun | string> {
  const startMs = performance.now();
  const child = spawn(command.file, command.args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const killChild = () => child.kill('SIGKILL');
  process.once('exit', killChild);
  const timer = setTimeout(killChild, timeoutSeconds * 1000);
  const watch = new MarkWatch(marks);
  const stats = new Map<string, number>();
  let tail = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const text = chunk.toString('latin1');
    tail = (tail + text).slice(-TAIL_CHARS);
    if (watch.push(text, momentOf(child.pid)) && command.isKilled) killChild();
  });
  const said = new LineSplitter();
  child.stderr.on('data', (chunk: Buffer) => {
    const text = chunk.toString('latin1');
    tail = (tail + text).slice(-TAIL_CHARS);
    for (const line of said.push(text)) {
      const [, name, value] = /^\w+: (\S.*?) +(\d+)$/.exec(line) ?? [];
      if (name !== undefined) stats.set(name, Number(value));
    }
  });
  const failure = await new Promise<string | undefined>((resolve) => {
    child.on('error', (error) => resolve(`cannot be started: ${error.message}`));
    child.on('close', () => resolve(undefined));
  });
  clearTimeout(timer);
  process.off('exit', killChild);
  if (failure !== undefined) return failure;
  const seen = watch.seen.filter((moment) => moment !== undefined);
  if (seen.length < marks.length) return `did not get to its marks; its last words: ${JSON.stringify(tail)}`;
  return {
    seconds: seen.map(({ ms }) => (ms - startMs) / 1000),
    cpuSeconds: seen.map(({ cpuSeconds }) => cpuSeconds),
    instructions: stats.get('instructions'),
    exits: stats.get('exits'),
  };
}

/** Something that is started, and its runs that got to their marks. */
export interface MeasuredBoots<Row> {
  readonly row: Row;
  readonly runs: BootRun[];
}

/** Every row once a round, so that a busy moment of the machine does not fall on one of them alone. */
export async function measureBoots<Row extends { readonly title: string }>(
  rows: readonly Row[],
  rounds: number,
  run: (row: Row) => Promise<BootRun | string>,
): Promise<{ measured: readonly MeasuredBoots<Row>[]; ok: boolean }> {
  const measured = rows.map((row) => ({ row, runs: [] as BootRun[] }));
  let ok = true;
  for (let round = 1; round <= rounds; round++) {
    for (const { row, runs } of measured) {
      console.error(`run ${round} of ${rounds}: ${row.title} ...`);
      const result = await run(row);
      if (typeof result !== 'string') runs.push(result);
      else console.error(`  ${row.title}: ${result}`);
      ok &&= typeof result !== 'string';
    }
  }
  return { measured, ok };
}

type Figure = (run: BootRun) => number | undefined;
function overRuns(runs: readonly BootRun[], figure: Figure, fold: (values: readonly number[]) => number) {
  const values = runs.flatMap((run) => figure(run) ?? []);
  return values.length === 0 ? undefined : fold(values);
}
/** The median of a figure over those runs that have it. */
export const medianOf = (runs: readonly BootRun[], figure: Figure): number | undefined =>
  overRuns(runs, figure, median);
/** Its least value: what a busy machine disturbs least. */
export const leastOf = (runs: readonly BootRun[], figure: Figure): number | undefined =>
  overRuns(runs, figure, (values) => Math.min(...values));

/** Cells of a table; a dash for what is not known. */
export const cells = {
  seconds: (value: number | undefined) => (value === undefined || Number.isNaN(value) ? '–' : `${value.toFixed(2)} s`),
  ratio: (value: number | undefined, to: number | undefined) =>
    value === undefined || to === undefined || Number.isNaN(value / to) ? '–' : `${(value / to).toFixed(2)} ×`,
  count: (value: number | undefined) => (value === undefined ? '–' : Math.round(value).toLocaleString('en-US')),
};

/** A Markdown table; columns after the first `textColumns` are set to the right. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[], textColumns = 1): string {
  const rule = head.map((_, index) => (index < textColumns ? '---' : '---:'));
  return [head, rule, ...rows].map((line) => `| ${line.join(' | ')} |`).join('\n');
}

/** Medians and the table, in Markdown so that it can be pasted into docs/performance.md. */
import type { Load } from './loads.ts';
import type { Timings } from './session.ts';

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** For each load, the median over those runs that have it. */
export function mediansOf(runs: readonly Timings[], loads: readonly Load[]): Timings {
  const medians = new Map<string, number>();
  for (const { name } of loads) {
    const values = runs.flatMap((run) => run.get(name) ?? []);
    if (values.length > 0) medians.set(name, median(values));
  }
  return medians;
}

export interface Row {
  readonly title: string;
  /** One cell a load; `undefined` is shown as a dash. */
  readonly cells: readonly (string | undefined)[];
}

export function secondsRow(title: string, seconds: Timings, loads: readonly Load[]): Row {
  const cells = loads.map(({ name }) => {
    const value = seconds.get(name);
    return value === undefined ? undefined : `${value.toFixed(value < 1 ? 3 : 2)} s`;
  });
  return { title, cells };
}

/** How many times longer `over` takes than `under`. */
export function ratioRow(title: string, over: Timings, under: Timings, loads: readonly Load[]): Row {
  const cells = loads.map(({ name }) => {
    const [a, b] = [over.get(name), under.get(name)];
    return a === undefined || b === undefined ? undefined : `${(a / b).toFixed(a / b < 10 ? 2 : 1)} ×`;
  });
  return { title, cells };
}

export function renderTable(loads: readonly Load[], rows: readonly Row[]): string {
  const lines = [
    ['', ...loads.map(({ title }) => title)],
    ['---', ...loads.map(() => '---:')],
    ...rows.map(({ title, cells }) => [title, ...cells.map((cell) => cell ?? '–')]),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Medians and the table, in Markdown so that it can be pasted into docs/performance.md. */
import type { Load } from './loads.ts';
import type { Timings } from './session.ts';

/** The value below which this fraction of the others lies, between two of them in proportion; NaN of none. */
export function quantile(values: readonly number[], fraction: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * fraction;
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at % 1);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
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

/** How many times longer `over` takes than `under`, by load. */
export function ratiosOf(over: Timings, under: Timings): Timings {
  const common = [...over].filter(([name]) => under.has(name));
  return new Map(common.map(([name, seconds]) => [name, seconds / under.get(name)!]));
}

export interface Column {
  readonly title: string;
  readonly unit: 's' | '×';
  readonly values: Timings;
}

/** A cell; a dash for what is not known. */
export function format(value: number | undefined, unit: 's' | '×'): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  if (unit === 's') return `${value.toFixed(value < 1 ? 3 : 2)} s`;
  return `${value.toFixed(value < 10 ? 2 : 1)} ×`;
}

/** The geometric mean: what ratios are averaged by. */
function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** A row for each load, and, if there are ratios, a last one with their geometric means. */
export function renderTable(loads: readonly Load[], columns: readonly Column[]): string {
  const mean = ({ unit, values }: Column) =>
    unit === '×' ? format(geometricMean(loads.flatMap(({ name }) => values.get(name) ?? [])), unit) : '';
  const lines = [
    ['', ...columns.map(({ title }) => title)],
    ['---', ...columns.map(() => '---:')],
    ...loads.map(({ name, title }) => [title, ...columns.map(({ unit, values }) => format(values.get(name), unit))]),
    ...(columns.some(({ unit }) => unit === '×') ? [['geometric mean', ...columns.map(mean)]] : []),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Figures of turns: what a load took in each guest, and the ratios within rounds, as a table and as JSON. */
import { markdownTable } from './boot-run.ts';
import type { Load } from './loads.ts';
import type { Conditions } from './results.ts';
import { format, median, quantile, renderTable } from './table.ts';
import type { Turn } from './turn-guest.ts';

/** A guest, and its turns with one load, one of each round. */
export interface TakenTurns {
  readonly name: string;
  readonly title: string;
  readonly turns: readonly Turn[];
}

/** Of every round after the first, how many times more one guest took than another. */
export function ratiosInRounds(over: readonly Turn[], under: readonly Turn[], figure: keyof Turn): readonly number[] {
  const both = over.slice(1).flatMap((turn, index) => {
    const other = under[index + 1];
    return other === undefined ? [] : [turn[figure] / other[figure]];
  });
  return both.filter(Number.isFinite);
}

/** All but `firstSeconds` are of the rounds after the first; NaN where there is none. */
interface Summary {
  readonly firstSeconds: number;
  readonly leastSeconds: number;
  readonly leastRatio: number;
  readonly medianSeconds: number;
  readonly ratio: number;
  readonly ratioQuartiles: readonly [number, number];
  readonly medianCpuSeconds: number;
  readonly cpuRatio: number;
}

function summaryOf({ turns }: TakenTurns, first: TakenTurns): Summary {
  const [one, ...later] = turns;
  const secondsOf = (turns: readonly Turn[]) => turns.map((turn) => turn.seconds);
  const seconds = secondsOf(later);
  const leastSeconds = quantile(seconds, 0);
  const ratios = ratiosInRounds(turns, first.turns, 'seconds');
  return {
    firstSeconds: one?.seconds ?? Number.NaN,
    leastSeconds,
    leastRatio: leastSeconds / quantile(secondsOf(first.turns.slice(1)), 0),
    medianSeconds: median(seconds),
    ratio: median(ratios),
    ratioQuartiles: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
    medianCpuSeconds: median(later.map((turn) => turn.cpuSeconds)),
    cpuRatio: median(ratiosInRounds(turns, first.turns, 'cpuSeconds')),
  };
}

/** One load's table; ratios are those to the first guest. */
export function renderTurns(load: Load, taken: readonly TakenTurns[]): string {
  const to = `÷ ${taken[0].title}`;
  const head = [load.title.replaceAll('|', '\\|'), 'first round', 'least', to, 'median', to, 'quartiles', 'CPU', to];
  const rows = taken.map((guest) => {
    const summary = summaryOf(guest, taken[0]);
    const [low, high] = summary.ratioQuartiles;
    return [
      guest.title,
      ...[format(summary.firstSeconds, 's'), format(summary.leastSeconds, 's'), format(summary.leastRatio, '×')],
      ...[
        format(summary.medianSeconds, 's'),
        format(summary.ratio, '×'),
        `${format(low, '×')} to ${format(high, '×')}`,
      ],
      ...[format(summary.medianCpuSeconds, 's'), format(summary.cpuRatio, '×')],
    ];
  });
  return markdownTable(head, rows);
}

/** What one load took in all guests. */
export interface MeasuredLoad {
  readonly load: Load;
  readonly taken: readonly TakenTurns[];
}

/** A row for each load: the ratios of every guest to the first one, by least times and within rounds, and their geometric means. */
export function renderOverview(measured: readonly MeasuredLoad[]): string {
  const [{ taken }] = measured;
  const loads = measured.map(({ load }) => load);
  const columns = taken.slice(1).flatMap(({ title }, index) => {
    const column = (figure: 'leastRatio' | 'ratio') =>
      new Map(
        measured.map(({ load, taken: [first, ...others] }) => [load.name, summaryOf(others[index], first)[figure]]),
      );
    const unit = '×' as const;
    return [
      { title: `${title} ÷ ${taken[0].title}, least`, unit, values: column('leastRatio') },
      { title: 'within rounds', unit, values: column('ratio') },
    ];
  });
  return renderTable(loads, columns);
}

/** Every turn and what is made of them, by names of loads and guests; `null` for what is not known. */
export function turnsToJson(conditions: Conditions, rounds: number, measured: readonly MeasuredLoad[]): string {
  const loads = measured.map(({ load: { name, title }, taken }) => ({
    ...{ name, title },
    guests: taken.map((guest) => ({ ...guest, ...summaryOf(guest, taken[0]) })),
  }));
  return `${JSON.stringify({ conditions, rounds, loads }, null, 2)}\n`;
}

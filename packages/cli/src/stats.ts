type Value = number | string;
type Row = readonly [name: string, value: Value];

const EXIT_PREFIX = 'exit.';

/**
 * The `--stats` table: time and speed of the whole run, figures of the interpreter, exits by kind, then each plug-in's
 * counters; in each of the last two the most frequent first.
 */
export function formatStats(
  machine: Readonly<Record<string, Value>>,
  plugins: readonly { readonly plugin: string; readonly name: string; readonly count: number }[],
  elapsedSeconds: number,
): string {
  const figures = Object.entries(machine).filter(([name]) => name !== 'instructions' && !name.startsWith(EXIT_PREFIX));
  const exits = Object.entries(machine).filter(([name]) => name.startsWith(EXIT_PREFIX));
  const counters = plugins.map(({ plugin, name, count }): Row => [`${plugin}.${name}`, count]);
  const rows: Row[] = [
    ['seconds', elapsedSeconds.toFixed(3)],
    ...speed(machine.instructions, elapsedSeconds),
    ...figures,
  ];
  if (exits.length > 0) rows.push(['exits', exits.reduce((sum, [, count]) => sum + Number(count), 0)]);
  rows.push(...byCount(exits), ...byCount(counters));
  const nameWidth = Math.max(...rows.map(([name]) => name.length));
  const valueWidth = Math.max(...rows.map(([, value]) => `${value}`.length));
  return rows.map(([name, value]) => `${name.padEnd(nameWidth)}  ${`${value}`.padStart(valueWidth)}`).join('\n');
}

function speed(instructions: Value | undefined, elapsedSeconds: number): Row[] {
  if (instructions === undefined) return [];
  return [
    ['instructions', instructions],
    ['MIPS', (Number(instructions) / 1e6 / elapsedSeconds).toFixed(1)],
  ];
}

function byCount(rows: readonly Row[]): Row[] {
  return rows.toSorted(([nameA, a], [nameB, b]) => Number(b) - Number(a) || (nameA < nameB ? -1 : 1));
}

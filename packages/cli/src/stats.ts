type Value = number | string;

/** The `--stats` table: counters of the machine and of each plug-in, and the speed over the whole run. */
export function formatStats(
  machine: Readonly<Record<string, Value>>,
  plugins: readonly { readonly plugin: string; readonly name: string; readonly count: number }[],
  elapsedSeconds: number,
): string {
  const rows: [string, Value][] = [['seconds', elapsedSeconds.toFixed(3)], ...Object.entries(machine)];
  const instructions = Number(machine.instructions);
  if (Number.isFinite(instructions) && machine.MIPS === undefined) {
    rows.push(['MIPS', (instructions / 1e6 / elapsedSeconds).toFixed(1)]);
  }
  for (const { plugin, name, count } of plugins) rows.push([`${plugin}.${name}`, count]);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}

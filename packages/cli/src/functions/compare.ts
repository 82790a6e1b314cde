import path from 'node:path';
import { ExitCode } from '../exit-codes.ts';
import type { CompareOptions } from '../options.ts';
import { formatTable } from '../table.ts';
import { type LoggedFunction, readFunctions } from './function-file.ts';

/** Functions that have run in one boot. */
interface Boot {
  readonly name: string;
  readonly functions: readonly LoggedFunction[];
}

/** A function in several boots: its number in the order of each, and from where it was called first; `undefined`: it has not run. */
interface ComparedFunction {
  readonly name: string;
  readonly boots: readonly ({ readonly number: number; readonly caller: string } | undefined)[];
}

export interface Comparison {
  readonly boots: readonly { readonly name: string; readonly functions: number }[];
  readonly inAll: number;
  /** In the order of the first boot that has each. */
  readonly inSome: readonly ComparedFunction[];
  /** In all of them, but not called from the same function first: ways of their own to the same work. */
  readonly byOtherWays: readonly ComparedFunction[];
}

/** `vm compare`: which functions of a kernel ran in which boots. Throws as {@link readFunctions}. */
export async function compare({ files, all, json }: CompareOptions): Promise<number> {
  const boots = files.map((file) => {
    const functions = readFunctions(file).filter(({ section }) => all || section === 'init');
    return { name: path.parse(file).name, functions };
  });
  const comparison = compareBoots(boots);
  process.stdout.write(json ? `${JSON.stringify(comparison, null, 2)}\n` : format(comparison));
  return ExitCode.OK;
}

export function compareBoots(boots: readonly Boot[]): Comparison {
  const tables = boots.map(({ functions }) => {
    return new Map(functions.map(({ name, caller }, i) => [name, { number: i + 1, caller }] as const));
  });
  const names = new Set(boots.flatMap(({ functions }) => functions.map(({ name }) => name)));
  const compared = [...names].map((name) => ({ name, boots: tables.map((table) => table.get(name)) }));
  const inAll = compared.filter((each) => each.boots.every((boot) => boot !== undefined));
  return {
    boots: boots.map(({ name, functions }) => ({ name, functions: functions.length })),
    inAll: inAll.length,
    inSome: compared.filter((each) => each.boots.includes(undefined)),
    byOtherWays: inAll.filter((each) => new Set(each.boots.map((boot) => boot?.caller)).size > 1),
  };
}

function format({ boots, inAll, inSome, byOtherWays }: Comparison): string {
  const headings = ['function', ...boots.map(({ name }) => name)];
  const rows = (functions: readonly ComparedFunction[]) =>
    functions.map(({ name, boots: each }) => [
      name,
      ...each.map((boot) => (boot ? `#${boot.number} from ${boot.caller}` : '-')),
    ]);
  const section = (title: string, functions: readonly ComparedFunction[]) =>
    functions.length === 0 ? [] : ['', title, formatTable(headings, rows(functions))];
  const counts = boots.map(({ name, functions }) => `${name} ${functions}`).join(', ');
  return [
    `functions that ran: ${counts}; ${inAll} in all`,
    ...section(`${inSome.length} not in all:`, inSome),
    ...section(`${byOtherWays.length} in all, called first from elsewhere:`, byOtherWays),
    '',
  ].join('\n');
}

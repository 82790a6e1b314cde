import { helpers } from '../isa/helpers/index.ts';

const HOST_HELPERS = ['rdtsc', 'random', 'invlpg', 'writeCr3'] as const;
/** Helpers that the machine brings. */
export type HostHelper = (typeof HOST_HELPERS)[number];

/** All helpers, by the numbers under which generated code calls them: the same in each thread that generates code. */
export const HELPER_NAMES: readonly string[] = [...HOST_HELPERS, ...Object.keys(helpers)];
const NUMBERS = new Map(HELPER_NAMES.map((name, number) => [name, number]));

/** @throws Error if no helper has the name */
export function helperNumber(name: string): number {
  const number = NUMBERS.get(name);
  if (number === undefined) throw new Error(`no helper named ${name}`);
  return number;
}

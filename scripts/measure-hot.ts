/**
 * Which instructions deserve a handler in the dispatch loop: runs a guest with execution counts and prints
 * packages/core/src/engine/hot.ts's list. `node --import tsx scripts/measure-hot.ts SINGLES PAIRS vm-run-arguments…`
 */
import { Machine } from '@polyvisor/core';
import { parseCommandLine } from '../packages/cli/src/command-line.ts';
import { run } from '../packages/cli/src/run.ts';

const [singleLimit, pairLimit, ...args] = process.argv.slice(2);
const request = parseCommandLine(['run', ...args]);
if (request.kind !== 'run') throw new Error('give the arguments of vm run');
let machine: Machine | undefined;
await run(request.options, async (options) => {
  machine = await Machine.create({ ...options, engine: { profile: true } });
  return machine;
});
const profile = (machine?.vcpus[0].engine.profile() ?? []).sort((a, b) => b.count - a.count);
const isPair = ({ example }: { example: string }) => example.includes('+');
const singles = profile.filter((one) => !isPair(one));
const total = singles.reduce((sum, { count }) => sum + count, 0);
const kept = singles.slice(0, Number(singleLimit));
const names = new Set(kept.map(({ example }) => example));
// A pair of instructions that stand in the list themselves.
const pairs = profile.filter(isPair).filter(({ example }) => example.split('+').every((one) => names.has(one)));
for (const list of [kept, pairs.slice(0, Number(pairLimit))]) {
  const covered = list.reduce((sum, { count }) => sum + count, 0);
  process.stderr.write(`${list.length} cover ${((100 * covered) / total).toFixed(2)} %\n`);
  for (const { example, key } of list) process.stdout.write(`  '${example}', // ${key}\n`);
}

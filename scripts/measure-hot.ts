/**
 * Which instructions deserve a handler in the dispatch loop: runs a guest with execution counts and prints
 * packages/core/src/engine/hot.ts's list. `node --import tsx scripts/measure-hot.ts N vm-run-arguments…`
 */
import { Machine } from '@polyvisor/core';
import { parseCommandLine } from '../packages/cli/src/command-line.ts';
import { run } from '../packages/cli/src/run.ts';

const [count, ...args] = process.argv.slice(2);
const request = parseCommandLine(['run', ...args]);
if (request.kind !== 'run') throw new Error('give the arguments of vm run');
let machine: Machine | undefined;
await run(request.options, async (options) => {
  machine = await Machine.create({ ...options, engine: { profile: true } });
  return machine;
});
const profile = machine?.vcpus[0].engine.profile() ?? [];
const long = profile.filter(({ shape, example }) => shape.mode === 'long64' && example !== '');
const sorted = long.sort((a, b) => b.count - a.count);
const total = sorted.reduce((sum, { count: executed }) => sum + executed, 0);
const kept = sorted.slice(0, Number(count));
const covered = kept.reduce((sum, { count: executed }) => sum + executed, 0);
process.stderr.write(`${kept.length} of ${sorted.length} handlers cover ${((100 * covered) / total).toFixed(2)} %\n`);
for (const { example, shape, count: executed } of kept) {
  process.stdout.write(`  '${example}', // ${shape.key} ${((100 * executed) / total).toFixed(3)} %\n`);
}

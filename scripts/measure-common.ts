/**
 * Which handlers a guest has compiled on demand: what is common among guests belongs into packages/core/src/engine/common.ts.
 * `node --import tsx scripts/measure-common.ts MODE vm-run-arguments…`, MODE long64 or flat32; prints an example and the shape a line.
 */
import { Machine } from '@polyvisor/core';
import { parseCommandLine } from '../packages/cli/src/command-line.ts';
import { run } from '../packages/cli/src/run.ts';

const [mode, ...words] = process.argv.slice(2);
if (mode !== 'long64' && mode !== 'flat32') throw new Error('say long64 or flat32 first');
const request = parseCommandLine(['run', ...words]);
if (request.kind !== 'run') throw new Error('give the arguments of vm run');
let machine: Machine | undefined;
await run(request.options, async (options) => {
  machine = await Machine.create({ ...options, engine: { common: {} } });
  machine.vcpus[0].engine.code.examples = new Map();
  return machine;
});
for (const { example, key } of machine?.vcpus[0].engine.compiledHandlers(mode) ?? [])
  process.stdout.write(`${example} ${key}\n`);

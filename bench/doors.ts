/**
 * `npm run bench:doors -- KERNEL INITRD`: one kernel file through each 32-bit door: time to its first mark, and from there to the
 * second, against native; instructions and exits of each. Beside seconds of the wall clock stand those of the processors, which
 * ratios are of: a busy machine disturbs them less.
 *
 *   --marks A,B       texts on the console: INITRD's init is up, its load is done ("init: up,forked")
 *   --doors A,B       of the names in door-rows.ts (all); ratios are those to the first
 *   --entry NAME      the native door ("elf"; a bzImage has "linux32")
 *   --runs N          how often each is run (3)
 *   --exits asked|privileged|all, as of `vm run`: with `privileged` what a kernel would trap for under a hypervisor that emulates is an exit
 *   --clock wall|icount, --memory MB (128), --timeout S for each run (300), --node FILE
 *
 * The table goes to stdout, everything else to stderr. Exits 1 if a run did not get to both marks.
 */
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { BootRun, MeasuredBoots } from './boot-run.ts';
import { cells, markdownTable, measureBoots, medianOf, runBoot } from './boot-run.ts';
import { type Door, type DoorStart, doorCommand, selectDoors } from './door-rows.ts';
import { checkedNode, positive, runMain } from './request.ts';

interface Request extends DoorStart {
  readonly marks: readonly [string, string];
  readonly doors: readonly Door[];
  readonly runs: number;
}

function parseRequest(): Request {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      ...{ marks: text, doors: text, entry: text, runs: text, exits: text, clock: text, memory: text },
      ...{ timeout: text, node: text },
    },
  });
  const [kernel, initrd, ...more] = positionals;
  if (kernel === undefined || initrd === undefined || more.length > 0) throw new Error('give KERNEL and INITRD');
  const [up, done, ...others] = (values.marks ?? 'init: up,forked').split(',');
  if (done === undefined || others.length > 0) throw new Error(`--marks ${values.marks}: give two texts`);
  return {
    ...{ kernel, initrd, marks: [up, done], doors: selectDoors(values.doors) },
    entry: values.entry ?? 'elf',
    runs: positive('--runs', values.runs ?? '3'),
    exits: values.exits ?? 'asked',
    clock: values.clock ?? 'wall',
    memoryMegabytes: positive('--memory', values.memory ?? '128'),
    timeoutSeconds: positive('--timeout', values.timeout ?? '300'),
    nodePath: checkedNode(values.node),
  };
}

function render(measured: readonly MeasuredBoots<Door>[]): string {
  const { seconds, ratio, count } = cells;
  const shell = (runs: readonly BootRun[], of: 'seconds' | 'cpuSeconds') => medianOf(runs, (run) => run[of][0]);
  const load = (runs: readonly BootRun[], of: 'seconds' | 'cpuSeconds') =>
    medianOf(runs, (run) => run[of][1] - run[of][0]);
  const first = measured[0].runs;
  const lines = measured.map(({ row, runs }) => [
    ...[row.title, seconds(shell(runs, 'seconds')), seconds(shell(runs, 'cpuSeconds'))],
    ratio(shell(runs, 'cpuSeconds'), shell(first, 'cpuSeconds')),
    ...[seconds(load(runs, 'seconds')), seconds(load(runs, 'cpuSeconds'))],
    ratio(load(runs, 'cpuSeconds'), load(first, 'cpuSeconds')),
    ...[count(medianOf(runs, (run) => run.instructions)), count(medianOf(runs, (run) => run.exits))],
  ]);
  const to = `÷ ${measured[0].row.title}`;
  const head = ['door', 'to the first mark', 'CPU', to, 'to the second', 'CPU', to, 'instructions', 'exits'];
  return markdownTable(head, lines);
}

async function main(): Promise<boolean> {
  const request = parseRequest();
  // The guest has its own time limit; the child's end comes later only if that fails.
  const limitSeconds = request.timeoutSeconds + 60;
  const { measured, ok } = await measureBoots(request.doors, request.runs, (door) =>
    runBoot(doorCommand(request, door), request.marks, limitSeconds),
  );
  const medians = request.runs === 1 ? 'one run' : `medians of ${request.runs} runs`;
  console.log(
    `${path.basename(request.kernel)}, ${request.memoryMegabytes} MB, --exits ${request.exits}, --clock ${request.clock}; ${medians}\n`,
  );
  console.log(render(measured));
  return ok;
}

await runMain('bench:doors', main);

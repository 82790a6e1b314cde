/**
 * `npm run bench:doors -- KERNEL INITRD`: one kernel file through each 32-bit door: time to its first mark, and from there to the
 * second, against native; instructions and exits of each. Beside seconds of the wall clock stand those of the processors, which
 * ratios are of: a busy machine disturbs them less.
 *
 *   --marks A,B       texts on the console: INITRD's init is up, its load is done ("init: up,forked")
 *   --doors A,B       of the names below (all); ratios are those to the first
 *   --entry NAME      the native door ("elf"; a bzImage has "linux32")
 *   --runs N          how often each is run (3)
 *   --clock wall|icount, --memory MB (128), --timeout S for each run (300), --node FILE
 *
 * The table goes to stdout, everything else to stderr. Exits 1 if a run did not get to both marks.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { checkedNode, positive, runMain } from './request.ts';
import { LineSplitter } from './session.ts';
import { median } from './table.ts';

interface Door {
  readonly name: string;
  readonly title: string;
  readonly plugins: readonly string[];
  /** Started through the native door. */
  readonly isNative: boolean;
  readonly console: 'ttyS0' | 'hvc0';
}

const native = { isNative: true, console: 'ttyS0' } as const;
const taken = { isNative: false, console: 'hvc0' } as const;
const DOORS: readonly Door[] = [
  { name: 'native', title: 'native', plugins: [], ...native },
  { name: 'vmi-native', title: 'VMI, ROM native', plugins: ['vmi=rom:native'], ...native },
  { name: 'vmi-trap', title: 'VMI, ROM trap', plugins: ['vmi=rom:trap'], ...native },
  { name: 'vmi-xen', title: 'VMI, ROM xen', plugins: ['xen', 'vmi=rom:xen'], ...native },
  { name: 'xen', title: 'Xen PV', plugins: ['xen'], ...taken },
  { name: 'lguest', title: 'lguest', plugins: ['lguest-like'], ...taken },
];

interface Request {
  readonly kernel: string;
  readonly initrd: string;
  readonly marks: readonly [string, string];
  readonly doors: readonly Door[];
  readonly entry: string;
  readonly runs: number;
  readonly clock: string;
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
  readonly nodePath: string;
}

function parseRequest(): Request {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      ...{ marks: text, doors: text, entry: text, runs: text, clock: text, memory: text, timeout: text, node: text },
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
    clock: values.clock ?? 'wall',
    memoryMegabytes: positive('--memory', values.memory ?? '128'),
    timeoutSeconds: positive('--timeout', values.timeout ?? '300'),
    nodePath: checkedNode(values.node),
  };
}

function selectDoors(names: string | undefined): readonly Door[] {
  return names === undefined
    ? DOORS
    : names.split(',').map((name) => {
        const door = DOORS.find((candidate) => candidate.name === name);
        if (door) return door;
        throw new Error(`--doors ${name}: choose from ${DOORS.map((known) => known.name).join(', ')}`);
      });
}

interface Run {
  /** From the start of the process to the first mark, and from there to the second: by the clock, and of the processors. */
  readonly shellSeconds: number;
  readonly loadSeconds: number;
  readonly shellCpuSeconds: number;
  readonly loadCpuSeconds: number;
  /** `--stats` at the guest's end. */
  readonly instructions: number;
  readonly exits: number;
}

function commandOf(request: Request, door: Door): string[] {
  return [
    ...[path.join(import.meta.dirname, '../scripts/vm.mjs'), 'run', request.kernel, '--initrd', request.initrd],
    ...door.plugins.flatMap((plugin) => ['--plugin', plugin]),
    ...(door.isNative ? ['--entry', request.entry] : []),
    ...['--append', `console=${door.console}`, '--memory', `${request.memoryMegabytes}M`, '--no-reboot'],
    ...['--clock', request.clock, '--timeout', `${request.timeoutSeconds}`, '--stats', '--no-control'],
  ];
}

interface Moment {
  readonly ms: number;
  readonly cpuSeconds: number;
}

/** Ticks of a second in /proc (sysconf(_SC_CLK_TCK), 100 on every Linux). */
const TICKS = 100;

/** Now, and what a process has used of the processors (proc(5), utime and stime); NaN where the host does not tell. */
function momentOf(pid: number | undefined): Moment {
  const ms = performance.now();
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { ms, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS };
  } catch {
    return { ms, cpuSeconds: Number.NaN };
  }
}

/** One run; what went wrong instead. */
async function runOnce(request: Request, door: Door): Promise<Run | string> {
  const start = performance.now();
  const child = spawn(request.nodePath, commandOf(request, door), { stdio: ['ignore', 'pipe', 'pipe'] });
  const killChild = () => child.kill('SIGKILL');
  process.once('exit', killChild);
  const seenAt: (Moment | undefined)[] = [undefined, undefined];
  const stats = new Map<string, number>();
  let last = '';
  const shown = new LineSplitter();
  child.stdout.on('data', (chunk: Buffer) => {
    for (const line of shown.push(chunk.toString('latin1'))) {
      if (line !== '') last = line;
      request.marks.forEach((mark, index) => {
        if (line.includes(mark)) seenAt[index] ??= momentOf(child.pid);
      });
    }
  });
  const said = new LineSplitter();
  child.stderr.on('data', (chunk: Buffer) => {
    for (const line of said.push(chunk.toString('latin1'))) {
      const [, name, value] = /^vm: (\S.*?) +(\d+)$/.exec(line) ?? [];
      if (name !== undefined) stats.set(name, Number(value));
    }
  });
  await new Promise<void>((resolve) => {
    child.on('error', () => resolve());
    child.on('close', () => resolve());
  });
  process.off('exit', killChild);
  const [up, done] = seenAt;
  if (up === undefined || done === undefined) return `did not get to both marks; last line: ${JSON.stringify(last)}`;
  return {
    shellSeconds: (up.ms - start) / 1000,
    loadSeconds: (done.ms - up.ms) / 1000,
    shellCpuSeconds: up.cpuSeconds,
    loadCpuSeconds: done.cpuSeconds - up.cpuSeconds,
    instructions: stats.get('instructions') ?? 0,
    exits: stats.get('exits') ?? 0,
  };
}

type Measured = readonly { readonly door: Door; readonly runs: Run[] }[];

/** Every door once a round, so that a busy moment of the machine does not fall on one of them alone. */
async function measure(request: Request): Promise<{ measured: Measured; ok: boolean }> {
  const measured = request.doors.map((door) => ({ door, runs: [] as Run[] }));
  let ok = true;
  for (let round = 1; round <= request.runs; round++) {
    for (const { door, runs } of measured) {
      console.error(`run ${round} of ${request.runs}: ${door.title} ...`);
      const run = await runOnce(request, door);
      if (typeof run !== 'string') runs.push(run);
      else console.error(`  ${door.name}: ${run}`);
      ok &&= typeof run !== 'string';
    }
  }
  return { measured, ok };
}

function render(measured: Measured): string {
  const of = (runs: readonly Run[], field: keyof Run) =>
    runs.length === 0 ? undefined : median(runs.map((run) => run[field]));
  const first = measured[0].runs;
  const seconds = (value: number | undefined) =>
    value === undefined || Number.isNaN(value) ? '–' : `${value.toFixed(2)} s`;
  const ratio = (value: number | undefined, to: number | undefined) =>
    value === undefined || to === undefined || Number.isNaN(value / to) ? '–' : `${(value / to).toFixed(2)} ×`;
  const count = (value: number | undefined) => (value === undefined ? '–' : Math.round(value).toLocaleString('en-US'));
  const lines = measured.map(({ door, runs }) => [
    ...[door.title, seconds(of(runs, 'shellSeconds')), seconds(of(runs, 'shellCpuSeconds'))],
    ratio(of(runs, 'shellCpuSeconds'), of(first, 'shellCpuSeconds')),
    ...[seconds(of(runs, 'loadSeconds')), seconds(of(runs, 'loadCpuSeconds'))],
    ratio(of(runs, 'loadCpuSeconds'), of(first, 'loadCpuSeconds')),
    ...[count(of(runs, 'instructions')), count(of(runs, 'exits'))],
  ]);
  const to = `÷ ${measured[0].door.title}`;
  const head = ['door', 'to the first mark', 'CPU', to, 'to the second', 'CPU', to, 'instructions', 'exits'];
  return [head, ['---', ...head.slice(1).map(() => '---:')], ...lines]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

async function main(): Promise<boolean> {
  const request = parseRequest();
  const { measured, ok } = await measure(request);
  const medians = request.runs === 1 ? 'one run' : `medians of ${request.runs} runs`;
  console.log(
    `${path.basename(request.kernel)}, ${request.memoryMegabytes} MB, --clock ${request.clock}; ${medians}\n`,
  );
  console.log(render(measured));
  return ok;
}

await runMain('bench:doors', main);

/**
 * `npm run bench:ops`: what ops modules bring to a kernel that was booted natively. Debian's kernel forks and executes
 * busybox 500 times, with a module's operations in it and without, in turns within one run: the wall clock, the processor's
 * time, exits by kind. All of that once while system instructions that nobody is asked about stay in generated code, and once
 * while each of them leaves.
 *
 * On several vCPUs (`--cpus`) the load is guests/threads: a program of as many threads, of which the first forks and executes so
 * often, while the others map memory, touch it and unmap it 4,000 times. Operations that keep the interrupt flag in memory are for one
 * vCPU alone, so `xen-ops` is only for `--exits asked` there.
 *
 *   --module MODULE     as `vm ops load` takes it (xen-ops)
 *   --exits asked,all   which of the two (both)
 *   --cpus N            vCPUs (1)
 *   --processes N       how often the load forks and executes (500)
 *   --rounds N          how often it runs without and with the module (5)
 *   --clock wall|icount (wall), --timeout S for each boot with its rounds (600), --node FILE
 *
 * The tables go to stdout, everything else to stderr. Exits 1 if a run did not come to its end.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { catalogue } from '../packages/cli/src/catalogue/index.ts';
import { withProgram } from '../packages/cli/src/catalogue/initramfs.ts';
import { ControlClient } from '../packages/cli/src/control/client.ts';
import { findVm } from '../packages/cli/src/control/commands.ts';
import { statsSchema } from '../packages/cli/src/control/protocol.ts';
import { changeSchema } from '../packages/cli/src/ops/vm-ops-schema.ts';
import { ProgressLine } from '../packages/cli/src/progress.ts';
import { cells, markdownTable } from './boot-run.ts';
import { type Moment, momentOf } from './moment.ts';
import { checkedNode, positive, runMain, temporaryDirectory } from './request.ts';
import { median } from './table.ts';

const ANSWER_TIMEOUT_MS = 60_000;
const PROMPT = '~ # ';
/** Text kept of the console: more than an answer to one line. */
const KEPT_CHARS = 65_536;

interface Request {
  readonly module: string;
  readonly exits: readonly ('asked' | 'all')[];
  readonly cpus: number;
  readonly processes: number;
  readonly rounds: number;
  readonly clock: string;
  readonly timeoutSeconds: number;
  readonly nodePath: string;
}

function parseRequest(): Request {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      ...{ module: text, exits: text, cpus: text, processes: text },
      ...{ rounds: text, clock: text, timeout: text, node: text },
    },
  });
  const exits = (values.exits ?? 'asked,all').split(',').map((choice) => {
    if (choice === 'asked' || choice === 'all') return choice;
    throw new Error(`--exits ${choice}: asked, all, or both`);
  });
  return {
    ...{ module: values.module ?? 'xen-ops', exits },
    cpus: positive('--cpus', values.cpus ?? '1'),
    processes: positive('--processes', values.processes ?? '500'),
    rounds: positive('--rounds', values.rounds ?? '5'),
    clock: values.clock ?? 'wall',
    timeoutSeconds: positive('--timeout', values.timeout ?? '600'),
    nodePath: checkedNode(values.node),
  };
}

type Counters = ReadonlyMap<string, number>;

/** One turn of the load. */
interface Turn {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly counters: Counters;
}

/** A guest at its shell's prompt. */
class Guest {
  readonly #child: ChildProcess;
  readonly #kill = () => this.#child.kill('SIGKILL');
  #console = '';
  #hasEnded = false;
  #changed: () => void = () => {};

  constructor(nodePath: string, args: readonly string[]) {
    this.#child = spawn(nodePath, [path.join(import.meta.dirname, '../scripts/vm.mjs'), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    process.once('exit', this.#kill);
    this.#child.stdin?.on('error', () => {});
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#console = (this.#console + chunk.toString('latin1')).slice(-KEPT_CHARS);
      this.#changed();
    });
    for (const event of ['error', 'close']) {
      this.#child.on(event, () => {
        this.#hasEnded = true;
        this.#changed();
      });
    }
  }

  /** When the console's text from here on has shown this. */
  async shows(text: string): Promise<Moment> {
    while (!this.#console.includes(text)) {
      if (this.#hasEnded)
        throw new Error(`the guest has ended; its last words: ${JSON.stringify(this.#console.slice(-300))}`);
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
    const moment = momentOf(this.#child.pid);
    this.#console = this.#console.slice(this.#console.indexOf(text) + text.length);
    return moment;
  }
  type(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }
  end(): void {
    process.off('exit', this.#kill);
    this.#kill();
  }
}

async function countersOf(client: ControlClient): Promise<Counters> {
  const { machine } = await client.call('vm.stats', {}, statsSchema, ANSWER_TIMEOUT_MS);
  return new Map(Object.entries(machine).map(([name, value]) => [name, Number(value)]));
}

/** Rounds of each of {@link THREADS}' other threads. */
const MAPPING_ROUNDS = 4000;
const THREADS = new URL('../guests/threads/prebuilt/threads.elf', import.meta.url);

/** Debian's initramfs with {@link THREADS} in it, in a file. */
async function initrdWithThreads(): Promise<string> {
  const progress = new ProgressLine();
  const { initrd = new Uint8Array() } = await catalogue.debian.load(progress).finally(() => progress.clear());
  const file = path.join(await temporaryDirectory(), 'initrd');
  await writeFile(file, withProgram(initrd, 'threads', await readFile(THREADS)));
  return file;
}

/** What the shell is told to do; it answers `begun`, and `done` if all of it was right. */
function loadOf({ cpus, processes }: Request): string {
  return cpus === 1
    ? `i=0; echo b"egun"; while [ $i -lt ${processes} ]; do /bin/busybox true; i=$((i+1)); done; echo d"one"`
    : `echo b"egun"; threads ${processes} ${cpus} ${MAPPING_ROUNDS} && echo d"one" || exit 1`;
}

async function takeTurn(guest: Guest, client: ControlClient, load: string): Promise<Turn> {
  const before = await countersOf(client);
  guest.type(load);
  const begun = await guest.shows('begun');
  const done = await guest.shows('done');
  await guest.shows(PROMPT);
  const after = await countersOf(client);
  return {
    seconds: (done.ms - begun.ms) / 1000,
    cpuSeconds: done.cpuSeconds - begun.cpuSeconds,
    counters: new Map([...after].map(([name, value]) => [name, value - (before.get(name) ?? 0)])),
  };
}

interface Measured {
  readonly without: Turn[];
  readonly with: Turn[];
}

async function measure(request: Request, exits: 'asked' | 'all'): Promise<Measured> {
  const { module, cpus, rounds, clock, timeoutSeconds, nodePath } = request;
  const load = loadOf(request);
  const name = `bench-ops-${process.pid}-${exits}`;
  const guest = new Guest(nodePath, [
    ...['run', 'debian', '--plugin', 'none', '--name', name, '--no-reboot', '--exits', exits],
    ...['--clock', clock, '--timeout', `${timeoutSeconds}`],
    ...(cpus === 1 ? [] : ['--cpus', `${cpus}`, '--initrd', await initrdWithThreads()]),
  ]);
  try {
    await guest.shows(PROMPT);
    const client = await ControlClient.connect(name, (await findVm(name)).socketPath);
    const change = (method: string, params: Record<string, unknown>) =>
      client.call(method, params, changeSchema, ANSWER_TIMEOUT_MS);
    const measured: Measured = { without: [], with: [] };
    // A change of the kernel's code drops what was compiled of it: the turn after one is not counted.
    const warmTurn = async (into: Turn[], what: string) => {
      await takeTurn(guest, client, load);
      const turn = await takeTurn(guest, client, load);
      into.push(turn);
      const [seconds, cpuSeconds] = [turn.seconds, turn.cpuSeconds].map((value) => value.toFixed(2));
      console.error(`--exits ${exits}: ${what}, ${seconds} s, processors ${cpuSeconds} s`);
    };
    let loaded: string | undefined;
    // Each is first as often as the other: a guest gets quicker the longer it runs, as more of it has been compiled.
    for (let round = 1; round <= rounds; round++) {
      console.error(`--exits ${exits}: round ${round} of ${rounds} ...`);
      const order = round % 2 === 1 ? [false, true] : [true, false];
      for (const isLoaded of order) {
        if (isLoaded && loaded === undefined) ({ name: loaded } = await change('ops.load', { module }));
        if (!isLoaded && loaded !== undefined) {
          await change('ops.unload', { name: loaded });
          loaded = undefined;
        }
        await warmTurn(isLoaded ? measured.with : measured.without, isLoaded ? module : 'without');
      }
    }
    client.close();
    return measured;
  } finally {
    guest.end();
  }
}

const of = (turns: readonly Turn[], counter: string) => median(turns.map(({ counters }) => counters.get(counter) ?? 0));

const isExit = (name: string) => name.startsWith('exit.');
const exitsOf = ({ counters }: Turn) =>
  [...counters].reduce((sum, [name, count]) => sum + (isExit(name) ? count : 0), 0);

/** Rows of the table: name, without, with, and how the second relates to the first. */
function rowsOf({ without, with: loaded }: Measured): string[][] {
  const { seconds, count, ratio } = cells;
  const row = (title: string, show: (value: number) => string, figure: (turns: readonly Turn[]) => number) => {
    const [before, after] = [figure(without), figure(loaded)];
    return [title, show(before), show(after), before === 0 ? '–' : ratio(after, before)];
  };
  const kinds = [...new Set([...without, ...loaded].flatMap(({ counters }) => [...counters.keys()]))]
    .filter(isExit)
    .filter((name) => Math.max(of(without, name), of(loaded, name)) >= 100)
    .sort((a, b) => of(without, b) - of(without, a));
  return [
    row('wall clock', seconds, (turns) => median(turns.map((turn) => turn.seconds))),
    row('processors', seconds, (turns) => median(turns.map(({ cpuSeconds }) => cpuSeconds))),
    row('instructions', count, (turns) => of(turns, 'instructions')),
    row('exits', count, (turns) => median(turns.map(exitsOf))),
    ...kinds.map((kind) => row(`… ${kind.slice('exit.'.length)}`, count, (turns) => of(turns, kind))),
  ];
}

function render(measured: Measured, exits: string, module: string): string {
  return markdownTable([`--exits ${exits}`, 'without', module, 'ratio'], rowsOf(measured));
}

async function main(): Promise<boolean> {
  const request = parseRequest();
  const { cpus, processes, rounds, clock } = request;
  const threads = cpus === 1 ? '' : `${cpus} vCPUs, ${cpus - 1} × ${MAPPING_ROUNDS} × map and unmap beside `;
  const conditions = `${threads}${processes} × fork+exec, ${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}, --clock ${clock}, Node ${process.version}`;
  console.log(`${conditions}\n`);
  for (const exits of request.exits) console.log(`${render(await measure(request, exits), exits, request.module)}\n`);
  return true;
}

await runMain('bench:ops', main);

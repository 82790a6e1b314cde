/**
 * `npm run bench:turns -- [KERNEL INITRD]`: guests side by side, each at a shell, and the same load in them by turns, round for
 * round, while the others wait for input. A machine whose speed changes in phases of seconds to minutes is as slow or quick for all
 * of a round; ratios are medians of those within rounds.
 *
 *   --engines A,B     of the names in engines.ts, but the host (qemu,polyvisor,polyvisor-native); ratios are those to the first
 *   --loads A,B       of the names in loads.ts, but `shell`; `k_*` for all that begin so (all)
 *   --coremark FILE   as for `npm run bench`
 *
 * With KERNEL and INITRD, that kernel through the doors of a 32-bit one. INITRD's init must bring a shell that reads commands from
 * the console, such as `exec /bin/busybox sh`:
 *   --doors A,B       of the names in door-rows.ts (all); ratios are those to the first
 *   --entry NAME      the native door ("elf"; a bzImage has "linux32")
 *   --exits CHOICE      of `vm run` (asked)
 *   --command TEXT    the load, one line for that shell, which is right if it exits with 0 (300 × `/bin/busybox true`)
 *
 *   --rounds N        how often each load is run in each guest (10); the first, with cold code, is told apart
 *   --memory MB       of each guest (512; through doors 128)
 *   --timeout S       for the way to a shell, and for each turn (300)
 *   --node FILE, --json FILE   as for `npm run bench`
 *
 * A load's table goes to stdout as soon as its rounds are over, everything else to stderr. Exits 1 if a guest ends or a load's
 * result is wrong.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { checkedCoremark } from './coremark.ts';
import { doorCommand, selectDoors } from './door-rows.ts';
import { type Engine, selectEngines } from './engines.ts';
import { prepare } from './inputs.ts';
import { selectLoads } from './loads.ts';
import { checkedNode, positive, runMain, temporaryDirectory } from './request.ts';
import { conditionsOf, describeConditions } from './results.ts';
import type { EngineCommand } from './session.ts';
import { type AskedLoad, probeLine, ShellGuest, shellLoad, type Turn } from './turn-guest.ts';
import { type MeasuredLoad, renderOverview, renderTurns, turnsToJson } from './turn-rows.ts';

/** What either kind of guests asks for. */
interface Request {
  readonly rounds: number;
  readonly memory: string | undefined;
  readonly timeoutSeconds: number;
  readonly nodePath: string;
  readonly jsonPath: string | undefined;
}

interface Row {
  readonly name: string;
  readonly title: string;
  readonly command: EngineCommand;
}

/** What is to be measured. */
interface Plan {
  readonly rows: readonly Row[];
  readonly loads: readonly AskedLoad[];
  /** For guests that do not say themselves that their shell is there. */
  readonly probe?: string;
  readonly kernelPath: string;
  readonly memoryMegabytes: number;
}

const text = { type: 'string' } as const;
const engineOptions = { engines: text, loads: text, coremark: text };
const doorOptions = { doors: text, entry: text, exits: text, command: text };
const commonOptions = { rounds: text, memory: text, timeout: text, node: text, json: text };

function parseOptions() {
  const options = { ...engineOptions, ...doorOptions, ...commonOptions };
  const { values, positionals } = parseArgs({ allowPositionals: true, options });
  const isDoors = positionals.length > 0;
  if (isDoors && positionals.length !== 2) throw new Error('give KERNEL and INITRD, or neither');
  for (const name of Object.keys(isDoors ? engineOptions : doorOptions)) {
    if (!(name in values)) continue;
    throw new Error(`--${name}: ${isDoors ? 'not together with KERNEL and INITRD' : 'give KERNEL and INITRD'}`);
  }
  const request: Request = {
    rounds: positive('--rounds', values.rounds ?? '10'),
    memory: values.memory,
    timeoutSeconds: positive('--timeout', values.timeout ?? '300'),
    nodePath: checkedNode(values.node),
    jsonPath: values.json,
  };
  return { values, positionals, request };
}

type Values = ReturnType<typeof parseOptions>['values'];

/** Guests bound themselves too, should this program not be there to end them; setTimeout takes no more than 24 days. */
function lifetimeSeconds({ rounds, timeoutSeconds }: Request, guests: number, loads: number): number {
  return Math.min(timeoutSeconds * guests * (loads * rounds + 1), 7 * 24 * 3600);
}

function selectGuests(names = 'qemu,polyvisor,polyvisor-native'): readonly Engine[] {
  const chosen = selectEngines(names);
  if (chosen.some(({ name }) => name === 'host')) throw new Error('--engines host: is no guest; leave it out');
  return chosen;
}

function selectTurnLoads(values: Values) {
  const loads = selectLoads(values.loads, values.coremark === undefined ? [] : ['--coremark']);
  if (values.loads?.split(',').includes('shell')) throw new Error('--loads shell: is no load of a shell; leave it out');
  return loads.filter(({ name }) => name !== 'shell').map((load) => ({ ...load, line: load.name }));
}

async function planEngines(request: Request, values: Values): Promise<Plan> {
  const engines = selectGuests(values.engines);
  const loads = selectTurnLoads(values);
  const memoryMegabytes = positive('--memory', request.memory ?? '512');
  const coremark = checkedCoremark(values.coremark);
  const preparation = {
    ...{ engines, memoryMegabytes, nodePath: request.nodePath, kernel: undefined, busybox: undefined },
    work: { script: 'loads.sh', words: ['turns', ...loads.map(({ name }) => name)], coremark },
    timeoutSeconds: lifetimeSeconds(request, engines.length, loads.length),
  } as const;
  const inputs = await prepare(preparation, await temporaryDirectory());
  const rows = engines.map((engine) => ({ ...engine, command: engine.command(inputs) }));
  return { rows, loads, kernelPath: inputs.kernelPath, memoryMegabytes };
}

function planDoors(request: Request, values: Values, kernel: string, initrd: string): Plan {
  const doors = selectDoors(values.doors);
  const forks = 'i=0; while [ $i -lt 300 ] && /bin/busybox true; do i=$((i + 1)); done; [ $i = 300 ]';
  const forkLoad = { ...shellLoad(forks), title: '300 × fork+exec (shell)' };
  const load = values.command === undefined ? forkLoad : shellLoad(values.command);
  if (load.line.includes('\n')) throw new Error('--command: give one line');
  const memoryMegabytes = positive('--memory', request.memory ?? '128');
  const start = {
    ...{ kernel, initrd, memoryMegabytes, nodePath: request.nodePath },
    ...{ entry: values.entry ?? 'elf', exits: values.exits ?? 'asked', clock: 'wall' },
    timeoutSeconds: lifetimeSeconds(request, doors.length, 1),
  };
  const rows = doors.map((door) => ({ ...door, command: doorCommand(start, door) }));
  return { rows, loads: [load], probe: probeLine, kernelPath: kernel, memoryMegabytes };
}

interface Seat {
  readonly row: Row;
  readonly guest: ShellGuest;
}

async function measureLoad(seats: readonly Seat[], load: AskedLoad, request: Request): Promise<MeasuredLoad> {
  const seated = seats.map(({ row: { name, title }, guest }) => ({ guest, name, title, turns: [] as Turn[] }));
  for (let round = 1; round <= request.rounds; round++) {
    // Each in turn begins a round: a phase that starts within one does not always fall on the same guests.
    const at = (round - 1) % seated.length;
    for (const { guest, title, turns } of [...seated.slice(at), ...seated.slice(0, at)]) {
      const turn = await guest.turn(load, request.timeoutSeconds);
      turns.push(turn);
      console.error(`${load.title}: round ${round} of ${request.rounds}: ${title}: ${turn.seconds.toFixed(3)} s`);
    }
  }
  return { load, taken: seated.map(({ name, title, turns }) => ({ name, title, turns })) };
}

async function measure(plan: Plan, request: Request): Promise<MeasuredLoad[]> {
  const seats: Seat[] = [];
  try {
    for (const row of plan.rows) {
      console.error(`to a shell: ${row.title} ...`);
      const guest = new ShellGuest(row.title, row.command);
      seats.push({ row, guest });
      await guest.up(request.timeoutSeconds, plan.probe);
    }
    const measured: MeasuredLoad[] = [];
    for (const load of plan.loads) {
      const one = await measureLoad(seats, load, request);
      measured.push(one);
      console.log(`\n${renderTurns(load, one.taken)}`);
    }
    return measured;
  } finally {
    await Promise.all(seats.map(({ guest }) => guest.end()));
  }
}

async function main(): Promise<boolean> {
  const { values, positionals, request } = parseOptions();
  const [kernel, initrd] = positionals;
  const plan = kernel === undefined ? await planEngines(request, values) : planDoors(request, values, kernel, initrd);
  const conditions = conditionsOf(request.nodePath, path.basename(plan.kernelPath), plan.memoryMegabytes);
  console.log(`${describeConditions(conditions)}; ratios within each of ${request.rounds - 1} rounds after the first`);
  const measured = await measure(plan, request);
  if (plan.rows.length > 1 && measured.length > 1) console.log(`\n${renderOverview(measured)}`);
  if (request.jsonPath !== undefined)
    writeFileSync(request.jsonPath, turnsToJson(conditions, request.rounds, measured));
  return true;
}

await runMain('bench:turns', main);

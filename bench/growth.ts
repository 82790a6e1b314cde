/**
 * `npm run bench:growth`: how cost grows with the working set, the number of processes and guest memory.
 *
 *   --runs N, --engines A,B, --node FILE, --timeout S   as for `npm run bench` (engines: polyvisor,qemu-pvh,host)
 *   --parts A,B     of working-set, processes, memory (all)
 *   --write DIR     also write growth.md and its charts there, as docs/ has them
 *
 * Times are taken from outside. The host has no column in the part `memory`, for which guests are booted.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Chart, renderChart } from './chart.ts';
import { type Engine, type Inputs, selectEngines } from './engines.ts';
import { prepare } from './inputs.ts';
import type { Load } from './loads.ts';
import { checkedNode, positive, runMain, temporaryDirectory } from './request.ts';
import { conditionsOf, describe } from './results.ts';
import { runSession } from './session.ts';
import { median } from './table.ts';

const SIZES_KILOBYTES = [16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144];
/** Enough to be timed from outside where a step takes a nanosecond, and not too many where it takes hundreds. */
const stepsFor = (kilobytes: number) => (kilobytes <= 1024 ? 20_000_000 : 2_000_000);
const PROCESSES = [2, 4, 8, 16, 32, 64, 128, 256];
/** Hops of the byte in each ring. */
const HOPS = 8192;
const MEMORY_MEGABYTES = [128, 256, 512, 1024, 2048, 3072];
const GUEST_MEGABYTES = 512;

const parts = ['working-set', 'processes', 'memory'] as const;
type Part = (typeof parts)[number];

function sizeName(kilobytes: number): string {
  if (kilobytes < 1024) return `${kilobytes} KB`;
  return kilobytes < 2 ** 20 ? `${kilobytes / 1024} MB` : `${kilobytes / 2 ** 20} GB`;
}

function parseRequest() {
  const text = { type: 'string' } as const;
  const options = { runs: text, engines: text, node: text, timeout: text, parts: text, write: text };
  const { values } = parseArgs({ options });
  const chosen = values.parts?.split(',') ?? parts;
  const unknown = chosen.find((name) => !(parts as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`--parts ${unknown}: choose from ${parts.join(', ')}`);
  return {
    runs: positive('--runs', values.runs ?? '3'),
    engines: selectEngines(values.engines ?? 'polyvisor,qemu-pvh,host'),
    nodePath: checkedNode(values.node),
    parts: chosen as readonly Part[],
    writeTo: values.write,
    timeoutSeconds: positive('--timeout', values.timeout ?? '600'),
  };
}

type Request = ReturnType<typeof parseRequest>;

/** A line of a chart and a column of a table: figures of all runs by x. */
class Column {
  readonly title: string;
  readonly #values = new Map<number, number[]>();

  constructor(title: string) {
    this.title = title;
  }
  /** Two marker lines that arrived at once, because this program did not get to read, give no time. */
  add(x: number, value: number | undefined): void {
    if (value !== undefined && value > 0) this.#values.set(x, [...(this.#values.get(x) ?? []), value]);
  }
  at(x: number): number | undefined {
    const values = this.#values.get(x);
    return values && median(values);
  }
  points(xs: readonly number[]): [number, number][] {
    return xs.flatMap((x) => {
      const y = this.at(x);
      return y === undefined ? [] : [[x, y]];
    });
  }
}

/** One table with the chart beside it. */
interface Figure {
  readonly fileName: string;
  readonly chart: Omit<Chart, 'series'>;
  readonly xs: readonly number[];
  readonly columns: readonly Column[];
}

interface Outcome {
  readonly figures: readonly Figure[];
  readonly ok: boolean;
}

/** Two significant digits and more, without an exponent. */
function short(value: number): string {
  return value < 10 ? String(Number(value.toPrecision(2))) : Math.round(value).toLocaleString('en');
}

type Session = Awaited<ReturnType<typeof runSession>>;

async function prepared(request: Request, words: readonly string[]): Promise<Inputs> {
  const work = { script: 'programs.sh', words } as const;
  const fixed = { memoryMegabytes: GUEST_MEGABYTES, kernel: undefined, busybox: undefined };
  return prepare({ ...request, ...fixed, work }, await temporaryDirectory());
}

/** Runs a guest once for each engine and round. */
async function eachRun(
  request: Request,
  engines: readonly Engine[],
  inputs: Inputs,
  loads: readonly Load[],
  take: (engine: Engine, result: Session) => void,
): Promise<boolean> {
  let ok = true;
  for (let round = 1; round <= request.runs; round++) {
    for (const engine of engines) {
      console.error(`run ${round} of ${request.runs}: ${engine.title}, ${inputs.memoryMegabytes} MB ...`);
      const result = await runSession(engine.command(inputs), loads, request.timeoutSeconds);
      for (const complaint of result.complaints) console.error(`  ${engine.name}: ${complaint}`);
      ok &&= result.complaints.length === 0;
      take(engine, result);
    }
  }
  return ok;
}

const shell: Load = { name: 'shell', title: '', result: 'ok' };

async function workingSet(request: Request): Promise<Outcome> {
  const orders = ['sequential', 'random'];
  const columns = new Map(
    request.engines.flatMap(({ name, title }) =>
      orders.map((order) => [name + order, new Column(`${title}: ${order}`)]),
    ),
  );
  const walks = SIZES_KILOBYTES.flatMap((size) => {
    return orders.map((order): Load => ({ name: `${order}_${size}`, title: '', result: `${stepsFor(size)}` }));
  });
  const loads = [shell, ...walks];
  const words = SIZES_KILOBYTES.flatMap((size) => ['--', 'walk', `${stepsFor(size)}`, `${size}`]);
  const inputs = await prepared(request, words.slice(1));
  const ok = await eachRun(request, request.engines, inputs, loads, (engine, run) => {
    for (const size of SIZES_KILOBYTES) {
      for (const order of orders) {
        const seconds = run.seconds.get(`${order}_${size}`);
        columns.get(engine.name + order)!.add(size, seconds && (seconds * 1e9) / stepsFor(size));
      }
    }
  });
  const chart = {
    title: 'A load whose address comes from the load before, lines 64 bytes apart',
    xTitle: 'working set',
    yTitle: 'ns per load (3 instructions)',
    xLabel: sizeName,
    yLabel: short,
  };
  return {
    figures: [{ fileName: 'growth-working-set.svg', chart, xs: SIZES_KILOBYTES, columns: [...columns.values()] }],
    ok,
  };
}

async function processes(request: Request): Promise<Outcome> {
  const columns = new Map(request.engines.map(({ name, title }) => [name, new Column(title)]));
  const rings = PROCESSES.map((count) => ({ count, name: `ring${count}`, rounds: HOPS / count }));
  const loads = [shell, ...rings.map(({ name, rounds }): Load => ({ name, title: '', result: `${rounds}` }))];
  const inputs = await prepared(request, ['operations', ...rings.flatMap(({ name, rounds }) => [name, `${rounds}`])]);
  const ok = await eachRun(request, request.engines, inputs, loads, (engine, run) => {
    for (const { count, name } of rings) {
      const seconds = run.seconds.get(name);
      columns.get(engine.name)!.add(count, seconds && (seconds * 1e6) / HOPS);
    }
  });
  const chart = {
    title: 'A byte handed round a ring of processes by pipes',
    xTitle: 'processes',
    yTitle: 'µs per hop',
    xLabel: String,
    yLabel: short,
  };
  return { figures: [{ fileName: 'growth-processes.svg', chart, xs: PROCESSES, columns: [...columns.values()] }], ok };
}

async function memory(request: Request): Promise<Outcome> {
  const guests = request.engines.filter(({ name }) => name !== 'host');
  const seconds = new Map(guests.map(({ name, title }) => [name, new Column(title)]));
  const resident = new Map(guests.map(({ name, title }) => [name, new Column(title)]));
  const inputs = await prepared(request, ['operations', 'null', '1']);
  let ok = true;
  for (const memoryMegabytes of MEMORY_MEGABYTES) {
    const all = await eachRun(request, guests, { ...inputs, memoryMegabytes }, [shell], (engine, run) => {
      seconds.get(engine.name)!.add(memoryMegabytes * 1024, run.seconds.get('shell'));
      resident.get(engine.name)!.add(memoryMegabytes * 1024, run.peakBytes && run.peakBytes / 2 ** 20);
    });
    ok &&= all;
  }
  const common = { xTitle: 'guest memory', xLabel: sizeName, yLabel: short };
  const xs = MEMORY_MEGABYTES.map((megabytes) => megabytes * 1024);
  const time = { title: 'From the start of the process to the shell', yTitle: 's', ...common };
  const size = { title: 'Most host memory that the process used until then', yTitle: 'MB', ...common };
  return {
    figures: [
      { fileName: 'growth-boot-time.svg', chart: time, xs, columns: [...seconds.values()] },
      { fileName: 'growth-host-memory.svg', chart: size, xs, columns: [...resident.values()] },
    ],
    ok,
  };
}

function renderFigure({ chart, xs, columns }: Figure): string {
  const cells = (x: number) => columns.map((column) => column.at(x)).map((y) => (y === undefined ? '–' : short(y)));
  const lines = [
    [`${chart.xTitle}: ${chart.yTitle}`, ...columns.map(({ title }) => title)],
    ['---:', ...columns.map(() => '---:')],
    ...xs.map((x) => [chart.xLabel(x), ...cells(x)]),
  ];
  return `## ${chart.title}\n\n${lines.map((row) => `| ${row.join(' | ')} |`).join('\n')}\n`;
}

function write(directory: string, figures: readonly Figure[], conditions: string): void {
  mkdirSync(directory, { recursive: true });
  const sections = figures.map((figure) => `${renderFigure(figure)}\n![${figure.chart.title}](${figure.fileName})\n`);
  const head = `# How cost grows\n\nWritten by \`npm run bench:growth -- --write docs\`. ${conditions}.\n`;
  writeFileSync(path.join(directory, 'growth.md'), [head, ...sections].join('\n'));
  for (const { fileName, chart, xs, columns } of figures) {
    const series = columns.map((column) => ({ name: column.title, points: column.points(xs) }));
    writeFileSync(path.join(directory, fileName), renderChart({ ...chart, series }));
  }
}

async function main(): Promise<boolean> {
  const request = parseRequest();
  const measure = { 'working-set': workingSet, processes, memory };
  const outcomes: Outcome[] = [];
  for (const part of parts) if (request.parts.includes(part)) outcomes.push(await measure[part](request));
  const figures = outcomes.flatMap((outcome) => outcome.figures);
  const conditions = describe(conditionsOf(request.nodePath, "Debian's kernel", GUEST_MEGABYTES), request.runs);
  console.log(`${conditions}\n\n${figures.map(renderFigure).join('\n')}`);
  if (request.writeTo !== undefined) write(request.writeTo, figures, conditions);
  return outcomes.every(({ ok }) => ok);
}

await runMain('bench:growth', main);

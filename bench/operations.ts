/**
 * `npm run bench:operations`: what single operations of a kernel cost, in nanoseconds, by many of each: a null system
 * call, a page fault, mmap and munmap, a switch between processes by a pipe, fork, fork with exec, a timer.
 *
 *   --runs N, --engines A,B, --node FILE, --memory MB, --timeout S, --json FILE   as for `npm run bench`
 *
 * Each is measured twice: from outside, between two marker lines, and from inside, by the guest's own clock. Where the
 * two differ, the guest's time does not run as the host's.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Engine, selectEngines } from './engines.ts';
import { prepare } from './inputs.ts';
import { checkedNode, positive, runMain, temporaryDirectory } from './request.ts';
import { conditionsOf, describe } from './results.ts';
import { runSession } from './session.ts';
import { median } from './table.ts';

interface Operation {
  /** As guests/operations knows it. */
  readonly name: string;
  readonly title: string;
  readonly count: number;
}

const operations: readonly Operation[] = [
  { name: 'null', title: 'null system call', count: 200_000 },
  { name: 'fault', title: 'page fault, anonymous', count: 30_000 },
  { name: 'map', title: 'mmap + munmap', count: 20_000 },
  { name: 'pipe', title: 'pipe there and back (two switches)', count: 5_000 },
  { name: 'fork', title: 'fork, exit, wait', count: 300 },
  { name: 'spawn', title: 'fork, exec, exit, wait', count: 300 },
  { name: 'timer', title: 'timer: set, idle, interrupt, wake', count: 2_000 },
];

/** Nanoseconds per operation of one engine, one number a run. */
interface Costs {
  readonly outsideNs: number[];
  readonly insideNs: number[];
}

interface Measured {
  readonly engine: Engine;
  readonly costs: ReadonlyMap<string, Costs>;
}

function parseRequest() {
  const text = { type: 'string' } as const;
  const options = { runs: text, engines: text, node: text, memory: text, timeout: text, json: text };
  const { values } = parseArgs({ options });
  return {
    runs: positive('--runs', values.runs ?? '3'),
    engines: selectEngines(values.engines),
    nodePath: checkedNode(values.node),
    jsonPath: values.json,
    kernel: undefined,
    busybox: undefined,
    memoryMegabytes: positive('--memory', values.memory ?? '512'),
    timeoutSeconds: positive('--timeout', values.timeout ?? '300'),
    work: {
      script: 'programs.sh',
      words: ['operations', ...operations.flatMap(({ name, count }) => [name, `${count}`])],
    },
  } as const;
}

const loads = [
  { name: 'shell', title: '', result: 'ok' },
  ...operations.map(({ name, title, count }) => ({ name, title, result: `${count}` })),
];

function nanoseconds(values: readonly number[] | undefined): string {
  if (!values || values.length === 0) return '–';
  const value = median(values);
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
}

function render(measured: readonly Measured[]): string {
  const lines = [
    ['ns per operation: outside / inside', ...measured.map(({ engine }) => engine.title)],
    ['---', ...measured.map(() => '---:')],
    ...operations.map(({ name, title }) => [
      title,
      ...measured.map(({ costs }) => {
        const { outsideNs, insideNs } = costs.get(name)!;
        return `${nanoseconds(outsideNs)} / ${nanoseconds(insideNs)}`;
      }),
    ]),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

async function main(): Promise<boolean> {
  const request = parseRequest();
  const inputs = await prepare(request, await temporaryDirectory());
  const conditions = conditionsOf(request.nodePath, path.basename(inputs.kernelPath), request.memoryMegabytes);
  const empty = (): Costs => ({ outsideNs: [], insideNs: [] });
  const measured = request.engines.map((engine) => {
    return { engine, costs: new Map(operations.map(({ name }) => [name, empty()])) };
  });
  let ok = true;
  for (let round = 1; round <= request.runs; round++) {
    for (const { engine, costs } of measured) {
      console.error(`run ${round} of ${request.runs}: ${engine.title} ...`);
      const result = await runSession(engine.command(inputs), loads, request.timeoutSeconds);
      for (const complaint of result.complaints) console.error(`  ${engine.name}: ${complaint}`);
      ok &&= result.complaints.length === 0;
      for (const { name, count } of operations) {
        const [outside, inside] = [result.seconds.get(name), result.insideNs.get(name)];
        if (outside !== undefined) costs.get(name)!.outsideNs.push((outside * 1e9) / count);
        if (inside !== undefined) costs.get(name)!.insideNs.push(inside / count);
      }
    }
  }
  console.log(`${describe(conditions, request.runs)}\n\n${render(measured)}`);
  const engines = measured.map(({ engine, costs }) => ({
    name: engine.name,
    nsPerOperation: Object.fromEntries(costs),
  }));
  if (request.jsonPath !== undefined)
    writeFileSync(request.jsonPath, `${JSON.stringify({ conditions, engines }, null, 2)}\n`);
  return ok;
}

await runMain('bench:operations', main);

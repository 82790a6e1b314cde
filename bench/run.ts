/**
 * `npm run bench`: the same kernel, initramfs and loads on every engine in one run, as a table of medians.
 *
 *   --runs N          how often each engine is run (3)
 *   --engines A,B     of the names in engines.ts; ratios are those of the first (all but polyvisor-tier0)
 *   --loads A,B       of the names in loads.ts, `k_*` for all that begin so (all)
 *   --node FILE       the Node that runs Polyvisor, instead of the one that runs this
 *   --json FILE       also write every run's times, medians, ratios and conditions there
 *   --kernel FILE     instead of Debian's from the catalogue
 *   --busybox FILE    a static busybox, instead of Debian's
 *   --coremark FILE   a static CoreMark for x86-64 Linux, which brings the load `coremark`
 *   --memory MB       of each guest (512)
 *   --timeout S       for each run of an engine (600)
 *
 * The table goes to stdout, everything else to stderr. Exits 1 if an engine did not get through all loads.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { checkedCoremark } from './coremark.ts';
import type { Engine, Inputs } from './engines.ts';
import { selectEngines } from './engines.ts';
import { prepare } from './inputs.ts';
import { type Load, selectLoads } from './loads.ts';
import { checkedNode, positive, runMain, temporaryDirectory } from './request.ts';
import { columnsOf, conditionsOf, describe, type Measured, toJson } from './results.ts';
import type { Timings } from './session.ts';
import { runSession } from './session.ts';
import { renderTable } from './table.ts';

interface Request {
  readonly runs: number;
  readonly engines: readonly Engine[];
  readonly loads: readonly Load[];
  readonly nodePath: string;
  readonly jsonPath: string | undefined;
  readonly kernel: string | undefined;
  readonly busybox: string | undefined;
  readonly coremark: string | undefined;
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
}

function parseRequest(): Request {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      ...{ runs: text, engines: text, loads: text, node: text, json: text },
      ...{ kernel: text, busybox: text, coremark: text, memory: text, timeout: text },
    },
  });
  return {
    runs: positive('--runs', values.runs ?? '3'),
    engines: selectEngines(values.engines),
    loads: selectLoads(values.loads, values.coremark === undefined ? [] : ['--coremark']),
    nodePath: checkedNode(values.node),
    jsonPath: values.json,
    kernel: values.kernel,
    busybox: values.busybox,
    coremark: checkedCoremark(values.coremark),
    memoryMegabytes: positive('--memory', values.memory ?? '512'),
    timeoutSeconds: positive('--timeout', values.timeout ?? '600'),
  };
}

/** Every engine once a round, so that a busy moment of the machine does not fall on one of them alone. */
async function measure(request: Request, inputs: Inputs): Promise<{ measured: Measured[]; ok: boolean }> {
  const measured = request.engines.map((engine) => ({ engine, runs: [] as Timings[] }));
  let ok = true;
  for (let round = 1; round <= request.runs; round++) {
    for (const { engine, runs } of measured) {
      console.error(`run ${round} of ${request.runs}: ${engine.title} ...`);
      const result = await runSession(engine.command(inputs), request.loads, request.timeoutSeconds);
      runs.push(result.seconds);
      for (const complaint of result.complaints) console.error(`  ${engine.name}: ${complaint}`);
      ok &&= result.complaints.length === 0;
    }
  }
  return { measured, ok };
}

async function main(): Promise<boolean> {
  const request = parseRequest();
  const words = request.loads.map(({ name }) => name);
  const work = { script: 'loads.sh', words, coremark: request.coremark } as const;
  const inputs = await prepare({ ...request, work }, await temporaryDirectory());
  const conditions = conditionsOf(request.nodePath, path.basename(inputs.kernelPath), request.memoryMegabytes);
  const { measured, ok } = await measure(request, inputs);
  console.log(`${describe(conditions, request.runs)}\n`);
  console.log(renderTable(request.loads, columnsOf(measured, request.loads)));
  if (request.jsonPath !== undefined) writeFileSync(request.jsonPath, toJson(conditions, measured, request.loads));
  return ok;
}

await runMain('bench', main);

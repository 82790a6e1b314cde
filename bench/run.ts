/**
 * `npm run bench`: the same kernel, initramfs and loads on every engine in one run, as a table of medians.
 *
 *   --runs N          how often each engine is run (3)
 *   --engines A,B     of polyvisor, qemu, host (all)
 *   --kernel FILE     instead of Debian's from the catalogue
 *   --busybox FILE    a static busybox, instead of Debian's
 *   --memory MB       of each guest (512)
 *   --timeout S       for each run of an engine (300)
 *
 * The table goes to stdout, everything else to stderr. Exits 1 if an engine did not get through all loads.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Engine, Inputs } from './engines.ts';
import { engines } from './engines.ts';
import { debianBusybox, debianKernel, integerPath, writeInitramfs } from './inputs.ts';
import { loads } from './loads.ts';
import type { Timings } from './session.ts';
import { runSession } from './session.ts';
import type { Row } from './table.ts';
import { mediansOf, ratioRow, renderTable, secondsRow } from './table.ts';

interface Request {
  readonly runs: number;
  readonly engines: readonly Engine[];
  readonly kernel: string | undefined;
  readonly busybox: string | undefined;
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
}

function parseRequest(): Request {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: { runs: text, engines: text, kernel: text, busybox: text, memory: text, timeout: text },
  });
  const names = values.engines?.split(',');
  return {
    runs: positive('--runs', values.runs ?? '3'),
    engines: names ? names.map(engineNamed) : engines,
    kernel: values.kernel,
    busybox: values.busybox,
    memoryMegabytes: positive('--memory', values.memory ?? '512'),
    timeoutSeconds: positive('--timeout', values.timeout ?? '300'),
  };
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${flag} ${text}: give a whole number from 1`);
  return value;
}

function engineNamed(name: string): Engine {
  const engine = engines.find((candidate) => candidate.name === name);
  if (!engine) throw new Error(`--engines ${name}: choose from ${engines.map((known) => known.name).join(', ')}`);
  return engine;
}

/** Every engine once a round, so that a busy moment of the machine does not fall on one of them alone. */
async function measure(request: Request, inputs: Inputs): Promise<{ medians: Map<string, Timings>; ok: boolean }> {
  const runs = new Map<string, Timings[]>(request.engines.map(({ name }) => [name, []]));
  let ok = true;
  for (let round = 1; round <= request.runs; round++) {
    for (const engine of request.engines) {
      console.error(`run ${round} of ${request.runs}: ${engine.title} ...`);
      const result = await runSession(engine.command(inputs), loads, request.timeoutSeconds);
      runs.get(engine.name)!.push(result.seconds);
      for (const complaint of result.complaints) console.error(`  ${engine.name}: ${complaint}`);
      ok &&= result.complaints.length === 0;
    }
  }
  return { medians: new Map([...runs].map(([name, timings]) => [name, mediansOf(timings, loads)])), ok };
}

function rowsOf(measured: readonly Engine[], medians: ReadonlyMap<string, Timings>): Row[] {
  const rows = measured.map(({ name, title }) => secondsRow(title, medians.get(name)!, loads));
  const ours = medians.get('polyvisor');
  for (const { name, title } of measured) {
    if (ours && name !== 'polyvisor') rows.push(ratioRow(`**Polyvisor ÷ ${title}**`, ours, medians.get(name)!, loads));
  }
  return rows;
}

function qemuVersion(): string {
  try {
    const text = execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' });
    return /version (\S+)/.exec(text)?.[1] ?? 'of unknown version';
  } catch {
    return 'missing';
  }
}

function describe(request: Request, inputs: Inputs): string {
  const runs = request.runs === 1 ? 'one run' : `medians of ${request.runs} runs`;
  return [
    `Node ${process.version} (V8 ${process.versions.v8}), QEMU ${qemuVersion()}`,
    `${path.basename(inputs.kernelPath)}, ${inputs.memoryMegabytes} MB`,
    `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}`,
    runs,
  ].join('; ');
}

/** Fetches, or takes what was named, and writes the initramfs; all that is made lies in `directory`. */
async function prepare(request: Request, directory: string): Promise<Inputs> {
  const kernelPath = request.kernel ?? (await debianKernel(directory));
  const busyboxPath = request.busybox ?? (await debianBusybox());
  const scratchPath = path.join(directory, 'scratch');
  await mkdir(scratchPath);
  const initramfsPath = await writeInitramfs(directory, busyboxPath);
  const { memoryMegabytes, timeoutSeconds } = request;
  return { kernelPath, initramfsPath, busyboxPath, integerPath, scratchPath, memoryMegabytes, timeoutSeconds };
}

async function main(): Promise<void> {
  const request = parseRequest();
  const directory = await mkdtemp(path.join(tmpdir(), 'polyvisor-bench-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const inputs = await prepare(request, directory);
  const { medians, ok } = await measure(request, inputs);
  console.log(`${describe(request, inputs)}\n`);
  console.log(renderTable(loads, rowsOf(request.engines, medians)));
  if (!ok) process.exitCode = 1;
}

// By way of `exit`, which ends the engine that is running and removes what was written.
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => process.exit(status));
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

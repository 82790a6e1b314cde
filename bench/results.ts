/** What was measured, and under which conditions: as columns of the table and as JSON. */
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import type { Engine } from './engines.ts';
import type { Load } from './loads.ts';
import type { Timings } from './session.ts';
import { type Column, mediansOf, ratiosOf } from './table.ts';

export interface Conditions {
  /** Of the Node that runs Polyvisor. */
  readonly node: string;
  readonly v8: string;
  readonly qemu: string;
  readonly kernel: string;
  readonly memoryMegabytes: number;
  readonly processor: string;
}

export function conditionsOf(nodePath: string, kernel: string, memoryMegabytes: number): Conditions {
  const script = 'JSON.stringify([process.version, process.versions.v8])';
  const [node, v8] = JSON.parse(execFileSync(nodePath, ['-p', script], { encoding: 'utf8' })) as string[];
  const processor = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}`;
  return { node, v8, qemu: qemuVersion(), kernel, memoryMegabytes, processor };
}

function qemuVersion(): string {
  try {
    const text = execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' });
    return /version (\S+)/.exec(text)?.[1] ?? 'of unknown version';
  } catch {
    return 'missing';
  }
}

export function describeConditions(conditions: Conditions): string {
  const { node, v8, qemu, kernel, memoryMegabytes, processor } = conditions;
  return `Node ${node} (V8 ${v8}), QEMU ${qemu}; ${kernel}, ${memoryMegabytes} MB; ${processor}`;
}

export function describe(conditions: Conditions, runs: number): string {
  return `${describeConditions(conditions)}; ${runs === 1 ? 'one run' : `medians of ${runs} runs`}`;
}

export interface Measured {
  readonly engine: Engine;
  readonly runs: readonly Timings[];
}

/** Medians of each engine, then how many times longer the first, if it is ours, takes than each other. */
export function columnsOf(measured: readonly Measured[], loads: readonly Load[]): Column[] {
  const medians = measured.map(({ engine, runs }) => ({ engine, values: mediansOf(runs, loads) }));
  const seconds = medians.map(({ engine, values }): Column => ({ title: engine.title, unit: 's', values }));
  const [first, ...others] = medians;
  if (!first?.engine.name.startsWith('polyvisor')) return seconds;
  const ratios = others.map(({ engine, values }): Column => {
    return { title: `**Polyvisor ÷ ${engine.title}**`, unit: '×', values: ratiosOf(first.values, values) };
  });
  return [...seconds, ...ratios];
}

/** Seconds of every run, medians and ratios, by names of engines and loads. */
export function toJson(conditions: Conditions, measured: readonly Measured[], loads: readonly Load[]): string {
  const medians = new Map(measured.map(({ engine, runs }) => [engine.name, mediansOf(runs, loads)]));
  const first = measured[0].engine.name;
  const engines = measured.map(({ engine: { name, title }, runs }) => ({
    name,
    title,
    medianSeconds: Object.fromEntries(medians.get(name)!),
    ...(name !== first && { ratioOfFirst: Object.fromEntries(ratiosOf(medians.get(first)!, medians.get(name)!)) }),
    runsSeconds: runs.map((run) => Object.fromEntries(run)),
  }));
  return `${JSON.stringify({ conditions, loads: loads.map(({ name, title }) => ({ name, title })), engines }, null, 2)}\n`;
}

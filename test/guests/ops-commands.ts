/** `vm ops …` from a test while its guest runs, and what a guest does meanwhile. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { runCommand } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const COMMAND_TIMEOUT_MS = 120_000;

/** What Linux says on its console when something has gone wrong. */
export const COMPLAINTS = /\bBUG\b|Oops|WARNING:|Call Trace|rcu.*stall|segfault|clocksource.*unstable/;

export interface OpsChange {
  readonly sites: number;
  readonly textIsAsBefore?: boolean;
}
interface ReportedSlot {
  readonly name: string;
  readonly state: string;
  readonly module?: string;
  readonly targetName?: string;
  readonly convention: string;
  readonly sites: number;
  readonly calls?: number;
  readonly spentUs?: number;
}
export interface OpsReport {
  readonly sites: number;
  readonly leftOut: number;
  readonly strays: number;
  readonly moduleSites: number;
  readonly moduleSitesUnknown: number;
  readonly slots: readonly ReportedSlot[];
  /** Operations that are no slots of the table. */
  readonly staticCalls: readonly ReportedSlot[];
}
export interface ListedModule {
  readonly name: string;
  readonly version: string;
  readonly api: string;
  readonly kind: string;
  readonly slots: readonly string[];
  readonly failed: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
}

interface CommandEnd {
  /** Exit code; `undefined` if it was killed. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

function command(args: readonly string[]): Promise<CommandEnd> {
  return new Promise((resolve) => {
    const options = { timeout: COMMAND_TIMEOUT_MS, killSignal: 'SIGKILL' } as const;
    const child = execFile(process.execPath, [vm, 'ops', ...args], options, (_error, stdout, stderr) =>
      resolve({ status: child.exitCode ?? undefined, stdout, stderr }),
    );
  });
}

/** What `vm ops … --json` answers; it succeeds, without a word beside. */
export async function ops<T>(...args: string[]): Promise<T> {
  const { status, stdout, stderr } = await command([...args, '--json']);
  expect([status, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as T;
}

/** What `vm ops …` says against it, with the exit code for refusals. */
export async function refusalOfOps(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await command(args);
  expect([status, stdout]).toEqual([10, '']);
  return stderr;
}

/** Exits that something makes in a running VM, by kind. */
export async function exitsOf(name: string, action: () => Promise<void>): Promise<Record<string, number>> {
  const counts = async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [vm, 'stats', name, '--json']);
    return JSON.parse(stdout).machine as Record<string, number>;
  };
  const before = await counts();
  await action();
  const after = Object.entries(await counts()).filter(([kind]) => kind.startsWith('exit.'));
  return Object.fromEntries(
    after.map(([kind, count]) => [kind.slice('exit.'.length), count - (before[kind] ?? 0)] as const),
  );
}

/** Programs start and end in the guest, so many times. */
export async function startPrograms(session: GuestSession, times = 4): Promise<void> {
  const all = Array.from({ length: times }, (_, i) => i + 1).join(' ');
  const { output, status } = await runCommand(session, `for i in ${all}; do /bin/busybox true; done; echo ok`);
  expect([output, status]).toEqual(['ok\n', 0]);
}

/** Does something while programs start and end in the guest without a pause. */
export async function underLoad(session: GuestSession, action: () => Promise<void>): Promise<void> {
  session.send('(while [ ! -e /tmp/stop ]; do /bin/busybox true; done) & sleep 0.1; echo started');
  await session.expect('started\n');
  await action();
  session.send('touch /tmp/stop; wait; rm /tmp/stop; echo stop"ped"');
  await session.expect('stopped\n');
}

/** A module `probe` at a version, of operations in TypeScript: its file. */
export function probeModule(directory: string, version: string, implementations: string): string {
  const file = path.join(directory, `probe-${version}.mts`);
  const manifest = `name: 'probe', version: '${version}', api: '^1.2', guest: 'linux'`;
  writeFileSync(file, `export default { ${manifest}, ops: ${implementations} };\n`);
  return file;
}

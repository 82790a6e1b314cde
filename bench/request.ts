/** Reading of command lines, and what every program of this folder does alike. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

export function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${flag} ${text}: give a whole number from 1`);
  return value;
}

/** A Node that starts; `undefined`: the one that runs this. */
export function checkedNode(file: string | undefined): string {
  if (file === undefined) return process.execPath;
  try {
    execFileSync(file, ['--version'], { stdio: 'pipe' });
    return file;
  } catch (error) {
    throw new Error(`--node ${file} cannot be started: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A directory that is gone when the process ends. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'polyvisor-bench-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Runs a program's `main`: one line for an error, and an exit that ends children and removes what was written. */
export async function runMain(name: string, main: () => Promise<boolean>): Promise<void> {
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => process.exit(status));
  }
  try {
    if (!(await main())) process.exitCode = 1;
  } catch (error) {
    console.error(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}

import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { GuestSession, type SessionEnd } from './guest-session.ts';

export interface TracedRun extends SessionEnd {
  /** JSON lines, one a hypercall. */
  readonly trace: string;
  readonly console: string;
}

/** Runs a guest that ends by itself; its hypercalls go to `traceFile`. */
export async function runTraced(traceFile: string, ...args: string[]): Promise<TracedRun> {
  const session = new GuestSession(...args, '--stats', '--trace', `hypercalls:${traceFile}`);
  try {
    const end = await session.ended();
    return { ...end, trace: readFileSync(traceFile, 'utf8'), console: session.console };
  } finally {
    await session.stop();
  }
}

/** Compares with golden/NAME.jsonl; README.md says how to take over a new trace. */
export async function expectGoldenTrace(name: string, trace: string): Promise<void> {
  await expect(trace).toMatchFileSnapshot(`golden/${name}.jsonl`);
}

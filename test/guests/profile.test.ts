/** `vm run --profile`: the demo guest's loops are found by name, in the table and in both kinds of file. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const PROMPT = 'demo> ';

interface ProfiledRun {
  readonly stderr: string;
  readonly file: string;
}

async function profiledBench(file: string): Promise<ProfiledRun> {
  const session = new GuestSession('demo', '--plugin', 'xen', '--profile', file);
  try {
    await session.expect(PROMPT);
    session.send('bench');
    await session.expect(PROMPT);
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    return { stderr, file: readFileSync(file, 'utf8') };
  } finally {
    await session.stop();
  }
}

/** The bench of the demo: a million rounds of 15 instructions, and a million of 11. */
const LOOPS = { run_integer: 15e6, run_memory: 11e6 };

describe('a profile of the demo guest', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-profile-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  let collapsed: ProfiledRun;
  let speedscope: ProfiledRun;
  beforeAll(async () => {
    collapsed = await profiledBench(path.join(directory, 'profile.folded'));
    speedscope = await profiledBench(path.join(directory, 'profile.json'));
  });

  it('shows the hottest symbols, most executed first', () => {
    expectOnlyReports(collapsed.stderr);
    expect(collapsed.stderr).toMatch(
      /^vm: profile: \d{3} samples of 3\d\.\d million instructions, \d+ symbols, in .*folded$/m,
    );
    const rows = [...collapsed.stderr.matchAll(/^vm: +(\d+\.\d)% +(\d+\.\d)% {2}(\S+)$/gm)];
    expect(rows.slice(0, 2).map(([, , , name]) => name)).toEqual(Object.keys(LOOPS));
  });

  it('counts instructions: each loop as many as it has', () => {
    const weights = new Map<string, number>();
    for (const line of collapsed.file.trimEnd().split('\n')) {
      const [stack, weight] = line.split(' ');
      const innermost = stack.split(';').at(-1) ?? '';
      weights.set(innermost, (weights.get(innermost) ?? 0) + Number(weight));
    }
    for (const [name, instructions] of Object.entries(LOOPS)) {
      expect(Math.abs((weights.get(name) ?? 0) - instructions)).toBeLessThan(instructions / 20);
    }
  });

  it('is a file that speedscope opens', () => {
    const { $schema, shared, profiles } = JSON.parse(speedscope.file);
    expect($schema).toBe('https://www.speedscope.app/file-format-schema.json');
    const names = shared.frames.map(({ name }: { name: string }) => name);
    expect(names).toEqual(expect.arrayContaining(Object.keys(LOOPS)));
    const [{ type, samples, weights, startValue, endValue }] = profiles;
    expect(type).toBe('sampled');
    expect(weights).toHaveLength(samples.length);
    expect(weights.reduce((sum: number, weight: number) => sum + weight, startValue)).toBe(endValue);
    for (const index of samples.flat()) expect(names[index]).toBeDefined();
  });
});

/** Under --clock icount a boot without input is the same boot each time, hypercall by hypercall, however code is run. */
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheDirectory } from '../../packages/cli/src/node/cache.ts';
import { testsOf } from './catalogue-guest.ts';
import { startDebian, startNativeDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import { BOOT_TIMEOUT_MS, type SessionEnd } from './guest-session.ts';
import { countersOf, expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', 'boots of Debian that reboot as their first act');

interface Boot extends SessionEnd {
  readonly console: string;
  readonly traceDigest: string;
}

const rebootAtOnce = (tier: string, ...more: string[]) => [
  '--append',
  'rdinit=/bin/reboot -- -f',
  '--no-reboot',
  '--stats',
  '--tier',
  tier,
  ...more,
];
/** Code is compiled in this run, between two stays in the guest. */
const HERE = ['--compile-thread', 'off', '--no-code-cache'];

async function bootOnce(traceFile: string, ...flags: string[]): Promise<Boot> {
  const session = startDebian(...flags, '--trace', `hypercalls:${traceFile}`);
  try {
    const end = await session.ended(BOOT_TIMEOUT_MS);
    const hash = createHash('sha256');
    await pipeline(createReadStream(traceFile), hash);
    return { ...end, console: session.console, traceDigest: hash.digest('hex') };
  } finally {
    await session.stop();
  }
}

describe.skipIf(skipped)(title, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-determinism-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  let first: Boot;
  let others: Boot[];
  beforeAll(async () => {
    const boot = (tier: string, ...more: string[]) =>
      bootOnce(path.join(directory, 'hypercalls.jsonl'), ...rebootAtOnce(tier, ...more));
    useOwnCodeCache(directory);
    // Compiled in another thread, whenever that is done.
    first = await boot('both', '--compile-thread', 'on');
    // Compiled later, interpreted throughout, and with the code of the first boot.
    others = [await boot('both:7777', ...HERE), await boot('0', ...HERE), await boot('both', '--compile-thread', 'on')];
  });

  it('under --no-reboot: exit code 7', () => {
    expect(first.console).toContain('reboot: Restarting system');
    expect(first.stderr).toMatch(/^vm: the guest rebooted$/m);
    expectOnlyReports(first.stderr);
    expect([first, ...others].map(({ exitCode }) => exitCode)).toEqual([7, 7, 7, 7]);
  });

  it('print the same', () => {
    for (const other of others) expect(other.console).toBe(first.console);
  });

  it('execute as many instructions, exits and hypercalls of each kind', () => {
    const counters = ofTheGuest(first);
    expect(Number(counters.instructions)).toBeGreaterThan(1e8);
    expect(Number(counters['xen.hypercall.mmu_update'])).toBeGreaterThan(1000);
    for (const other of others) expect(ofTheGuest(other)).toEqual(counters);
  });

  it('run compiled code where it is wanted, and there alone', () => {
    const compiled = (boot: Boot) => Number(countersOf(boot.stderr)['instructions in regions'] ?? 0);
    expect(Number(countersOf(first.stderr)['regions made in thread'])).toBeGreaterThan(100);
    expect(countersOf(others[0].stderr)).not.toHaveProperty('regions made in thread');
    expect(compiled(first)).toBeGreaterThan(1e8);
    expect(compiled(others[0])).toBeLessThan(compiled(first));
    expect(compiled(others[1])).toBe(0);
    expect(Number(countersOf(others[2].stderr)['regions from before'])).toBeGreaterThan(100);
  });

  it('make the same hypercalls with the same arguments', () => {
    for (const other of others) expect(other.traceDigest).toBe(first.traceDigest);
  });
});

describe.skipIf(skipped)(`${title}, without a plug-in`, () => {
  const sessions: GuestSession[] = [];
  afterAll(() => Promise.all(sessions.map((session) => session.stop())));

  it('print the same, and execute as many instructions and exits of each kind, however code is run', async () => {
    const boots: (SessionEnd & { console: string })[] = [];
    for (const tier of ['both', '0']) {
      const session = startNativeDebian(...rebootAtOnce(tier, ...HERE));
      sessions.push(session);
      boots.push({ ...(await session.ended(BOOT_TIMEOUT_MS)), console: session.console });
    }
    const [compiled, interpreted] = boots;
    expect([compiled.exitCode, interpreted.exitCode]).toEqual([7, 7]);
    expect(Number(countersOf(compiled.stderr)['instructions in regions'])).toBeGreaterThan(1e8);
    expect(interpreted.console).toBe(compiled.console);
    expect(ofTheGuest(interpreted)).toEqual(ofTheGuest(compiled));
  });
});

/** Counters that say what the guest did, not how it was run. */
function ofTheGuest(boot: SessionEnd): Record<string, string> {
  const counters = Object.entries(countersOf(boot.stderr));
  return Object.fromEntries(counters.filter(([name]) => /^(instructions|exits|exit\..*|xen\..*)$/.test(name)));
}

/** Code is kept in a folder below `directory` from now on; all else that is cached stays where it is. */
function useOwnCodeCache(directory: string): void {
  const own = path.join(directory, 'polyvisor');
  mkdirSync(own);
  for (const name of readdirSync(cacheDirectory()))
    if (name !== 'code') symlinkSync(path.join(cacheDirectory(), name), path.join(own, name));
  process.env.XDG_CACHE_HOME = directory;
}

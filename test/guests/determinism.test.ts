/** Under --clock icount a boot without input is the same boot each time, hypercall by hypercall. */
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { startDebian } from './debian-shell.ts';
import { BOOT_TIMEOUT_MS, type SessionEnd } from './guest-session.ts';
import { countersOf, expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', 'two boots of Debian that reboot as their first act');

interface Boot extends SessionEnd {
  readonly console: string;
  readonly traceDigest: string;
}

async function bootOnce(traceFile: string): Promise<Boot> {
  const trace = ['--trace', `hypercalls:${traceFile}`];
  const session = startDebian('--append', 'rdinit=/bin/reboot -- -f', '--no-reboot', '--stats', ...trace);
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
  let second: Boot;
  beforeAll(async () => {
    first = await bootOnce(path.join(directory, 'first.jsonl'));
    second = await bootOnce(path.join(directory, 'second.jsonl'));
  });

  it('under --no-reboot: exit code 7', () => {
    expect(first.console).toContain('reboot: Restarting system');
    expect(first.stderr).toMatch(/^vm: the guest rebooted$/m);
    expectOnlyReports(first.stderr);
    expect([first.exitCode, second.exitCode]).toEqual([7, 7]);
  });

  it('print the same', () => {
    expect(second.console).toBe(first.console);
  });

  it('execute as many instructions, exits and hypercalls of each kind', () => {
    const counters = countersOf(first.stderr);
    expect(Number(counters.instructions)).toBeGreaterThan(1e8);
    expect(Number(counters['xen.hypercall.mmu_update'])).toBeGreaterThan(1000);
    expect(countersOf(second.stderr)).toEqual(counters);
  });

  it('make the same hypercalls with the same arguments', () => {
    expect(second.traceDigest).toBe(first.traceDigest);
  });
});

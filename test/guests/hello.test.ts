/** The smallest guest: two lines, one by each hypercall transfer, then poweroff. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectGoldenTrace, runTraced, type TracedRun } from './golden-trace.ts';
import { countersOf, expectOnlyReports } from './said-by-vm.ts';

const hello = fileURLToPath(new URL('../../guests/hello/prebuilt/hello.elf', import.meta.url));

describe('the hello guest', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-hello-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const start = (file: string) => runTraced(path.join(directory, file), hello, '--plugin', 'xen');

  let run: TracedRun;
  beforeAll(async () => {
    run = await start('first.jsonl');
  });

  it('reaches its hypervisor both ways, and powers off', () => {
    expect(run.stderr).toMatch(/^vm: xen: \(d1\) hello from a PV64 guest, through the hypercall page$/m);
    expect(run.stderr).toMatch(/^vm: xen: \(d1\) hello from a PV64 guest, by syscall$/m);
    expectOnlyReports(run.stderr);
    expect(run.exitCode).toBe(0);
  });

  it('makes the hypercalls of golden/hello.jsonl', async () => {
    await expectGoldenTrace('hello', run.trace);
  });

  it('does the same each time', async () => {
    const again = await start('second.jsonl');
    expect(again.trace).toBe(run.trace);
    expect(countersOf(again.stderr)).toEqual(countersOf(run.stderr));
  });
});

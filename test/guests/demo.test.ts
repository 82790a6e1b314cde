/** The demo guest: every command of its monitor, each way it can end, and the hypercalls of its boot. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectGoldenTrace, runTraced, type TracedRun } from './golden-trace.ts';
import { GuestSession } from './guest-session.ts';
import { countersOf, expectOnlyReports } from './said-by-vm.ts';

const PROMPT = 'demo> ';

async function start(...args: string[]): Promise<GuestSession> {
  const session = new GuestSession('demo', '--plugin', 'xen', ...args);
  await session.expect(PROMPT);
  return session;
}

describe("the demo guest's monitor", () => {
  let session: GuestSession;
  beforeAll(async () => {
    session = await start('--append', 'some words', '--memory', '64M');
  });
  afterAll(() => session?.stop());

  async function ask(line: string): Promise<string> {
    session.send(line);
    return session.expect(PROMPT);
  }

  it('says where it is', () => {
    expect(session.console).toContain('door:    xen_pv, started by Xen 4.17');
    expect(session.console).toContain('calls:   SYSCALL, through the hypercall page');
    expect(session.console).toContain(`memory:  ${64 * 1024} KiB\n`);
    expect(session.console).toContain('options: some words\n');
  });

  it('help', async () => {
    const answer = await ask('help');
    for (const command of ['help', 'who', 'ops', 'time', 'mem', 'bench', 'fault', 'poweroff', 'reboot']) {
      expect(answer).toMatch(new RegExp(`^  ${command} +\\S`, 'm'));
    }
  });

  it('who: the boot descriptor', async () => {
    const answer = await ask('who');
    expect(answer).toMatch(/^hypervisor xen, ABI 4\.17, guest type pv64, data at 0xffff[0-9a-f]{12} guest-virtual$/m);
  });

  it('ops: every slot is filled by the door', async () => {
    const slots = (await ask('ops')).match(/^ {2}(\w+) +0x[0-9a-f]{16} {2}xen_pv_\1: /gm);
    expect(slots).toHaveLength(13);
  });

  it('time: clock, date, timer interrupt, TSC', async () => {
    const answer = await ask('time');
    expect(answer).toMatch(/^clock +\d+\.\d{6} s$/m);
    expect(answer).toMatch(/^wall clock +2025-01-01 00:0\d:\d\d UTC$/m);
    expect(answer).toMatch(/^timer +asked for 20 ms, came \d{1,3} us after that$/m);
    expect(answer).toMatch(/^TSC +1000000 kHz$/m);
  });

  it('mem: a page changes its frame', async () => {
    const answer = await ask('mem');
    expect(answer).toContain(`${(64 << 20) / 4096} pages of 4096 bytes`);
    expect(answer).toMatch(/set_pte: page 0x[0-9a-f]{16} read aaaa in frame \d+, bbbb .*, aaaa back again: right$/m);
  });

  it('bench: the loops compute what they must', async () => {
    const answer = await ask('bench');
    expect(answer.match(/^ {2}(integer|memory) .* {2}right$/gm)).toHaveLength(2);
    for (const loop of ['clock_ns', 'irq_disable \\+ irq_enable', 'null_call', 'flush_tlb', 'write_cr3']) {
      expect(answer).toMatch(new RegExp(`^ {2}${loop} +\\d+ x +\\d+\\.\\d\\d ns +\\d+ cycles$`, 'm'));
    }
  });

  it.each([
    ['pf', '#PF page fault (vector 14), error code 0x2\n  write of 0x10, page not present\n'],
    ['ud', '#UD invalid opcode (vector 6), error code 0x0\n'],
    ['gp', '#GP general protection (vector 13), error code 0x0\n'],
    ['de', '#DE divide error (vector 0), error code 0x0\n'],
  ])('fault %s: raised, described and caught', async (name, report) => {
    const answer = await ask(`fault ${name}`);
    expect(answer).toContain(report);
    expect(answer).toContain(`\n${name}: caught\n`);
  });

  it('fault: all of them, and the monitor goes on', async () => {
    expect((await ask('fault')).match(/^(pf|ud|gp|de): caught$/gm)).toHaveLength(4);
  });

  it('an unknown command', async () => {
    expect(await ask('nosuch')).toContain('no command nosuch; try help\n');
  });

  it('poweroff: exit code 0', async () => {
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expect(session.console).toMatch(/bye\n$/);
    expectOnlyReports(stderr);
  });
});

describe('the demo guest ends', () => {
  let session: GuestSession;
  afterAll(() => session?.stop());

  it('with fault fatal: a report with RIP and symbol, exit code 4', async () => {
    session = await start();
    session.send('fault fatal');
    const { exitCode, stderr } = await session.ended();
    expect(session.console).toContain('nothing catches this: crashing\n');
    expect(stderr).toMatch(/^vm: guest crashed: .*RIP 0xffffffff80[0-9a-f]{6} \(\w+\+0x[0-9a-f]+\)$/m);
    expect(stderr).toMatch(/^vm: {3}called from xen_shutdown\+0x.*\bhandle_trap\+0x/m);
    expectOnlyReports(stderr);
    expect(exitCode).toBe(4);
  });

  it('with reboot: it starts again', async () => {
    session = await start();
    session.send('reboot');
    await session.expect('Polyvisor demo guest\n');
    await session.expect(PROMPT);
    session.send('poweroff');
    expect((await session.ended()).exitCode).toBe(0);
    expect(session.console.match(/^Polyvisor demo guest$/gm)).toHaveLength(2);
  });

  it('with reboot under --no-reboot: exit code 7', async () => {
    session = await start('--no-reboot');
    session.send('reboot');
    expect((await session.ended()).exitCode).toBe(7);
  });

  it('when it is ended from outside: exit code 143', async () => {
    session = await start();
    const { exitCode, stderr } = await session.stop();
    expect(exitCode).toBe(143);
    expectOnlyReports(stderr);
  });
});

describe("the demo guest's boot", () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-demo-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const boot = (file: string) =>
    runTraced(path.join(directory, file), 'demo', '--plugin', 'xen', '--expect', PROMPT.trim());

  let run: TracedRun;
  beforeAll(async () => {
    run = await boot('first.jsonl');
  });

  it('ends with exit code 0 under --expect', () => {
    expect(run.exitCode).toBe(0);
    expectOnlyReports(run.stderr);
  });

  it('makes the hypercalls of golden/demo.jsonl', async () => {
    await expectGoldenTrace('demo', run.trace);
  });

  it('is the same each time', async () => {
    const again = await boot('second.jsonl');
    expect(again.exitCode, again.stderr).toBe(0);
    expect(again.trace).toBe(run.trace);
    expect(again.console).toBe(run.console);
    expect(countersOf(again.stderr)).toEqual(countersOf(run.stderr));
  });
});

/** Debian's stock amd64 kernel as a Xen PV domain: from its first line to poweroff, in one session. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { PROMPT, reachShell, runCommand, startDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', "Debian's amd64 kernel as a Xen PV domain");

const HASHED_BYTES = 8 << 20;

const BOOT_LINES = [
  'Command line: console=hvc0',
  'Hypervisor detected: Xen PV',
  'Booting kernel on Xen',
  'Xen version: 4.17',
  'xen:events: Using FIFO-based ABI',
  'xen:grant_table: Grant tables using version 1 layout',
  'clocksource: Switched to clocksource xen',
  'x86/mm: Checked W+X mappings: passed, no W+X pages found.',
  'Run /init as init process',
];

describe.skipIf(skipped)(title, () => {
  let session: GuestSession;
  beforeAll(async () => {
    session = startDebian();
    await reachShell(session);
  });
  afterAll(() => session?.stop());

  const output = async (command: string) => (await runCommand(session, command)).output;

  it('is recognised, and enters through the note that the kernel carries', () => {
    expect(session.stderr).toMatch(
      /^vm: vmlinuz-\S+: bzImage \(Linux \S+-amd64, boot protocol 2\.\d+, \w+ payload\)$/m,
    );
    expect(session.stderr).toMatch(/^vm: entry pv: Xen PV 64-bit at 0xffffffff8[0-9a-f]{7}, found in ELF note/m);
    expectOnlyReports(session.stderr);
  });

  it('boots: every part of its Xen support says so', () => {
    expect(BOOT_LINES.filter((line) => !session.console.includes(line))).toEqual([]);
  });

  it('complains about nothing while it boots', () => {
    expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|segfault|traps:|Unhandled|unchecked MSR/);
  });

  it('says more in dmesg', async () => {
    const lines = (await output('dmesg')).split('\n').map((line) => line.replace(/^\[ *\d+\.\d+\] /, ''));
    expect(lines).toContain('Hypervisor detected: Xen PV');
    expect(lines).toContain('Xen: using vcpuop timer interface');
  });

  it('knows what it is: uname -a', async () => {
    expect(await output('uname -a')).toMatch(/^Linux polyvisor \S+-amd64 #1 SMP .*Debian.* x86_64 GNU\/Linux\n$/);
  });

  it('shows its hypervisor in sysfs', async () => {
    expect(await output('cat /sys/hypervisor/type')).toBe('xen\n');
  });

  it('sums 300,000 numbers with awk', async () => {
    const sum = String((299_999 * 300_000) / 2);
    expect(await output("awk 'BEGIN { for (i = 0; i < 300000; i++) s += i; print s }'")).toBe(`${sum}\n`);
  });

  it('hashes 8 MB as the host does', async () => {
    const numbers = Array.from({ length: 10_000 }, (_, index) => `${index + 1}\n`).join('');
    const digest = createHash('sha256').update(Buffer.alloc(HASHED_BYTES, numbers)).digest('hex');
    // Doubled eight times, the numbers fill more than 8 MB.
    const double = 'for i in 1 2 3 4 5 6 7 8; do cat /tmp/a /tmp/a >/tmp/b; mv /tmp/b /tmp/a; done';
    const cut = `dd if=/tmp/a of=/tmp/data bs=65536 count=${HASHED_BYTES / 65536} 2>/dev/null`;
    const answer = await output(`seq 1 10000 >/tmp/a; ${double}; ${cut}; sha256sum /tmp/data`);
    expect(answer).toBe(`${digest}  /tmp/data\n`);
  });

  it('forks and executes 200 programs', async () => {
    // By its path: a bare name could be run inside the shell.
    const loop = 'i=0; while [ $i -lt 200 ]; do /bin/busybox true && i=$((i + 1)) || break; done; echo $i';
    expect(await output(loop)).toBe('200\n');
  });

  it('reads and writes 100,000 single bytes', async () => {
    const { output, status } = await runCommand(session, 'dd if=/dev/zero of=/dev/null bs=1 count=100000');
    expect(output).toContain('100000+0 records in\n100000+0 records out\n');
    expect(status).toBe(0);
  });

  it('sends a signal when a program breaks', async () => {
    const { status } = await runCommand(session, "sh -c 'kill -SEGV $$'");
    expect(status).toBe(128 + 11);
  });

  it('gets Ctrl-C', async () => {
    session.send('cat');
    session.type('typed');
    await session.expect('typed');
    session.type('\u0003');
    await session.expect(PROMPT);
    expect(await output('echo alive')).toBe('alive\n');
  });

  it('powers off with exit code 0', async () => {
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expect(session.console).toContain('reboot: System halted');
    expectOnlyReports(stderr);
  });
});

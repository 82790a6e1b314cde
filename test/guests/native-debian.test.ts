/** Debian's stock amd64 kernel without any plug-in: the PC itself, from the boot protocol's 64-bit entry to poweroff. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand, startNativeDebian } from './debian-shell.ts';
import { BOOT_TIMEOUT_MS, type GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', "Debian's amd64 kernel without a plug-in");

const BOOT_LINES = [
  'Command line: console=ttyS0',
  'Booting paravirtualized kernel on bare hardware',
  'ACPI: Using ACPI (MADT) for SMP configuration information',
  'TSC deadline timer available',
  'APIC: Switch to symmetric I/O mode setup',
  'ACPI: PM: (supports S0 S5)',
  'PCI: Using configuration type 1 for base access',
  'pci 0000:00:00.0: [8086:1237] type 00 class 0x060000',
  'ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A',
  'rtc_cmos 00:00: registered as rtc0',
  'clocksource: Switched to clocksource tsc',
  'x86/mm: Checked W+X mappings: passed, no W+X pages found.',
  'Run /init as init process',
];

describe.skipIf(skipped)(title, () => {
  let session: GuestSession;
  beforeAll(async () => {
    session = startNativeDebian('--no-reboot');
    await reachShell(session);
  });
  afterAll(() => session?.stop());

  const output = async (command: string) => (await runCommand(session, command)).output;

  it('enters at the 64-bit entry of the boot protocol', () => {
    expect(session.stderr).toMatch(
      /^vm: entry linux64: Linux boot protocol 2\.\d+, 64-bit entry at 0x[0-9a-f]+200, found in setup header/m,
    );
    expectOnlyReports(session.stderr);
  });

  it('boots: every chip is found', () => {
    expect(BOOT_LINES.filter((line) => !session.console.includes(line))).toEqual([]);
  });

  it('complains about nothing while it boots', () => {
    expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|segfault|traps:|Unhandled|unchecked MSR/);
    expect(session.console).not.toMatch(/Firmware Bug|ACPI (BIOS )?Error/);
  });

  it('knows what it is: uname -a', async () => {
    expect(await output('uname -a')).toMatch(/^Linux polyvisor \S+-amd64 #1 SMP .*Debian.* x86_64 GNU\/Linux\n$/);
  });

  it('is interrupted through the I/O APIC, and by its local APIC', async () => {
    const interrupts = await output('cat /proc/interrupts');
    expect(interrupts).toMatch(/^ *4: +[1-9]\d* +IO-APIC +4-edge +ttyS0$/m);
    expect(interrupts).toMatch(/^ *9: +\d+ +IO-APIC +9-fasteoi +acpi$/m);
    expect(interrupts).toMatch(/^ *LOC: +[1-9]\d* +Local timer interrupts$/m);
    expect(interrupts).toMatch(/^ *(ERR|MIS): +0$/m);
  });

  it('sleeps for as long as it is told', async () => {
    // In one line: what is typed takes the guest's time too.
    const uptimes = await output('cat /proc/uptime; sleep 3; cat /proc/uptime');
    const [before, after] = uptimes.split('\n').map((line) => Math.round(Number(line.split(' ')[0]) * 100));
    // Both are cut to hundredths of a second.
    expect(after - before).toBeGreaterThanOrEqual(299);
    expect(after - before).toBeLessThan(350);
  });

  it('takes a paste longer than the FIFO', async () => {
    const text = 'polyvisor'.repeat(40);
    expect(await output(`echo ${text}`)).toBe(`${text}\n`);
  });

  it('powers off through ACPI with exit code 0', async () => {
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(session.console).toContain('reboot: Power down');
    expect(stderr).toMatch(/^vm: the guest powered off$/m);
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

describe.skipIf(skipped)('each other end of a native guest', () => {
  let session: GuestSession | undefined;
  afterAll(() => session?.stop());
  const boot = (...append: string[]) =>
    startNativeDebian('--no-reboot', '--append', ['quiet', ...append, 'rdinit=/bin/reboot -- -f'].join(' '));

  it('a reboot through ACPI: exit code 7', async () => {
    session = boot('reboot=acpi');
    const { exitCode, stderr } = await session.ended(BOOT_TIMEOUT_MS);
    expect(stderr).toMatch(/^vm: the guest rebooted$/m);
    expect(exitCode).toBe(7);
    expectOnlyReports(stderr);
  });

  it('a triple fault: exit code 4, and a report with RIP', async () => {
    // Symbols are where the kernel was linked: it must not move itself.
    session = boot('reboot=triple', 'nokaslr');
    const { exitCode, stderr } = await session.ended(BOOT_TIMEOUT_MS);
    expect(stderr).toMatch(/^vm: guest crashed: triple fault: exception \d+ could not be delivered$/m);
    expect(stderr).toMatch(/^vm: {3}rip [0-9a-f]{16} \(\w+\+0x[0-9a-f]+\)/m);
    expect(exitCode).toBe(4);
    expectOnlyReports(stderr);
  });
});

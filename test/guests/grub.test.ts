/** GRUB's own PV port, unmodified. */
import { afterAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('grub-xen', 'GRUB x86_64-xen');
const PROMPT = 'grub> ';

describe.skipIf(skipped)(title, () => {
  let session: GuestSession;
  afterAll(() => session?.stop());

  it('comes to its prompt', async () => {
    session = new GuestSession('grub-xen', '--plugin', 'xen');
    await session.expect(PROMPT);
    expect(session.console).toMatch(/GNU GRUB +version 2\./);
  });

  it('lists its devices', async () => {
    session.type('ls\r');
    expect(await session.expect(PROMPT)).toContain('(memdisk)');
  });

  it('evaluates its variables and conditions', async () => {
    session.type('if [ 2 -lt 10 ]; then echo cpu=$grub_cpu-$grub_platform; fi\r');
    expect(await session.expect(PROMPT)).toContain('\ncpu=x86_64-xen\n');
  });

  it('powers off', async () => {
    session.type('halt\r');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

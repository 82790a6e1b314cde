/** GRUB's own ports to Xen, unmodified: PV of 64 bits, and of 32 with PAE; PVH. */
import { afterAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const PROMPT = 'grub> ';
const GUESTS = [
  { name: 'grub-xen', platform: 'x86_64-xen', ...(await testsOf('grub-xen', 'GRUB x86_64-xen')) },
  { name: 'grub-xen-i386', platform: 'i386-xen', ...(await testsOf('grub-xen-i386', 'GRUB i386-xen')) },
  { name: 'grub-xen-pvh', platform: 'i386-xen_pvh', ...(await testsOf('grub-xen-pvh', 'GRUB i386-xen_pvh')) },
];

describe.each(GUESTS)('$title', ({ name, platform, skipped }) => {
  if (skipped) {
    it.skip('comes to its prompt', () => {});
    return;
  }
  let session: GuestSession;
  afterAll(() => session?.stop());

  it('comes to its prompt', async () => {
    session = new GuestSession(name, '--plugin', 'xen');
    await session.expect(PROMPT);
    expect(session.console).toMatch(/GNU GRUB +version 2\./);
  });

  it('lists its devices', async () => {
    session.type('ls\r');
    expect(await session.expect(PROMPT)).toContain('(memdisk)');
  });

  it('evaluates its variables and conditions', async () => {
    session.type('if [ 2 -lt 10 ]; then echo cpu=$grub_cpu-$grub_platform; fi\r');
    expect(await session.expect(PROMPT)).toContain(`\ncpu=${platform}\n`);
  });

  it('powers off', async () => {
    session.type('halt\r');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});

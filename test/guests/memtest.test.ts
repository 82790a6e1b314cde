/**
 * Memtest86+ over a small memory, on the serial console, to the end of its first pass; of its last test, which lets memory rest for
 * minutes, only the beginning (`npm run test:memtest` waits for it).
 */
import { afterAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { BOOT_TIMEOUT_MS, GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('memtest', 'Memtest86+');

describe.skipIf(skipped)(title, () => {
  let session: GuestSession;
  afterAll(() => session?.stop());

  it('completes a pass without an error', async () => {
    session = new GuestSession('memtest', '--memory', '5M', '--append', 'nopause');
    await session.expect('[Bit fade test', BOOT_TIMEOUT_MS);
    // F1: its menu.
    session.type('1');
    await session.expect('<F5>  Skip current test');
    session.type('5');
    await session.expect('Pass:  1');
    expect(await session.expect(/Errors: \d+ /)).toMatch(/Errors: 0 $/);
    expect(session.console).toContain('[Modulo 20, random pattern]');
    expectOnlyReports(session.stderr);
  });
});

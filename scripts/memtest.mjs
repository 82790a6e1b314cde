// `npm run test:memtest [-- MEMORY]`: a whole pass of Debian's Memtest86+ over MEMORY (8M if not said), its last test included, which
// lets memory rest for minutes. With the wall clock: what it waits for would be 160,000,000,000 instructions otherwise.
// The last line is `1 passed, 0 failed`.
import { ensureInstalled } from './setup.mjs';

const memory = process.argv[2] ?? '8M';
const LIMIT_S = 3600;
ensureInstalled();
const { register } = await import('tsx/esm/api');
register();
const { GuestSession } = await import('../test/guests/guest-session.ts');
const options = ['--memory', memory, '--append', 'nopause', '--clock', 'wall', '--timeout', String(LIMIT_S)];
const session = new GuestSession('memtest', ...options);
let failed = 0;
try {
  await session.expect('Pass:  1', LIMIT_S * 1000);
  const shown = await session.expect(/Errors: +\d+ /);
  const [time] = [...session.console.matchAll(/Time: +([\d:]+)/g)].at(-1)?.slice(1) ?? ['?'];
  console.log(`a pass over ${memory} in ${time} of the guest's time; ${shown.trim()}`);
  if (!/Errors: 0 $/.test(shown)) failed = 1;
} catch (error) {
  console.log(`FAILED: ${error.message}`);
  failed = 1;
} finally {
  await session.stop();
}
console.log(`${1 - failed} passed, ${failed} failed`);
process.exitCode = failed;

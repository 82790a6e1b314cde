// `npm run test:swaps [-- N [GUEST]]`: N rounds (100 if not said) of ops modules in a running kernel of Debian's, v1, v2, v1 and none,
// under load; how long the guest stood still for each. GUEST: debian (if not said), debian-6.12 or debian-i386. The last line
// is `GUEST: N rounds, N failed`.
import { ensureInstalled } from './setup.mjs';

const GUESTS = ['debian', 'debian-6.12', 'debian-i386'];
const rounds = Number(process.argv[2] ?? 100);
const guest = process.argv[3] ?? GUESTS[0];
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error(`${process.argv[2]} is no number of rounds`);
  process.exit(2);
}
if (!GUESTS.includes(guest)) {
  console.error(`${guest} is none of ${GUESTS.join(', ')}`);
  process.exit(2);
}
ensureInstalled();
const { register } = await import('tsx/esm/api');
register();
const { swapRepeatedly } = await import('../test/guests/swaps.ts');
process.exitCode = (await swapRepeatedly(rounds, guest)) ? 0 : 1;

// `npm run test:swaps [-- N]`: N rounds (100 if not said) of ops modules in Debian's running kernel, v1, v2, v1 and none, under
// load; how long the guest stood still for each. The last line is `N rounds, N failed`.
import { ensureInstalled } from './setup.mjs';

const rounds = Number(process.argv[2] ?? 100);
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error(`${process.argv[2]} is no number of rounds`);
  process.exit(2);
}
ensureInstalled();
const { register } = await import('tsx/esm/api');
register();
const { swapRepeatedly } = await import('../test/guests/swaps.ts');
process.exitCode = (await swapRepeatedly(rounds)) ? 0 : 1;

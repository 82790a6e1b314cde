// `npm run test:boots [-- N]`: N boots (10 if not said) of Debian's kernel to the shell and poweroff, in a row.
// The last line is `N passed, N failed`.
import { ensureInstalled } from './setup.mjs';

const count = Number(process.argv[2] ?? 10);
if (!Number.isInteger(count) || count < 1) {
  console.error(`${process.argv[2]} is no number of boots`);
  process.exit(2);
}
ensureInstalled();
const { register } = await import('tsx/esm/api');
register();
const { bootRepeatedly } = await import('../test/guests/boots.ts');
process.exitCode = (await bootRepeatedly(count)) ? 0 : 1;

// `npm run test:boots [-- N]`: N boots (10 if not said) of Debian's kernel as a Xen PV domain to the shell and poweroff,
// in a row. `npm run test:doors [-- N [DOOR ...]]`: N boots (20 if not said) through each door of Debian's kernels, or
// through those named (`amd64 PVH`). The last line is `N passed, N failed`.
import { ensureInstalled } from './setup.mjs';

const [suite, ...args] = process.argv.slice(2);
const count = Number(args[0] ?? (suite === 'doors' ? 20 : 10));
if (!Number.isInteger(count) || count < 1) {
  console.error(`${args[0]} is no number of boots`);
  process.exit(2);
}
ensureInstalled();
const { register } = await import('tsx/esm/api');
register();
const { ALL_DOORS, bootRepeatedly } = await import('../test/guests/boots.ts');
const named = args.slice(1);
const doors = suite === 'doors' ? (named.length > 0 ? named : ALL_DOORS) : ['amd64 PV'];
try {
  process.exitCode = (await bootRepeatedly(doors, count)) ? 0 : 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}

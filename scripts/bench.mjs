// `npm run bench`, `bench:operations`, `bench:growth`, `bench:doors`, `bench:boots`, `bench:ops`, `bench:regions`, `bench:start`, `bench:turns`: install what is missing, then the program of bench/ that the first
// word names. Options follow: `npm run bench -- --runs 5`.
import { ensureInstalled } from './setup.mjs';

const programs = {
  loads: 'run.ts',
  operations: 'operations.ts',
  growth: 'growth.ts',
  doors: 'doors.ts',
  boots: 'boots.ts',
  ops: 'ops.ts',
  regions: 'regions.ts',
  start: 'start.ts',
  turns: 'turns.ts',
};
const name = process.argv[2] in programs ? process.argv.splice(2, 1)[0] : 'loads';
ensureInstalled();
const { register } = await import('tsx/esm/api');
register();
await import(`../bench/${programs[name]}`);

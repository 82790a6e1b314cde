// `npm run bench`: install what is missing, then bench/run.ts. Options: `npm run bench -- --runs 5`.
import { ensureInstalled } from './setup.mjs';

ensureInstalled();
const { register } = await import('tsx/esm/api');
register();
await import('../bench/run.ts');

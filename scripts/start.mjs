// `npm start`: install what is missing, then boot the embedded demo guest under the plug-in xen.
// Further arguments (`npm start -- ...`) are handed on to `vm run`.
import { ensureInstalled } from './setup.mjs';

ensureInstalled();
process.argv.splice(2, 0, 'run', '--plugin', 'xen');
await import('../packages/cli/bin/vm.mjs');

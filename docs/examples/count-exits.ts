/**
 * Counts how often a running guest is entered, and the exits that nobody before it has answered:
 *
 *   npx vm run demo --plugin xen --name guest
 *   npx vm plugin load guest docs/examples/count-exits.ts
 *   npx vm stats guest
 *   npx vm plugin unload guest count-exits
 */
import type { ExitKind, Plugin } from '@polyvisor/plugin-api';

const KINDS: readonly ExitKind[] = ['hlt', 'cpuid', 'io', 'hypercall', 'cli', 'sti', 'exception'];

const plugin: Plugin = {
  name: 'count-exits',
  version: '1.0.0',
  api: '^1.0',
  apply({ hooks, count }) {
    hooks.beforeEntry.tap('count', () => count('entries'));
    for (const kind of KINDS) {
      hooks.exit.for(kind).tap('count', () => {
        count(`exit.${kind}`);
        return 'pass';
      });
    }
  },
};
export default plugin;

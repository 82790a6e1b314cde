import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { checkArrows } from './check-arrows.ts';

let root: string | undefined;

afterEach(() => {
  if (root) rmSync(root, { recursive: true });
  root = undefined;
});

/** Breaches of a tree of the given files; every room gets its README. */
function breachesOf(files: Readonly<Record<string, string>>): readonly string[] {
  root = mkdtempSync(path.join(tmpdir(), 'arrows-'));
  for (const [name, text] of Object.entries(files)) {
    const full = path.join(root, 'packages', name);
    mkdirSync(path.dirname(full), { recursive: true });
    writeFileSync(full, text);
    writeFileSync(path.join(path.dirname(full), 'README.md'), '');
    writeFileSync(path.join(root, 'packages', name.split('/')[0], 'README.md'), '');
  }
  return checkArrows(root).breaches;
}

describe('arrows', () => {
  it('lets a room import what is to its left, and tests import any room', () => {
    expect(
      breachesOf({
        'core/src/spec/msr.ts': 'export const efer = 0xc0000080;',
        'core/src/cpu/state.ts': "import { efer } from '../spec/msr.ts';",
        'core/src/spec/msr.test.ts': "import '../cpu/state.ts'; import 'node:fs'; import '@polyvisor/testkit';",
      }),
    ).toEqual([]);
  });

  it('refuses an import against the arrow, type imports too', () => {
    const [breach] = breachesOf({
      'core/src/cpu/state.ts': 'export type A = 1;',
      'core/src/spec/msr.ts': "import type { A } from '../cpu/state.ts';",
    });
    expect(breach).toMatch('packages/core/src/spec/msr.ts: imports ../cpu/state.ts: spec may import nothing');
  });

  it('refuses node: in core and core in a plug-in', () => {
    const breaches = breachesOf({
      'core/src/machine/clock.ts': "const t = await import('node:timers');",
      'plugin-new/src/index.ts': "import { Machine } from '@polyvisor/core';",
    });
    expect(breaches.join('\n')).toMatch(/node:timers: core runs in a browser/);
    expect(breaches.join('\n')).toMatch(/@polyvisor\/core: plugin-new may import @polyvisor\/plugin-api/);
  });

  it('refuses to name a hypervisor in core, but not in comments or inside other words', () => {
    const text = `// as Xen does\nconst xsave = 'maximum vmin'; const startXenGuest = \`\${xsave} for KVM\`;`;
    const breaches = breachesOf({ 'core/src/loader/notes.ts': text });
    expect(breaches.map((breach) => /names (\w+)/.exec(breach)?.[1]).sort()).toEqual(['kvm', 'xen']);
  });

  it('shows a cycle whole', () => {
    const [breach] = breachesOf({
      'cli/src/a.ts': "import './b.ts';",
      'cli/src/b.ts': "import './c.ts';",
      'cli/src/c.ts': "import './b.ts';",
    });
    expect(breach).toBe('packages/cli/src/b.ts → packages/cli/src/c.ts → packages/cli/src/b.ts: an import cycle');
  });
});

import { expect } from 'vitest';

/** Lines that begin with `vm: ` and nothing else: in particular no stack of ours. */
export function expectOnlyReports(stderr: string): void {
  expect(stderr.split('\n').filter((line) => line !== '' && !line.startsWith('vm: '))).toEqual([]);
  expect(stderr).not.toMatch(/^vm: +at .*:\d+:\d+/m);
}

/** The `--stats` table without what depends on the host's speed. */
export function countersOf(stderr: string): Record<string, string> {
  const rows = [...stderr.matchAll(/^vm: (\S.*?) {2,}(\d[\d.]*)$/gm)].map(([, name, value]) => [name, value]);
  return Object.fromEntries(rows.filter(([name]) => name !== 'seconds' && name !== 'MIPS'));
}

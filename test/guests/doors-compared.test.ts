/** Which functions for the time of booting one Linux kernel runs natively and under Xen: `vm run --functions`, `vm compare`. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import type { Comparison } from '../../packages/cli/src/functions/compare.ts';
import { testsOf } from './catalogue-guest.ts';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const { title, skipped } = await testsOf('debian', 'its doors compared');

describe.skipIf(skipped)(title, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-doors-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const file = (door: string) => path.join(directory, door);

  /** Boots up to the first process; natively the kernel moves itself (KASLR). */
  async function boot(door: string, plugin: string): Promise<void> {
    const flags = ['--clock', 'icount', '--console', 'none', '--no-control', '--timeout', '300'];
    const guest = ['debian', '--plugin', plugin, '--expect', 'Run /init'];
    await promisify(execFile)(process.execPath, [vm, 'run', ...guest, ...flags, '--functions', file(door)]);
  }

  it('tells what runs in all, in some, and in which order', async () => {
    await boot('native', 'none');
    await boot('pv', 'xen');
    const { stdout } = await promisify(execFile)(process.execPath, [
      vm,
      'compare',
      file('native'),
      file('pv'),
      '--json',
    ]);
    const comparison = JSON.parse(stdout) as Comparison;
    expect(comparison.boots.map(({ name }) => name)).toEqual(['native', 'pv']);
    expect(comparison.inAll).toBeGreaterThan(1000);
    const callers = (name: string) => {
      const all = [...comparison.inSome, ...comparison.byOtherWays];
      return all.find((each) => each.name === name)?.boots.map((each) => each?.caller ?? null);
    };
    expect(callers('x86_64_start_kernel')).toEqual([expect.any(String), null]);
    expect(callers('hpet_enable')).toEqual(['hpet_time_init', null]);
    expect(callers('xen_init_IRQ')).toEqual([null, 'start_kernel']);
    // The same work, come to by other ways.
    expect(callers('clear_bss')).toEqual(['x86_64_start_kernel', 'xen_start_kernel']);
    expect(callers('setup_arch')).toBeUndefined();
  });
});

/**
 * `npm run bench:start -- KERNEL [INITRD]`: from `vm run` to the guest's first instruction, through each door of a Linux kernel for
 * Xen: wall clock, processor time of the main thread and of all threads. Medians; `--checkout DIR` (repeatable) starts other
 * states of the sources in turns with this one. Linux only.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { positive } from './request.ts';
import { median } from './table.ts';

const hook = new URL('./until-first-instruction.mjs', import.meta.url).href;
const here = fileURLToPath(new URL('..', import.meta.url));

const DOORS: Readonly<Record<string, readonly string[]>> = {
  native: ['--plugin', 'none'],
  PV: ['--plugin', 'xen', '--entry', 'pv'],
  PVH: ['--plugin', 'xen', '--entry', 'pvh'],
  PVHVM: ['--plugin', 'xen', '--entry', 'linux64'],
};

interface Start {
  readonly wallMs: number;
  readonly mainMs: number;
  readonly allMs: number;
}

function start(checkout: string, door: string, kernel: string, initrd: string | undefined, folder: string): Start {
  const file = path.join(folder, 'result.json');
  rmSync(file, { force: true });
  const args = ['--import', hook, path.join(checkout, 'packages/cli/bin/vm.mjs'), 'run', kernel, ...DOORS[door]];
  if (initrd !== undefined) args.push('--initrd', initrd);
  const startedMs = performance.timeOrigin + performance.now();
  const { stderr } = spawnSync(process.execPath, [...args, '--console', 'none'], {
    env: { ...process.env, START_RESULT: file },
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (!existsSync(file)) throw new Error(`${checkout}: ${door} did not come to a first instruction: ${stderr}`);
  const { atMs, mainMs, allMs } = JSON.parse(readFileSync(file, 'utf8'));
  return { wallMs: atMs - startedMs, mainMs, allMs };
}

/** A first whole run leaves what later ones find: the build, its code, the unpacked kernel. */
function prepare(checkout: string, kernel: string): void {
  const args = [path.join(checkout, 'packages/cli/bin/vm.mjs'), 'run', kernel, ...DOORS.PV, '--console', 'none'];
  spawnSync(process.execPath, [...args, '--timeout', '8'], { timeout: 120_000 });
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string' }, checkout: { type: 'string', multiple: true, default: [] } },
});
const [kernel, initrd] = positionals;
if (kernel === undefined) throw new Error('usage: npm run bench:start -- KERNEL [INITRD] [--runs N] [--checkout DIR]');
const runs = positive('--runs', values.runs ?? '9');
const checkouts = [...values.checkout, here];
const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-start-'));
try {
  for (const checkout of checkouts) prepare(checkout, kernel);
  console.log('| door | sources | wall clock | main thread | all threads |\n| --- | --- | ---: | ---: | ---: |');
  for (const door of Object.keys(DOORS)) {
    const starts = checkouts.map((): Start[] => []);
    for (let run = 0; run < runs; run++) {
      for (const [i, checkout] of checkouts.entries()) starts[i].push(start(checkout, door, kernel, initrd, folder));
    }
    for (const [i, checkout] of checkouts.entries()) {
      const of = (key: keyof Start) => `${median(starts[i].map((one) => one[key])).toFixed(0)} ms`;
      console.log(`| ${door} | ${path.basename(checkout)} | ${of('wallMs')} | ${of('mainMs')} | ${of('allMs')} |`);
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}

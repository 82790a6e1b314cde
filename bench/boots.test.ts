import { describe, expect, test } from 'vitest';
import { renderBoots, selectBoots } from './boot-rows.ts';
import { type BootRun, MarkWatch, measureBoots, runBoot } from './boot-run.ts';

const moment = (ms: number) => ({ ms, cpuSeconds: 0 });

test('MarkWatch finds texts that are cut in two, and each the first time', () => {
  const watch = new MarkWatch(['~ # ', 'b']);
  expect(watch.push('abc\r\n~', moment(1))).toBe(false);
  expect(watch.push(' # b', moment(2))).toBe(true);
  expect(watch.seen.map((seen) => seen?.ms)).toEqual([2, 1]);
});

test('MarkWatch takes marks of one character, and does not put apart what is apart', () => {
  expect(new MarkWatch(['$']).push('$', moment(1))).toBe(true);
  const watch = new MarkWatch(['ab']);
  watch.push('a', moment(1));
  expect(watch.push('-b', moment(2))).toBe(false);
});

describe('runBoot', () => {
  const script = (text: string, isKilled = false) => ({ file: process.execPath, args: ['-e', text], isKilled });

  test('takes times at marks and what the child counted', async () => {
    const said = "console.log('up'); console.log('~ # '); console.error('vm: instructions   12\\nvm: exits 3\\n')";
    const run = (await runBoot(script(said), ['up', '~ # '], 60)) as BootRun;
    expect(run).toMatchObject({ instructions: 12, exits: 3 });
    expect(run.seconds[0]).toBeLessThanOrEqual(run.seconds[1]);
  });

  test('ends a child that would not', async () => {
    const run = await runBoot(script("console.log('~ # '); setInterval(() => {}, 1000)", true), ['~ # '], 60);
    expect(run).toMatchObject({ instructions: undefined, exits: undefined });
  });

  test('says what came instead', async () => {
    expect(await runBoot(script("console.log('no kernel')"), ['~ # '], 60)).toMatch(/marks.*no kernel/);
    expect(await runBoot({ file: '/nonexistent/machine', args: [] }, ['a'], 60)).toMatch(/^cannot be started/);
  });
});

const run = (seconds: number, instructions?: number): BootRun => ({
  ...{ seconds: [seconds], cpuSeconds: [seconds * 2], instructions, exits: undefined },
});

test('rows are measured in turns, and a failure in one is the result of all', async () => {
  const order: string[] = [];
  const rows = [{ title: 'a' }, { title: 'b' }];
  const { measured, ok } = await measureBoots(rows, 2, async ({ title }) => {
    order.push(title);
    return title === 'a' ? run(1) : 'nothing came';
  });
  expect(order).toEqual(['a', 'b', 'a', 'b']);
  expect(measured.map(({ runs }) => runs.length)).toEqual([2, 0]);
  expect(ok).toBe(false);
});

test('ratios are those to the same kernel in QEMU and v86', () => {
  const [native, pvh, qemu, v86] = selectBoots('686-pae native,686-pae PVH,686-pae QEMU TCG,686-pae v86');
  const [amd64] = selectBoots('amd64 PV');
  const measured = [
    { row: native, runs: [run(3, 1000), run(5, 1000)] },
    { row: pvh, runs: [] },
    { row: qemu, runs: [run(2)] },
    { row: v86, runs: [run(8)] },
    { row: amd64, runs: [run(1)] },
  ];
  expect(renderBoots(measured).split('\n').slice(2)).toEqual([
    '| 686-pae | native | 4.00 s | 2.00 × | 0.50 × | 3.00 s | 1.50 × | 0.38 × | 8.00 s | 1,000 | – |',
    '| 686-pae | PVH | – | – | – | – | – | – | – | – | – |',
    '| 686-pae | QEMU TCG | 2.00 s |  | 0.25 × | 2.00 s |  | 0.25 × | 4.00 s | – | – |',
    '| 686-pae | v86 | 8.00 s | 4.00 × |  | 8.00 s | 4.00 × |  | 16.00 s | – | – |',
    '| amd64 | PV | 1.00 s | – | – | 1.00 s | – | – | 2.00 s | – | – |',
  ]);
});

test('without names all doors are measured, each once', () => {
  const titles = selectBoots(undefined).map(({ title }) => title);
  expect(titles).toEqual(expect.arrayContaining(['amd64 native', 'amd64 PV', 'amd64 PVH', 'amd64 PVHVM']));
  expect(titles).toEqual(expect.arrayContaining(['686-pae native', '686-pae PVH', '686-pae PVHVM', '686 native']));
  expect(new Set(titles).size).toBe(titles.length);
  expect(() => selectBoots('amd64 vmi')).toThrow(/amd64 vmi: choose from amd64 native/);
});

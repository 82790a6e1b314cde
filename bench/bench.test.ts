import { describe, expect, test } from 'vitest';
import { loads } from './loads.ts';
import { LineSplitter, MarkerClock, runSession } from './session.ts';
import { median, mediansOf, ratioRow, renderTable, secondsRow } from './table.ts';

const twoLoads = [
  { name: 'shell', title: 'to shell', result: 'ok' },
  { name: 'awk', title: 'awk loop', result: '42' },
];

describe('MarkerClock', () => {
  test('counts the shell from the start of the process and a load from its marker', () => {
    const clock = new MarkerClock(twoLoads, 1000);
    clock.line('[    1.2] random: ready@@ begin shell', 3000);
    clock.line('@@ end shell ok', 3500);
    clock.line('@@ begin awk', 4000);
    clock.line('@@ end awk 42', 4250);
    clock.line('@@ done', 4300);
    expect([...clock.seconds]).toEqual([
      ['shell', 2.5],
      ['awk', 0.25],
    ]);
    expect(clock.complaints).toEqual([]);
    expect(clock.isDone).toBe(true);
  });

  test('gives no time for a wrong result and ignores what it does not know', () => {
    const clock = new MarkerClock(twoLoads, 0);
    clock.line('@@ end awk 42', 1);
    clock.line('@@ begin awk', 2);
    clock.line('@@ end awk 43', 3);
    clock.line('@@ end other 1', 4);
    expect(clock.seconds.size).toBe(0);
    expect(clock.complaints).toEqual(['awk: the result is "43", not "42"']);
  });
});

test('LineSplitter joins chunks and drops carriage returns', () => {
  const splitter = new LineSplitter();
  expect(splitter.push('one\r\ntw')).toEqual(['one']);
  expect(splitter.push('o\n\nthree')).toEqual(['two', '']);
});

test('median takes the middle, or the mean of the two in the middle', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});

test('the table shows seconds, ratios and dashes', () => {
  const slow = mediansOf([new Map([['shell', 4]]), new Map([['shell', 6]])], twoLoads);
  const quick = new Map([['shell', 0.5]]);
  const rows = [secondsRow('slow', slow, twoLoads), ratioRow('slow / quick', slow, quick, twoLoads)];
  expect(renderTable(twoLoads, rows)).toBe(
    [
      '|  | to shell | awk loop |',
      '| --- | ---: | ---: |',
      '| slow | 5.00 s | – |',
      '| slow / quick | 10.0 × | – |',
    ].join('\n'),
  );
});

describe('runSession', () => {
  const script = (text: string) => ({ file: process.execPath, args: ['-e', text] });

  test('collects the times of a child', async () => {
    const result = await runSession(script("console.log('@@ end shell ok\\n@@ done')"), twoLoads, 60);
    expect([...result.seconds.keys()]).toEqual(['shell']);
    expect(result.complaints).toEqual([]);
  });

  test('says what a child said last that ends too early', async () => {
    const result = await runSession(script("console.log('no kernel')"), twoLoads, 60);
    expect(result.complaints).toEqual(['last lines: ["no kernel"]']);
  });

  test('says that a program is missing', async () => {
    const result = await runSession({ file: '/nonexistent/engine', args: [] }, twoLoads, 60);
    expect(result.complaints[0]).toMatch(/cannot be started/);
  });
});

test('every load has a name of its own', () => {
  expect(new Set(loads.map(({ name }) => name)).size).toBe(loads.length);
});

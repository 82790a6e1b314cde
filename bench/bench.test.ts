import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkedCoremark } from './coremark.ts';
import { selectEngines } from './engines.ts';
import { loads, selectLoads } from './loads.ts';
import { columnsOf, toJson } from './results.ts';
import { LineSplitter, MarkerClock, runSession } from './session.ts';
import { median, mediansOf, quantile, ratiosOf, renderTable } from './table.ts';

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

  test('stops before the end if it is told to', () => {
    const clock = new MarkerClock(twoLoads, 0);
    clock.line('@@ begin awk', 1000);
    clock.line('@@ stop awk', 1500);
    clock.line('@@ end awk 42', 9000);
    expect([...clock.seconds]).toEqual([['awk', 0.5]]);
  });

  test('keeps what the guest says of its own time', () => {
    const clock = new MarkerClock(twoLoads, 0);
    clock.line('@@ begin awk', 0);
    clock.line('@@ end awk 42 1234567', 9);
    expect([...clock.insideNs]).toEqual([['awk', 1_234_567]]);
    expect([...clock.seconds]).toEqual([['awk', 0.009]]);
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

test('quantile lies between two values in proportion', () => {
  expect([0, 0.25, 0.5, 1].map((fraction) => quantile([9, 1, 3], fraction))).toEqual([1, 2, 3, 9]);
  expect(quantile([], 0.5)).toBeNaN();
});

test('the table shows seconds, ratios with their geometric mean, and dashes', () => {
  const slow = mediansOf([new Map([['shell', 4]]), new Map([['shell', 6]])], twoLoads);
  const quick = new Map([
    ['shell', 0.5],
    ['awk', 2],
  ]);
  const all = new Map([...slow, ['awk', 5]]);
  expect(ratiosOf(slow, quick)).toEqual(new Map([['shell', 10]]));
  const columns = [
    { title: 'slow', unit: 's', values: slow },
    { title: 'slow / quick', unit: '×', values: ratiosOf(all, quick) },
  ] as const;
  expect(renderTable(twoLoads, columns)).toBe(
    [
      '|  | slow | slow / quick |',
      '| --- | ---: | ---: |',
      '| to shell | 5.00 s | 10.0 × |',
      '| awk loop | – | 2.50 × |',
      '| geometric mean |  | 5.00 × |',
    ].join('\n'),
  );
});

test('without ratios there is no mean', () => {
  const column = { title: 'a', unit: 's', values: new Map([['awk', 2]]) } as const;
  expect(renderTable(twoLoads, [column])).not.toContain('mean');
});

describe('results', () => {
  const [polyvisor, qemu] = selectEngines('polyvisor,qemu');
  const measured = [
    { engine: polyvisor, runs: [new Map([['awk', 1]]), new Map([['awk', 3]])] },
    { engine: qemu, runs: [new Map([['awk', 4]])] },
  ];

  test('ratios are those of the first engine, if it is Polyvisor', () => {
    expect(columnsOf(measured, twoLoads).map(({ unit, values }) => [unit, ...values])).toEqual([
      ['s', ['awk', 2]],
      ['s', ['awk', 4]],
      ['×', ['awk', 0.5]],
    ]);
    expect(columnsOf(measured.toReversed(), twoLoads)).toHaveLength(2);
  });

  test('as JSON: conditions, every run, medians, ratios', () => {
    const conditions = { node: 'v1', v8: '2', qemu: '3', kernel: 'k', memoryMegabytes: 512, processor: 'p' };
    const { engines, ...rest } = JSON.parse(toJson(conditions, measured, twoLoads));
    expect(rest.conditions).toEqual(conditions);
    expect(engines).toEqual([
      { name: 'polyvisor', title: polyvisor.title, medianSeconds: { awk: 2 }, runsSeconds: [{ awk: 1 }, { awk: 3 }] },
      {
        ...{ name: 'qemu', title: qemu.title, medianSeconds: { awk: 4 } },
        ...{ ratioOfFirst: { awk: 0.5 }, runsSeconds: [{ awk: 4 }] },
      },
    ]);
  });
});

test('selections: names, prefixes, and what is not there', () => {
  const names = (text: string) => selectLoads(text).map(({ name }) => name);
  expect(names('lua,shell')).toEqual(['shell', 'lua']);
  expect(names('k_*')).toHaveLength(7);
  expect(() => selectLoads('nosuch')).toThrow(/nosuch: choose from shell, awk/);
  expect(selectEngines(undefined).map(({ name }) => name)).not.toContain('polyvisor-tier0');
  expect(() => selectEngines('vmware')).toThrow(/choose from polyvisor/);
});

describe('CoreMark', () => {
  const prebuilt = (name: string) => path.resolve(import.meta.dirname, '..', 'guests', name);
  const names = (...args: Parameters<typeof selectLoads>) => selectLoads(...args).map(({ name }) => name);

  test('is a load if its program is brought, and is not there without', () => {
    expect(names(undefined)).not.toContain('coremark');
    expect(names('*')).toEqual(names(undefined));
    expect(names(undefined, ['--coremark'])).toEqual(loads.map(({ name }) => name));
    expect(names('lua,coremark', ['--coremark'])).toEqual(['coremark', 'lua']);
    expect(() => names('nosuch')).not.toThrow(/coremark/);
    expect(() => names('nosuch', ['--coremark'])).toThrow(/, coremark, /);
  });

  test('that is asked for by name without its program: what to do', () => {
    expect(() => names('lua,coremark')).toThrow(
      /^--loads coremark: give its program too, --coremark FILE \(bench\/README.md tells how to build it\)$/,
    );
  });

  test('is an executable for x86-64 that needs no libraries', () => {
    const program = prebuilt('mixed/prebuilt/mixed.elf');
    expect(checkedCoremark(program)).toBe(program);
    expect(checkedCoremark(undefined)).toBeUndefined();
    const refusal = (file: string) => expect(() => checkedCoremark(file));
    refusal('/nonexistent/coremark.exe').toThrow(/^--coremark \/nonexistent\/coremark.exe cannot be read: ENOENT/);
    refusal(import.meta.filename).toThrow(/ is not an ELF executable for x86-64$/);
    refusal(prebuilt('demo/prebuilt/demo32.elf')).toThrow(/ is not an ELF executable for x86-64$/);
    refusal(prebuilt('count-flushes/prebuilt/count-flushes.o')).toThrow(/ is not an ELF executable for x86-64$/);
    if (process.platform === 'linux' && process.arch === 'x64')
      refusal(process.execPath).toThrow(/ needs libraries: link it with -static$/);
  });
});

describe('runSession', () => {
  const script = (text: string) => ({ file: process.execPath, args: ['-e', text] });

  test('collects the times of a child', async () => {
    const result = await runSession(
      script("console.log('@@ end shell ok\\n@@ done'); setInterval(() => {}, 1000)"),
      twoLoads,
      60,
    );
    expect([...result.seconds.keys()]).toEqual(['shell']);
    // A process that runs JavaScript needs at least so much; a host without /proc does not tell.
    if (process.platform === 'linux') expect(result.peakBytes).toBeGreaterThan(1 << 20);
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

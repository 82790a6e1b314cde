import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { selectLoads } from './loads.ts';
import { type AskedLoad, probeLine, ShellGuest, shellLoad, TurnClock } from './turn-guest.ts';
import { ratiosInRounds, renderOverview, renderTurns, turnsToJson } from './turn-rows.ts';

const awk: AskedLoad = { name: 'awk', title: 'awk loop', result: '42', line: 'awk' };
const turn = (seconds: number, cpuSeconds = 2 * seconds) => ({ seconds, cpuSeconds });
const slow = { name: 'slow', title: 'Slow', turns: [turn(9), turn(2), turn(8), turn(3)] };
const quick = { name: 'quick', title: 'Quick', turns: [turn(1), turn(1), turn(2), turn(1, 0)] };

describe('ratios', () => {
  test('are those within each round, without the first', () => {
    expect(ratiosInRounds(slow.turns, quick.turns, 'seconds')).toEqual([2, 4, 3]);
    expect(ratiosInRounds(quick.turns, slow.turns, 'seconds')).toEqual([1 / 2, 1 / 4, 1 / 3]);
  });

  test('of a turn that only one of the two has, or whose figure is not known, are none', () => {
    expect(ratiosInRounds(slow.turns, quick.turns.slice(0, 2), 'seconds')).toEqual([2]);
    expect(ratiosInRounds(slow.turns, quick.turns, 'cpuSeconds')).toEqual([2, 4]);
    const untold = [turn(1), turn(1, Number.NaN)];
    expect(ratiosInRounds(slow.turns, untold, 'cpuSeconds')).toEqual([]);
  });
});

test('the table tells the first round apart and ratios to the first guest', () => {
  expect(renderTurns(awk, [quick, slow])).toBe(
    [
      '| awk loop | first round | least | ÷ Quick | median | ÷ Quick | quartiles | CPU | ÷ Quick |',
      '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
      '| Quick | 1.00 s | 1.00 s | 1.00 × | 1.00 s | 1.00 × | 1.00 × to 1.00 × | 2.00 s | 1.00 × |',
      '| Slow | 9.00 s | 2.00 s | 2.00 × | 3.00 s | 3.00 × | 2.50 × to 3.50 × | 6.00 s | 3.00 × |',
    ].join('\n'),
  );
});

test('after one round there is no more than its time', () => {
  const [, , row] = renderTurns({ ...awk, title: 'a | b' }, [{ ...quick, turns: [turn(1)] }]).split('\n');
  expect(row).toBe('| Quick | 1.00 s | – | – | – | – | – to – | – | – |');
  expect(renderTurns({ ...awk, title: 'a | b' }, [quick])).toContain('| a \\| b |');
});

test('the overview has a row for each load, and geometric means', () => {
  const other = { load: { ...awk, name: 'dd', title: 'dd' }, taken: [slow, quick] };
  expect(renderOverview([{ load: awk, taken: [quick, slow] }, other])).toBe(
    [
      '|  | Slow ÷ Quick, least | within rounds |',
      '| --- | ---: | ---: |',
      '| awk loop | 2.00 × | 3.00 × |',
      '| dd | 0.50 × | 0.33 × |',
      '| geometric mean | 1.00 × | 1.00 × |',
    ].join('\n'),
  );
});

test('as JSON: conditions, every turn, what the table has', () => {
  const conditions = { node: 'v1', v8: '2', qemu: '3', kernel: 'k', memoryMegabytes: 512, processor: 'p' };
  const { loads, ...rest } = JSON.parse(turnsToJson(conditions, 4, [{ load: awk, taken: [quick, slow] }]));
  expect(rest).toEqual({ conditions, rounds: 4 });
  expect(loads[0]).toMatchObject({ name: 'awk', title: 'awk loop', guests: [{ ratio: 1 }, { cpuRatio: 3 }] });
  expect(loads[0].guests[1]).toMatchObject({ ...slow, firstSeconds: 9, medianSeconds: 3, ratioQuartiles: [2.5, 3.5] });
});

describe('TurnClock', () => {
  /** Lines as they came, one a second of the wall clock and half a one of the processors; what they made of the clock. */
  const follow = (load: AskedLoad, lines: readonly string[]) => {
    const clock = new TurnClock(load);
    const asks = lines.filter((line, at) => clock.line(line, { ms: at * 1000, cpuSeconds: at / 2 }));
    return { clock, asks };
  };

  test('counts from the line that starts a load to its end, and answers when that is to be sent', () => {
    const { clock, asks } = follow(awk, ['awk', '@@ ready awk', '', '@@ begin awk', '@@ end awk 42', '@@ done']);
    expect(asks).toEqual(['@@ ready awk']);
    expect(clock.isDone).toBe(true);
    expect(clock.result).toEqual({ seconds: 3, cpuSeconds: 1.5 });
  });

  test('counts to a stop before the end', () => {
    const lines = ['@@ ready awk', '@@ begin awk', '@@ stop awk', 'checking', '@@ end awk 42', '@@ done'];
    expect(follow(awk, lines).clock.result).toEqual({ seconds: 2, cpuSeconds: 1 });
  });

  test('takes no echo of a command for a marker', () => {
    const load = shellLoad('/bin/busybox true');
    const echo = `/ # ${load.line}`;
    const { clock, asks } = follow(load, [
      ...[`/ # ${probeLine}`, '@@ done', echo, '@@ ready command', ''],
      ...['[   12.3] a message of the kernel@@ end command 0', '@@ done', '/ # '],
    ]);
    expect(follow(load, [echo, echo]).asks).toEqual([]);
    expect(asks).toEqual(['@@ ready command']);
    expect(clock.result).toEqual({ seconds: 2, cpuSeconds: 1 });
  });

  test('takes nothing of an earlier turn', () => {
    const { clock } = follow(awk, ['@@ done', '@@ ready lua', '@@ end awk 42', '@@ done', '@@ ready awk']);
    expect(clock.isDone).toBe(false);
  });

  test('says what was wrong', () => {
    const ended = (...lines: string[]) => follow(awk, ['@@ ready awk', ...lines, '@@ done']).clock.result;
    expect(ended('@@ end awk 43')).toBe('awk: the result is "43", not "42"');
    expect(ended('load_awk: not found')).toBe('awk: ended without a result');
  });
});

describe('ShellGuest', () => {
  const guests: ShellGuest[] = [];
  const start = (file: string, ...args: string[]) => {
    const guest = new ShellGuest('fake', { file, args });
    guests.push(guest);
    return guest;
  };
  const script = (text: string) => start(process.execPath, '-e', text);
  afterEach(() => Promise.all(guests.splice(0).map((guest) => guest.end())));

  /** Repeats what it is sent, as a terminal does, and runs `awk` with these results, one a turn. */
  const answering = (...results: string[]) =>
    script(`
      const results = ${JSON.stringify(results)};
      console.log('@@ done');
      let isReady = false;
      require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
        console.log(line);
        if (isReady) console.log('@@ begin awk\\n@@ end awk ' + results.shift() + '\\n@@ done');
        else console.log('@@ ready ' + line);
        isReady = !isReady;
      });
    `);

  test('runs a load again and again', async () => {
    const guest = answering('42', '42', '43');
    await guest.up(60);
    for (const _ of [1, 2]) expect((await guest.turn(awk, 60)).seconds).toBeGreaterThanOrEqual(0);
    await expect(guest.turn(awk, 60)).rejects.toThrow(/^fake: awk: the result is "43", not "42"$/);
  });

  test('says in one line that a guest has ended, what it said last, and that nothing came', async () => {
    const crashing = script(
      "console.log('@@ done'); process.stdin.on('data', () => { console.log('oops'); process.exit(3); })",
    );
    await crashing.up(60);
    const gone = /^fake: awk: the guest is gone \(exit code 3\); last lines: \["@@ done","oops"\]$/;
    await expect(crashing.turn(awk, 60)).rejects.toThrow(gone);
    await expect(crashing.turn(awk, 60)).rejects.toThrow(gone);
    const silent = script('setInterval(() => {}, 1000)');
    await expect(silent.up(0.1)).rejects.toThrow(/^fake: its shell: not there after 0.1 s; last lines: \[\]$/);
    const missing = start('/nonexistent/machine');
    await expect(missing.up(60)).rejects.toThrow(/^fake: its shell: cannot be started: /);
  });

  test.skipIf(process.platform === 'win32')('asks a shell until it hears, and runs a command in it', async () => {
    const guest = start('sh', '-c', 'read -r unheard; exec sh');
    await guest.up(60, probeLine);
    for (const _ of [1, 2]) expect(await guest.turn(shellLoad('true'), 60)).toHaveProperty('seconds');
    await expect(guest.turn(shellLoad('false'), 60)).rejects.toThrow(/^fake: command: the result is "1", not "0"$/);
  });

  const runsGuestPrograms = process.platform === 'linux' && process.arch === 'x64';
  test.skipIf(!runsGuestPrograms)('asks loads.sh for single loads', async () => {
    const tree = mkdtempSync(path.join(tmpdir(), 'polyvisor-turns-'));
    mkdirSync(path.join(tree, 'programs'));
    const program = path.resolve(import.meta.dirname, '../guests/integer/prebuilt/integer.elf');
    symlinkSync(program, path.join(tree, 'programs', 'integer'));
    try {
      // `true` in place of busybox, which only removes files here.
      const guest = start('sh', path.join(import.meta.dirname, 'loads/loads.sh'), 'true', tree, tree, 'turns', 'alu');
      await guest.up(60);
      for (const load of [...selectLoads('alu,xorshift'), ...selectLoads('alu')])
        expect(await guest.turn({ ...load, line: load.name }, 60)).toHaveProperty('seconds');
    } finally {
      rmSync(tree, { recursive: true });
    }
  });
});

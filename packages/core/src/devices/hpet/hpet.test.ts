import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Hpet } from './hpet.ts';

const ENABLED = 1;
const LEGACY = 2;
const LEVEL = 0x02;
const INTERRUPTS = 0x04;
const PERIODIC = 0x08;
const SET_VALUE = 0x40;
const MODE_32 = 0x100;
const route = (input: number) => input << 9;

function timer() {
  const clock = new FakeClock();
  const events: string[] = [];
  const rises: number[] = [];
  const levels = new Map<string, boolean>();
  const line = (name: string) => ({
    set: (level: boolean) => {
      if ((levels.get(name) ?? false) === level) return;
      levels.set(name, level);
      events.push(`${name}${level ? '+' : '-'}`);
      if (level) rises.push(clock.nowNs() / 10);
    },
  });
  const hpet = new Hpet({ clock, route: (input) => line(`gsi${input}`), irq0: line('irq0'), irq8: line('irq8') });
  const write = (offset: number, value: number) => hpet.writeMmio(offset, 4, value >>> 0);
  return {
    clock,
    hpet,
    events,
    rises,
    write,
    read: (offset: number) => hpet.readMmio(offset, 4),
    ticks: (count: number) => clock.advance(10 * count),
    enable: (extra = 0) => write(0x10, ENABLED | extra),
  };
}

describe('registers (IA-PC HPET 1.0a, 2.3)', () => {
  it('capabilities: three 64-bit timers of 10 ns with legacy replacement', () => {
    const { hpet, read } = timer();
    expect([read(0x00), read(0x04), hpet.readMmio64(0x00)]).toEqual([0x8086a201, 10_000_000, 0x00989680_8086a201n]);
    expect([0x100, 0x120, 0x140].map((offset) => read(offset) & 0xff)).toEqual([0x30, 0x30, 0x30]);
    expect([0x104, 0x124, 0x144].map(read)).toEqual([0xf00000, 0xf00000, 0xf00800]);
    expect([read(0x108), read(0x10c)]).toEqual([0xffffffff, 0xffffffff]);
    expect([read(0x110), read(0x160), read(0x3fc)]).toEqual([0, 0, 0]);
  });

  it('narrow reads see their bytes, narrow writes do nothing', () => {
    const { hpet, read } = timer();
    expect([hpet.readMmio(0x02, 2), hpet.readMmio(0x01, 1)]).toEqual([0x8086, 0xa2]);
    hpet.writeMmio(0x10, 1, ENABLED);
    expect(read(0x10)).toBe(0);
  });
});

describe('the main counter', () => {
  it('counts while enabled, stands while not, and can be set', () => {
    const { hpet, read, write, ticks, enable } = timer();
    ticks(100);
    expect(read(0xf0)).toBe(0);
    enable();
    ticks(25);
    expect([read(0xf0), read(0xf4)]).toEqual([25, 0]);
    write(0x10, 0);
    ticks(1000);
    expect(hpet.readMmio64(0xf0)).toBe(25n);
    write(0xf0, 0xfffffff0);
    write(0xf4, 7);
    enable();
    ticks(0x20);
    expect([read(0xf0), read(0xf4), hpet.readMmio64(0xf0)]).toEqual([0x10, 8, 0x8_0000_0010n]);
  });

  it('both halves agree with the whole at any time', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.nat(2 ** 31 - 1),
        fc.nat(2 ** 31 - 1),
        (start, before, after) => {
          const { hpet, read, ticks, enable } = timer();
          ticks(before);
          hpet.writeMmio64(0xf0, start);
          enable();
          ticks(after);
          const expected = BigInt.asUintN(64, start + BigInt(after));
          expect(hpet.readMmio64(0xf0)).toBe(expected);
          expect((BigInt(read(0xf4)) << 32n) | BigInt(read(0xf0))).toBe(expected);
        },
      ),
    );
  });
});

describe('comparators', () => {
  it('one-shot: an edge when the counter gets there, on the input it is routed to', () => {
    const { write, events, rises, ticks, enable } = timer();
    write(0x140, INTERRUPTS | route(11));
    write(0x148, 500);
    write(0x14c, 0);
    enable();
    ticks(499);
    expect(events).toEqual([]);
    ticks(1);
    expect(events).toEqual(['gsi11+']);
    write(0x148, 700);
    ticks(1000);
    expect([events, rises]).toEqual([
      ['gsi11+', 'gsi11-', 'gsi11+'],
      [500, 700],
    ]);
  });

  it('one-shot in 32-bit mode matches again after the counter has wrapped', () => {
    const { write, rises, ticks, enable } = timer();
    write(0x100, INTERRUPTS | MODE_32 | route(20));
    write(0x108, 100);
    enable();
    ticks(2 ** 32 + 200);
    expect(rises).toEqual([100, 2 ** 32 + 100]);
  });

  it('periodic: SET_VALUE writes comparator and period, the next write the period alone (2.3.9.2.2)', () => {
    const { read, write, rises, ticks, enable } = timer();
    enable();
    write(0x100, INTERRUPTS | PERIODIC | SET_VALUE | MODE_32 | route(20));
    write(0x108, 1000);
    expect(read(0x100) & SET_VALUE).toBe(0);
    write(0x108, 300);
    ticks(1700);
    expect([rises, read(0x108)]).toEqual([[1000, 1300, 1600], 1900]);
  });

  it('periodic with one 64-bit write', () => {
    const { hpet, write, rises, ticks, enable } = timer();
    enable();
    write(0x120, INTERRUPTS | PERIODIC | SET_VALUE | route(23));
    hpet.writeMmio64(0x128, 400n);
    ticks(1300);
    expect([rises, hpet.readMmio64(0x128)]).toEqual([[400, 800, 1200], 1600n]);
  });

  it('level: status and line stand until software writes a one', () => {
    const { read, write, events, ticks, enable } = timer();
    write(0x120, INTERRUPTS | LEVEL | route(21));
    write(0x128, 50);
    write(0x12c, 0);
    enable();
    ticks(60);
    expect([read(0x20), events]).toEqual([2, ['gsi21+']]);
    write(0x20, 5);
    expect(read(0x20)).toBe(2);
    write(0x20, 2);
    expect([read(0x20), events]).toEqual([0, ['gsi21+', 'gsi21-']]);
  });

  it('without interrupts enabled it keeps its status and wakes nobody', () => {
    const { clock, read, write, events, ticks, enable } = timer();
    write(0x100, LEVEL | PERIODIC | SET_VALUE | MODE_32 | route(20));
    write(0x108, 50);
    enable();
    ticks(220);
    expect([clock.pending, read(0x20), read(0x108), events]).toEqual([0, 1, 250, []]);
    write(0x100, LEVEL | PERIODIC | INTERRUPTS | MODE_32 | route(20));
    expect(events).toEqual(['gsi20+']);
  });

  it('an input that a comparator cannot reach gets nothing; halting and disabling take the line down', () => {
    const { write, events, ticks, enable } = timer();
    write(0x100, INTERRUPTS | route(2));
    write(0x108, 10);
    write(0x10c, 0);
    enable();
    ticks(20);
    expect(events).toEqual([]);
    write(0x100, INTERRUPTS | route(22));
    write(0x108, 40);
    ticks(30);
    write(0x10, 0);
    expect(events).toEqual(['gsi22+', 'gsi22-']);
  });

  it('a period of 0 matches once', () => {
    const { write, rises, ticks, enable } = timer();
    enable();
    write(0x100, INTERRUPTS | PERIODIC | route(20));
    write(0x108, 0);
    write(0x10c, 0);
    write(0xf0, 0xffffff00);
    write(0xf4, 0xffffffff);
    ticks(10_000);
    expect(rises.length).toBeLessThanOrEqual(1);
  });

  it('periodic matches follow their closed form', () => {
    const cases = fc.record({
      first: fc.integer({ min: 1, max: 100_000 }),
      period: fc.integer({ min: 1_000, max: 100_000 }),
      gaps: fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 10 }),
    });
    fc.assert(
      fc.property(cases, ({ first, period, gaps }) => {
        const { read, write, rises, ticks, enable } = timer();
        enable();
        write(0x100, INTERRUPTS | PERIODIC | SET_VALUE | MODE_32 | route(20));
        write(0x108, first);
        write(0x108, period);
        let now = 0;
        for (const gap of gaps) {
          ticks(gap);
          now += gap;
          const matched = now < first ? 0 : Math.floor((now - first) / period) + 1;
          expect([rises.length, read(0x108)]).toEqual([matched, first + matched * period]);
        }
        expect(rises).toEqual(rises.map((_, index) => first + index * period));
      }),
    );
  });
});

describe('legacy replacement (2.3.5)', () => {
  it('comparators 0 and 1 take IRQ0 and IRQ8, whatever their route; the other chips are cut off', () => {
    const { hpet, write, events, ticks, enable } = timer();
    hpet.intervalTimer.set(true);
    expect(events).toEqual(['irq0+']);
    for (const base of [0x100, 0x120]) {
      write(base, INTERRUPTS | route(20));
      write(base + 8, base);
      write(base + 12, 0);
    }
    enable(LEGACY);
    expect(events).toEqual(['irq0+', 'irq0-']);
    hpet.realTimeClock.set(true);
    hpet.intervalTimer.set(false);
    hpet.intervalTimer.set(true);
    ticks(0x130);
    expect(events).toEqual(['irq0+', 'irq0-', 'irq0+', 'irq8+']);
    hpet.realTimeClock.set(false);
    enable();
    expect(events.slice(4)).toEqual(['irq0-', 'irq8-', 'irq0+']);
    hpet.realTimeClock.set(true);
    expect(events.at(-1)).toBe('irq8+');
  });
});

describe('save and restore', () => {
  type Step = { kind: 'read' | 'write' | 'time' | 'input'; offset: number; value: number };
  const steps = fc.array(
    fc.record<Step>({
      kind: fc.constantFrom('read', 'write', 'write', 'time', 'input'),
      offset: fc.constantFrom(0x10, 0x20, 0xf0, 0xf4, 0x100, 0x108, 0x10c, 0x120, 0x128, 0x140, 0x148),
      value: fc.oneof(fc.nat(0x3fff), fc.integer({ min: 0, max: 0xffffffff })),
    }),
    { maxLength: 30 },
  );
  const apply = ({ hpet, read, write, ticks }: ReturnType<typeof timer>, { kind, offset, value }: Step) => {
    if (kind === 'write') write(offset, value);
    if (kind === 'time') ticks(value & 0x3fff);
    if (kind === 'input') (offset & 0x20 ? hpet.intervalTimer : hpet.realTimeClock).set((value & 1) !== 0);
    return kind === 'read' ? read(offset) : 0;
  };

  it('a restored timer goes on as the saved one, and restoring drives nothing', () => {
    // Very short periods make very many events: a test of their own kind would only take long.
    const isShort = ({ kind, offset, value }: Step) => kind === 'write' && (offset & 0x0f) === 8 && value < 50;
    fc.assert(
      fc.property(steps, steps, (before, after) => {
        fc.pre(![...before, ...after].some(isShort));
        const original = timer();
        const lines: boolean[] = [];
        for (const next of before) apply(original, next);
        const line = { set: (level: boolean) => lines.push(level) };
        const clock = new FakeClock();
        clock.advance(original.clock.nowNs());
        const copy = new Hpet({ clock, route: () => line, irq0: line, irq8: line });
        copy.restoreState(JSON.parse(JSON.stringify(original.hpet.saveState())));
        expect(lines).toEqual([]);
        for (const next of after) {
          const under = {
            ...original,
            clock,
            hpet: copy,
            read: (offset: number) => copy.readMmio(offset, 4),
            write: (offset: number, value: number) => copy.writeMmio(offset, 4, value >>> 0),
            ticks: (count: number) => clock.advance(10 * count),
          };
          expect(apply(under, next)).toBe(apply(original, next));
        }
        expect(copy.saveState()).toEqual(original.hpet.saveState());
      }),
    );
  });
});

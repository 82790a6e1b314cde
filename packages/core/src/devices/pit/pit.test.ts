import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Oscillator } from '../oscillator.ts';
import { Pit } from './pit.ts';
import { PIT_HZ } from './spec.ts';

/** A timer whose time moves by CLK cycles. */
function timer() {
  const clock = new FakeClock();
  const edges: boolean[] = [];
  const rises: number[] = [];
  const oscillator = new Oscillator(clock, PIT_HZ);
  const pit = new Pit(clock, {
    set: (level) => {
      edges.push(level);
      if (level) rises.push(oscillator.now());
    },
  });
  const write = (offset: number, ...bytes: number[]) => bytes.forEach((byte) => pit.writePort(offset, 1, byte));
  const read = (offset: number) => pit.readPort(offset);
  return {
    clock,
    pit,
    edges,
    rises,
    write,
    read,
    /** Moves to the start of the cycle that is `cycles` away. */
    step: (cycles = 1) => clock.advance(oscillator.nsOf(oscillator.now() + cycles) - clock.nowNs()),
    program: (channel: number, mode: number, count: number, bcd = 0) => {
      write(3, (channel << 6) | 0x30 | (mode << 1) | bcd);
      write(channel, count & 0xff, count >> 8);
    },
    latched: (channel: number) => {
      write(3, channel << 6);
      return read(channel) | (read(channel) << 8);
    },
    status: (channel: number) => {
      write(3, 0xe0 | (2 << channel));
      return read(channel);
    },
  };
}
type TimerUnderTest = ReturnType<typeof timer>;

/** Value and OUT of a channel over the cycles that follow. */
const trace = (under: TimerUnderTest, channel: number, cycles: number) =>
  Array.from({ length: cycles }, () => {
    under.step();
    return [under.latched(channel), under.status(channel) >> 7];
  });

describe('the modes, as the data sheet draws them', () => {
  it('mode 0: N cycles after the load OUT rises, and counting goes on', () => {
    const under = timer();
    under.program(0, 0, 3);
    expect(under.status(0) >> 7).toBe(0);
    expect(trace(under, 0, 5)).toEqual([
      [3, 0],
      [2, 0],
      [1, 0],
      [0, 1],
      [0xffff, 1],
    ]);
    expect(under.edges).toEqual([true]);
  });

  it('mode 0: the first of two bytes stops it and takes OUT down', () => {
    const under = timer();
    under.program(0, 0, 2);
    under.step(4);
    under.write(0, 5);
    const stopped = under.latched(0);
    under.step(10);
    expect([under.edges, stopped, under.latched(0)]).toEqual([[true, false], 0xffff, 0xffff]);
    under.write(0, 0);
    under.step(6);
    expect(under.edges).toEqual([true, false, true]);
  });

  it('mode 0: GATE low holds the count', () => {
    const under = timer();
    under.pit.setGate2(false);
    under.program(2, 0, 4);
    expect(trace(under, 2, 3)).toEqual([
      [4, 0],
      [4, 0],
      [4, 0],
    ]);
    under.pit.setGate2(true);
    expect(trace(under, 2, 2)).toEqual([
      [3, 0],
      [2, 0],
    ]);
    under.pit.setGate2(false);
    under.step(7);
    under.pit.setGate2(true);
    expect(trace(under, 2, 2)).toEqual([
      [1, 0],
      [0, 1],
    ]);
  });

  it('mode 1: a rising GATE starts the shot, and starts it anew', () => {
    const under = timer();
    under.pit.setGate2(false);
    under.program(2, 1, 3);
    under.step(3);
    expect(under.status(2) & 0xc0).toBe(0xc0);
    under.pit.setGate2(true);
    expect(trace(under, 2, 2)).toEqual([
      [3, 0],
      [2, 0],
    ]);
    under.pit.setGate2(false);
    under.pit.setGate2(true);
    expect(trace(under, 2, 5)).toEqual([
      [3, 0],
      [2, 0],
      [1, 0],
      [0, 1],
      [0xffff, 1],
    ]);
  });

  it('mode 2: OUT is low for the cycle in which the count is 1', () => {
    const under = timer();
    under.program(0, 2, 3);
    expect(trace(under, 0, 7)).toEqual([
      [3, 1],
      [2, 1],
      [1, 0],
      [3, 1],
      [2, 1],
      [1, 0],
      [3, 1],
    ]);
    expect(under.rises).toEqual([0, 4, 7]);
  });

  it('mode 2: a new count waits for the end of the period', () => {
    const under = timer();
    under.program(0, 2, 4);
    under.step(2);
    under.write(0, 2, 0);
    expect(under.status(0) & 0x40).toBe(0x40);
    expect(trace(under, 0, 5).map(([count]) => count)).toEqual([2, 1, 2, 1, 2]);
    expect(under.status(0) & 0x40).toBe(0);
    expect(under.rises).toEqual([0, 5, 7]);
  });

  it('mode 2: GATE low sets OUT high, GATE rising reloads', () => {
    const under = timer();
    under.program(2, 2, 3);
    under.step(3);
    expect(under.pit.out2).toBe(false);
    under.pit.setGate2(false);
    expect(under.pit.out2).toBe(true);
    expect(under.latched(2)).toBe(1);
    under.step(2);
    under.pit.setGate2(true);
    expect(trace(under, 2, 3)).toEqual([
      [3, 1],
      [2, 1],
      [1, 0],
    ]);
  });

  it('mode 3: even counts by two, half and half', () => {
    const under = timer();
    under.program(0, 3, 4);
    expect(trace(under, 0, 6)).toEqual([
      [4, 1],
      [2, 1],
      [4, 0],
      [2, 0],
      [4, 1],
      [2, 1],
    ]);
    expect(under.rises).toEqual([0, 5]);
  });

  it('mode 3: the high half of an odd count has the cycle more', () => {
    const under = timer();
    under.program(0, 3, 5);
    expect(trace(under, 0, 7)).toEqual([
      [4, 1],
      [2, 1],
      [0, 1],
      [4, 0],
      [2, 0],
      [4, 1],
      [2, 1],
    ]);
    expect(under.rises).toEqual([0, 6]);
  });

  it('mode 3: a new count takes over at the end of the half-cycle', () => {
    const under = timer();
    under.program(0, 3, 8);
    under.step(2);
    under.write(0, 4, 0);
    expect(trace(under, 0, 7)).toEqual([
      [4, 1],
      [2, 1],
      [4, 0],
      [2, 0],
      [4, 1],
      [2, 1],
      [4, 0],
    ]);
    expect(under.rises).toEqual([0, 7]);
  });

  it('mode 4: one strobe of a cycle, N cycles after the load', () => {
    const under = timer();
    under.program(0, 4, 2);
    expect(trace(under, 0, 5)).toEqual([
      [2, 1],
      [1, 1],
      [0, 0],
      [0xffff, 1],
      [0xfffe, 1],
    ]);
    under.step(0x20000);
    expect(under.rises).toEqual([0, 4]);
  });

  it('mode 5: the strobe follows a rising GATE', () => {
    const under = timer();
    under.pit.setGate2(false);
    under.program(2, 5, 2);
    under.step(5);
    under.pit.setGate2(true);
    expect(trace(under, 2, 4)).toEqual([
      [2, 1],
      [1, 1],
      [0, 0],
      [0xffff, 1],
    ]);
  });

  it('counts decimally in BCD', () => {
    const under = timer();
    under.program(0, 0, 0x1001, 1);
    expect(trace(under, 0, 3).map(([count]) => count)).toEqual([0x1001, 0x1000, 0x0999]);
    under.program(0, 2, 0, 1);
    expect(trace(under, 0, 2).map(([count]) => count)).toEqual([0, 0x9999]);
    under.step(10_000);
    expect(under.latched(0)).toBe(0x9999);
  });

  it('0 is the largest count, and the codes 6 and 7 are modes 2 and 3', () => {
    const under = timer();
    under.program(0, 6, 0);
    under.step(0x10001);
    expect([under.rises, under.status(0)]).toEqual([[0, 0x10001], 0xbc]);
    under.program(0, 7, 0);
    expect(under.status(0) & 0x3f).toBe(0x3e);
  });

  it('an illegal count of 1 does not bring time to a stop', () => {
    const under = timer();
    under.program(0, 2, 1);
    under.step(5);
    expect(under.rises).toEqual([0, 3, 5]);
  });
});

describe('a late machine', () => {
  /** A clock whose callbacks come when asked for, not when due. */
  class LateClock extends FakeClock {
    late: (() => void)[] = [];
    override at(deadlineNs: number, callback: () => void) {
      let cancelled = false;
      const timer = super.at(deadlineNs, () => this.late.push(() => cancelled || callback()));
      return {
        cancel: () => {
          cancelled = true;
          timer.cancel();
        },
      };
    }
  }
  const late = () => {
    const clock = new LateClock();
    const edges: boolean[] = [];
    const pit = new Pit(clock, { set: (level) => edges.push(level) });
    // Mode 2, 1193 cycles: 999,847 ns, from the first cycle on.
    for (const [offset, byte] of [
      [3, 0x34],
      [0, 1193 & 0xff],
      [0, 1193 >> 8],
    ])
      pit.writePort(offset, 1, byte);
    edges.length = 0;
    return { clock, edges, pit };
  };

  it('makes one edge of the periods it missed, and is in time again afterwards', () => {
    const { clock, edges } = late();
    clock.advance(3_500_000);
    for (const callback of clock.late.splice(0)) callback();
    expect(edges).toEqual([false, true]);
    clock.advance(490_000);
    expect(clock.late).toEqual([]);
    clock.advance(20_000);
    expect(clock.late.length).toBe(1);
  });

  it('delivers an edge that is due before what software writes, and only once', () => {
    const { clock, edges, pit } = late();
    clock.advance(1_100_000);
    pit.writePort(3, 1, 0x00);
    expect(edges).toEqual([false, true]);
    for (const callback of clock.late) callback();
    expect(edges).toEqual([false, true]);
  });
});

describe('reading', () => {
  it('a latched count stays until it is read, through later latch commands', () => {
    const under = timer();
    under.program(0, 2, 1000);
    under.step(11);
    under.write(3, 0x00);
    under.step(5);
    under.write(3, 0x00);
    expect([under.read(0), under.read(0)]).toEqual([990 & 0xff, 990 >> 8]);
    expect(under.read(0) | (under.read(0) << 8)).toBe(985);
  });

  it('read-back latches status and count of the chosen counters; status is read first', () => {
    const under = timer();
    under.program(0, 2, 0x1234);
    under.program(2, 3, 0x200);
    under.step();
    under.write(3, 0xc0 | 0x0a);
    under.step(9);
    expect([under.read(0), under.read(0), under.read(0)]).toEqual([0xb4, 0x34, 0x12]);
    expect([under.read(2), under.read(2), under.read(2)]).toEqual([0xb6, 0x00, 0x02]);
    expect(under.read(3)).toBe(0xff);
  });

  it('null count stands until the count is in the counting element', () => {
    const under = timer();
    under.write(3, 0x34);
    expect(under.status(0)).toBe(0x40 | 0x80 | 0x34);
    under.write(0, 10, 0);
    expect(under.status(0) & 0x40).toBe(0x40);
    under.step();
    expect(under.status(0) & 0x40).toBe(0);
  });

  it('one-byte access', () => {
    const under = timer();
    under.write(3, 0x14);
    under.write(0, 0x55);
    under.step();
    expect([under.read(0), under.read(0)]).toEqual([0x55, 0x55]);
    under.write(3, 0x24);
    under.write(0, 0x02);
    under.step(2);
    expect(under.read(0)).toBe(0x01);
  });
});

describe('properties', () => {
  it('modes 0 and 2 follow their closed forms at any time', () => {
    const cases = fc.record({
      count: fc.integer({ min: 2, max: 0xffff }),
      cycles: fc.nat(5_000_000),
      mode: fc.constantFrom(0, 2),
    });
    fc.assert(
      fc.property(cases, ({ count, cycles, mode }) => {
        const under = timer();
        under.program(2, mode, count);
        under.step(1 + cycles);
        const expected = mode === 0 ? (count - cycles) & 0xffff : count - (cycles % count);
        expect(under.latched(2)).toBe(expected);
        expect(under.pit.out2).toBe(mode === 0 ? cycles >= count : expected !== 1);
      }),
    );
  });

  it('every rise of OUT 0 is delivered at its cycle, whatever is read in between', () => {
    const cases = fc.record({
      count: fc.integer({ min: 2, max: 40 }),
      mode: fc.constantFrom(2, 3),
      gaps: fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 20 }),
    });
    fc.assert(
      fc.property(cases, ({ count, mode, gaps }) => {
        const under = timer();
        under.program(0, mode, count);
        let cycle = 0;
        for (const gap of gaps) {
          under.step(gap);
          under.latched(0);
          cycle += gap;
        }
        const expected = Array.from(
          { length: Math.max(0, Math.floor((cycle - 1) / count)) },
          (_, k) => 1 + (k + 1) * count,
        );
        expect(under.rises).toEqual([0, ...expected]);
      }),
    );
  });

  type Step = { kind: 'write' | 'read' | 'gate' | 'step'; offset: number; value: number };
  const steps = fc.array(
    fc.record<Step>({ kind: fc.constantFrom('write', 'read', 'gate', 'step'), offset: fc.nat(3), value: fc.nat(255) }),
    { maxLength: 40 },
  );
  const apply = (under: TimerUnderTest, { kind, offset, value }: Step): number => {
    if (kind === 'write') under.write(offset, value);
    if (kind === 'gate') under.pit.setGate2(value > 127);
    if (kind === 'step') under.step(1 + value);
    return kind === 'read' ? under.read(offset) : 0;
  };

  it('whatever is written, IRQ0 rises at each cycle at which OUT 0 does', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const under = timer();
        const out = () => under.status(0) >> 7;
        for (const next of all) {
          if (next.kind !== 'step') apply(under, next);
          for (let cycle = 0; next.kind === 'step' && cycle < next.value % 32; cycle++) {
            const [before, rises] = [out(), under.rises.length];
            under.step();
            expect(under.rises.length - rises).toBe(before === 0 && out() === 1 ? 1 : 0);
          }
          const values = [0, 1, 2].map((offset) => under.read(offset));
          expect(values.every((value) => Number.isInteger(value) && value >= 0 && value <= 255)).toBe(true);
        }
      }),
    );
  });

  it('a restored timer goes on as the saved one, and restoring drives nothing', () => {
    fc.assert(
      fc.property(steps, steps, (before, after) => {
        const original = timer();
        for (const next of before) apply(original, next);
        const copy = timer();
        copy.clock.advance(original.clock.nowNs());
        copy.pit.restoreState(JSON.parse(JSON.stringify(original.pit.saveState())));
        expect(copy.edges).toEqual([]);
        original.edges.length = 0;
        for (const next of after) expect(apply(copy, next)).toBe(apply(original, next));
        expect(copy.edges).toEqual(original.edges);
        expect(copy.pit.saveState()).toEqual(original.pit.saveState());
      }),
    );
  });
});

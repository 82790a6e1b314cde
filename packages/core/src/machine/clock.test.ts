import { describe, expect, it } from 'vitest';
import { InstructionTime, MachineClock, WallTime } from './clock.ts';

const make = () => {
  const time = new InstructionTime();
  return { time, clock: new MachineClock(time, 5n) };
};

describe('the machine clock', () => {
  it('counts a nanosecond an instruction, pending ones included', () => {
    const { time, clock } = make();
    time.advance(1000);
    const running = { budget: 10 };
    time.enter(running);
    running.budget = 3;
    expect([clock.nowNs(), clock.tsc(), clock.tscHz, clock.startEpochNs]).toEqual([1007, 1007n, 1e9, 5n]);
    expect(clock.coarseNs()).toBe(1007);
    time.advance(7);
    expect(clock.nowNs()).toBe(1007);
  });

  it('calls timers in order of deadline, then of making', () => {
    const { time, clock } = make();
    const calls: string[] = [];
    for (const [deadline, name] of [
      [30, 'c'],
      [10, 'a'],
      [30, 'd'],
      [20, 'b'],
      [99, 'late'],
    ] as const)
      clock.at(deadline, () => calls.push(name));
    expect(clock.nextDeadlineNs).toBe(10);
    time.advance(30);
    clock.fireDue();
    expect(calls).toEqual(['a', 'b', 'c', 'd']);
    expect(clock.nextDeadlineNs).toBe(99);
  });

  it('does not call cancelled timers, not even those due at the same time', () => {
    const { time, clock } = make();
    const calls: string[] = [];
    const second = { timer: clock.at(200, () => {}) };
    second.timer.cancel();
    clock.at(10, () => {
      calls.push('first');
      second.timer.cancel();
    });
    second.timer = clock.at(10, () => calls.push('second'));
    time.advance(500);
    clock.fireDue();
    expect(calls).toEqual(['first']);
    expect(clock.nextDeadlineNs).toBe(Number.POSITIVE_INFINITY);
  });

  it('a timer that is always due keeps none of the others waiting', () => {
    const { time, clock } = make();
    let again = 0;
    let other = 0;
    const repeat = () => {
      again++;
      clock.at(0, repeat);
    };
    clock.at(0, repeat);
    clock.at(5, () => other++);
    time.advance(10);
    clock.fireDue();
    expect([again, other]).toEqual([1, 1]);
    clock.fireDue();
    expect(again).toBe(2);
  });

  it('can be moved on by instruction time, not by wall time', () => {
    const { clock } = make();
    expect([clock.skipTo(50), clock.nowNs(), clock.skipTo(20), clock.nowNs()]).toEqual([true, 50, true, 50]);
    let now = 1000;
    const wall = new MachineClock(new WallTime(() => now), 0n);
    now = 1500;
    expect([wall.nowNs(), wall.skipTo(9000), wall.nowNs()]).toEqual([500, false, 500]);
  });

  it('stands still while frozen and goes on where it stood', () => {
    let now = 1000;
    const clock = new MachineClock(new WallTime(() => now), 0n);
    let fired = 0;
    clock.at(600, () => fired++);
    now = 1500;
    clock.freeze();
    now = 9000;
    clock.freeze();
    clock.fireDue();
    expect([clock.nowNs(), fired]).toEqual([500, 0]);
    clock.thaw();
    clock.thaw();
    expect(clock.nowNs()).toBe(500);
    now += 100;
    clock.fireDue();
    expect([clock.nowNs(), fired]).toEqual([600, 1]);
  });
});

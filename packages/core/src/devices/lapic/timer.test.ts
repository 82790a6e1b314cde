import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApicBus } from '../apic-bus/apic-bus.ts';
import { LocalApic } from './local-apic.ts';
import { Register } from './spec.ts';

const PERIODIC = 0x2_0000;
const TSC_DEADLINE = 0x4_0000;
/** Divide configuration for 1, 2, 4 … 128 (SDM vol. 3A, figure 10-10). */
const DIVIDE = { 1: 0xb, 2: 0x0, 4: 0x1, 8: 0x2, 16: 0x3, 32: 0x8, 64: 0x9, 128: 0xa } as const;

function timer(options: { tscHz?: number } = {}) {
  const clock = new FakeClock(options);
  const apic = new LocalApic({
    id: 0,
    bootstrap: true,
    clock,
    bus: new ApicBus(),
    acknowledgeExternal: () => expect.unreachable(),
    processor: { interruptPending() {}, nmi() {}, smi() {}, init() {}, startup() {} },
  });
  apic.writeRegister(Register.SVR, 0x1ff);
  const count = () => apic.readRegister(Register.CURRENT_COUNT);
  /** Interrupts since the last look. */
  const interrupts = () => {
    let taken = 0;
    while (apic.hasDeliverable()) {
      apic.acknowledge();
      apic.writeRegister(Register.EOI, 0);
      taken++;
    }
    return taken;
  };
  const mode = (bits: number) => apic.writeRegister(Register.LVT_TIMER, 0x40 | bits);
  const start = (initial: number, divide: number = DIVIDE[1]) => {
    apic.writeRegister(Register.DIVIDE, divide);
    apic.writeRegister(Register.INITIAL_COUNT, initial);
  };
  return { clock, apic, timer: apic.timer, count, interrupts, mode, start };
}

describe('one-shot and periodic', () => {
  it.each(Object.entries(DIVIDE))('divides by %s', (divisor, configuration) => {
    const { clock, count, mode, start } = timer();
    mode(0);
    start(1000, configuration);
    clock.advance(10 * Number(divisor) - 1);
    expect(count()).toBe(991);
    clock.advance(1);
    expect(count()).toBe(990);
  });

  it('one-shot: one interrupt at zero, and the count stays there', () => {
    const { clock, count, interrupts, mode, start } = timer();
    mode(0);
    start(100);
    clock.advance(99);
    expect([count(), interrupts()]).toEqual([1, 0]);
    clock.advance(1);
    expect([count(), interrupts()]).toEqual([0, 1]);
    clock.advance(1000);
    expect([count(), interrupts()]).toEqual([0, 0]);
  });

  it('an initial count of 0 stops it', () => {
    const { clock, count, interrupts, mode, start } = timer();
    mode(PERIODIC);
    start(100);
    clock.advance(50);
    start(0);
    clock.advance(1000);
    expect([count(), interrupts(), clock.pending]).toEqual([0, 0, 0]);
  });

  it('masked, it counts without interrupting', () => {
    const { clock, count, interrupts, mode, start } = timer();
    mode(PERIODIC | 0x1_0000);
    start(100);
    clock.advance(150);
    expect([count(), interrupts()]).toEqual([50, 0]);
  });

  it('between the two modes the count goes on (10.5.4: the mode is looked at when it reaches zero)', () => {
    const { clock, count, interrupts, mode, start } = timer();
    mode(0);
    start(100);
    clock.advance(60);
    mode(PERIODIC);
    expect(count()).toBe(40);
    clock.advance(50);
    expect([count(), interrupts()]).toEqual([90, 1]);
    mode(0);
    clock.advance(90);
    expect([count(), interrupts()]).toEqual([0, 1]);
    mode(PERIODIC);
    clock.advance(500);
    expect([count(), interrupts()]).toEqual([0, 0]);
  });

  it('a new divisor takes the count on at the new rate', () => {
    const { clock, apic, count, interrupts, mode, start } = timer();
    mode(0);
    start(100);
    clock.advance(40);
    apic.writeRegister(Register.DIVIDE, DIVIDE[4]);
    expect(count()).toBe(60);
    clock.advance(239);
    expect([count(), interrupts()]).toEqual([1, 0]);
    clock.advance(1);
    expect(interrupts()).toBe(1);
  });

  it('periods follow their closed form', () => {
    const cases = fc.record({
      initial: fc.integer({ min: 1, max: 0xffffffff }),
      divide: fc.constantFrom(...Object.entries(DIVIDE)),
      periods: fc.integer({ min: 0, max: 20 }),
      rest: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    });
    fc.assert(
      fc.property(cases, ({ initial, divide: [divisor, configuration], periods, rest }) => {
        const { clock, count, interrupts, mode, start } = timer();
        mode(PERIODIC);
        start(initial, configuration);
        const periodNs = initial * Number(divisor);
        let taken = 0;
        for (let period = 0; period < periods; period++) {
          clock.advance(periodNs);
          taken += interrupts();
        }
        const restNs = Math.floor(rest * periodNs);
        clock.advance(restNs);
        expect([taken, count()]).toEqual([periods, initial - Math.floor(restNs / Number(divisor))]);
      }),
    );
  });
});

describe('TSC-deadline (10.5.4.1)', () => {
  it('expires when the TSC gets there, once, and reads 0 afterwards', () => {
    const { clock, timer: apicTimer, count, interrupts, mode } = timer();
    mode(TSC_DEADLINE);
    apicTimer.setDeadline(500, 1);
    expect(apicTimer.deadline).toEqual({ low: 500, high: 1 });
    clock.advance(2 ** 32 + 499);
    expect([interrupts(), count()]).toEqual([0, 0]);
    clock.advance(1);
    expect([interrupts(), apicTimer.deadline]).toEqual([1, { low: 0, high: 0 }]);
    expect(clock.pending).toBe(0);
  });

  it('expires at once for a time that is over; 0 disarms; outside its mode it is ignored', () => {
    const { clock, timer: apicTimer, interrupts, mode, start } = timer();
    apicTimer.setDeadline(1, 0);
    clock.advance(100);
    expect(interrupts()).toBe(0);
    mode(TSC_DEADLINE);
    apicTimer.setDeadline(100, 0);
    expect(interrupts()).toBe(1);
    apicTimer.setDeadline(200, 0);
    apicTimer.setDeadline(0, 0);
    start(50);
    clock.advance(1000);
    expect(interrupts()).toBe(0);
  });

  it('a change of mode disarms', () => {
    const { clock, timer: apicTimer, count, interrupts, mode, start } = timer();
    mode(TSC_DEADLINE);
    apicTimer.setDeadline(200, 0);
    mode(0);
    clock.advance(300);
    expect([interrupts(), apicTimer.deadline]).toEqual([0, { low: 0, high: 0 }]);
    start(100);
    mode(TSC_DEADLINE);
    clock.advance(300);
    expect([interrupts(), count()]).toEqual([0, 0]);
  });

  it('never expires before the TSC is there, whatever its rate', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1e6, max: 5e9 }), fc.integer({ min: 1, max: 2 ** 40 }), (tscHz, deadline) => {
        const { clock, timer: apicTimer, interrupts, mode } = timer({ tscHz });
        mode(TSC_DEADLINE);
        apicTimer.setDeadline(deadline % 2 ** 32, Math.floor(deadline / 2 ** 32));
        const dueNs = Math.ceil((deadline / tscHz) * 1e9);
        clock.advance(Math.max(0, dueNs - 2));
        const early = interrupts();
        if (early > 0) expect(clock.tsc()).toBeGreaterThanOrEqual(BigInt(deadline));
        clock.advance(4);
        expect(early + interrupts()).toBe(1);
      }),
    );
  });

  it('follows a TSC that is set', () => {
    const clock = new FakeClock();
    let offset = 0;
    const apic = new LocalApic({
      id: 0,
      bootstrap: true,
      clock,
      bus: new ApicBus(),
      nsOfTsc: (low) => low - offset,
      acknowledgeExternal: () => expect.unreachable(),
      processor: { interruptPending() {}, nmi() {}, smi() {}, init() {}, startup() {} },
    });
    apic.writeRegister(Register.SVR, 0x1ff);
    apic.writeRegister(Register.LVT_TIMER, 0x40 | TSC_DEADLINE);
    apic.timer.setDeadline(10_000, 0);
    offset = 9_000;
    apic.timer.tscChanged();
    clock.advance(999);
    expect(apic.hasDeliverable()).toBe(false);
    clock.advance(1);
    expect(apic.hasDeliverable()).toBe(true);
    offset = 20_000;
    apic.timer.tscChanged();
    expect(clock.pending).toBe(0);
  });
});

describe('a late machine', () => {
  /** A clock whose callbacks come when asked for, not when due. */
  class LateClock extends FakeClock {
    late: (() => void)[] = [];
    override at(deadlineNs: number, callback: () => void) {
      return super.at(deadlineNs, () => this.late.push(callback));
    }
  }

  it('makes one interrupt of the periods it missed and keeps their phase', () => {
    const clock = new LateClock();
    let interrupts = 0;
    const apic = new LocalApic({
      id: 0,
      bootstrap: true,
      clock,
      bus: new ApicBus(),
      acknowledgeExternal: () => expect.unreachable(),
      processor: { interruptPending: () => interrupts++, nmi() {}, smi() {}, init() {}, startup() {} },
    });
    apic.writeRegister(Register.SVR, 0x1ff);
    apic.writeRegister(Register.LVT_TIMER, 0x40 | PERIODIC);
    apic.writeRegister(Register.DIVIDE, DIVIDE[1]);
    apic.writeRegister(Register.INITIAL_COUNT, 100);
    clock.advance(350);
    expect([apic.readRegister(Register.CURRENT_COUNT), clock.late.length]).toEqual([50, 1]);
    clock.late.pop()!();
    expect([interrupts, apic.timer.saveState().endNs]).toEqual([1, 400]);
  });
});

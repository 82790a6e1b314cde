import { Gpr, type OpContext } from '@polyvisor/plugin-api';
import { FakeMachine } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { schedClock } from './clock.ts';

const DATA = 0x5000;
const [RENEWED_AFTER, FRACTION_BITS] = [50_000_000n, 28n];
const LONG_MODE = 0xd01n;

/** A guest whose own clock runs as it is told; time goes on where it says so. */
class Guest {
  readonly machine = new FakeMachine();
  readonly #vcpu = this.machine.vcpus[0];
  /** What the counter reads when the machine starts. */
  #tscAtStart = 1n << 40n;

  constructor(efer = LONG_MODE) {
    this.#vcpu.efer = efer;
    this.advance(0);
  }
  advance(ns: number): void {
    this.machine.clock.advance(ns);
    this.#vcpu.tsc = this.#tscAtStart + this.machine.clock.tsc();
  }
  setCounterBack(by: bigint): void {
    this.#tscAtStart -= by;
    this.advance(0);
  }

  /** What the code finds in memory: its branch to the trap (`undefined`), or its result. */
  read(): bigint | undefined {
    const { memory } = this.machine;
    const [tsc, limit, scale, systemTime] = [0, 8, 16, 24].map((at) => memory.read64(DATA + at));
    const ticks = BigInt.asUintN(64, this.#vcpu.tsc - tsc);
    return ticks < limit ? systemTime + ((ticks * scale) >> FRACTION_BITS) : undefined;
  }

  /** The trap, while which `tookNs` pass; the clock that was there before answers `before`. */
  renew(before: bigint, tookNs = 20): bigint {
    const { machine } = this;
    const call: OpContext = {
      ...{ slot: 'time.sched_clock', vcpu: this.#vcpu, memory: machine.memory, machine, data: DATA },
      arg: () => 0n,
      member: () => undefined,
    };
    const answer = schedClock.trap?.(call);
    if (typeof answer !== 'object') throw new Error('the clock that was there before has not been asked');
    this.advance(tookNs);
    const { gpr } = this.#vcpu;
    if (this.#vcpu.efer === LONG_MODE) return answer.previous(before, call) ?? -1n;
    // What 32-bit code leaves in the upper halves is nobody's business.
    const upper = 0xdeadn << 32n;
    gpr[Gpr.RDX] = (before >> 32n) | upper;
    const low = answer.previous((before & 0xffffffffn) | upper, call) ?? -1n;
    return (gpr[Gpr.RDX] << 32n) | low;
  }
}

describe("xen-ops' clock", () => {
  it('goes on from the one that was there before, by the counter alone', () => {
    const guest = new Guest();
    expect(guest.read()).toBeUndefined();
    expect(guest.renew(5_000_000_000n)).toBe(5_000_000_000n);
    expect(guest.read()).toBe(5_000_000_000n);
    guest.advance(1234);
    expect(guest.read()).toBe(5_000_001_234n);
    guest.advance(Number(RENEWED_AFTER) - 1235);
    expect(guest.read()).toBe(5_000_000_000n + RENEWED_AFTER - 1n);
    guest.advance(1);
    expect(guest.read()).toBeUndefined();
  });

  it('is the same in 32-bit code, which has the result in two registers', () => {
    const guest = new Guest(0n);
    expect(guest.renew(0x1_2345_6789n)).toBe(0x1_2345_6789n);
    guest.advance(1000);
    expect(guest.read()).toBe(0x1_2345_6789n + 1000n);
    guest.advance(60_000_000 - 1000);
    const byStamp = 0x1_2345_6789n + 60_000_000n + 20n;
    expect(guest.renew(byStamp - 10n)).toBe(byStamp);
  });

  it('carries into the upper register', () => {
    const guest = new Guest(0n);
    guest.renew(0x2_0000_0005n - 60_000_020n);
    guest.advance(60_000_000);
    expect(guest.renew(0x1_ffff_fffbn)).toBe(0x2_0000_0005n);
  });

  it.each([
    ['may be right', 0, 0],
    ['may be right', -20, 0],
    ['is behind', 7, 7],
    ['is ahead', -25, -5],
    ['is far ahead, and goes on no further than it has been asked', -100, -20],
    ['is far behind', 1_000_000, 1_000_000],
  ])('that %s: the other says %d ns more, it becomes %d ns more', (_what, other, becomes) => {
    const guest = new Guest();
    guest.renew(1_000_000n);
    guest.advance(60_000_000);
    const byStamp = 1_000_000n + 60_000_000n + 20n;
    expect(guest.renew(byStamp + BigInt(other))).toBe(byStamp + BigInt(becomes));
    expect(guest.read()).toBe(byStamp + BigInt(becomes));
  });

  it('believes the other one if the counter has been set back', () => {
    const guest = new Guest();
    guest.renew(1_000_000n);
    guest.setCounterBack(60_000_000n);
    expect(guest.read()).toBeUndefined();
    expect(guest.renew(77n)).toBe(77n);
    guest.advance(1000);
    expect(guest.read()).toBe(1077n);
  });

  it('never runs backwards, and is never further from the other one than asking it takes, whatever the counter of that is off', () => {
    const steps = fc.array(
      fc.record({ ns: fc.integer({ min: 100, max: 200_000_000 }), took: fc.integer({ min: 200, max: 5000 }) }),
      {
        minLength: 2,
        maxLength: 40,
      },
    );
    fc.assert(
      // Parts in a billion that the kernel has measured the counter wrong.
      fc.property(steps, fc.integer({ min: -500, max: 500 }), fc.nat(1000), (all, offPpb, share) => {
        const guest = new Guest();
        const other = () => {
          const ns = BigInt(guest.machine.clock.nowNs());
          return 10_000_000_000n + ns + (ns * BigInt(offPpb)) / 1_000_000_000n;
        };
        let last = 0n;
        for (const { ns, took } of all) {
          guest.advance(ns);
          const told = guest.read();
          // It reads the counter somewhere between being asked and answering.
          const asked = other() + BigInt(Math.floor((took * share) / 1000));
          const now = told ?? guest.renew(asked, took);
          expect(now).toBeGreaterThanOrEqual(last);
          last = now;
          const apart = now - other();
          expect(apart < 0n ? -apart : apart).toBeLessThanOrEqual(5000n + 200n);
        }
      }),
    );
  });
});

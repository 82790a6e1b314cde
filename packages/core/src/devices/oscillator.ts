import type { Clock } from '@polyvisor/plugin-api';

const NS_PER_SECOND = 1_000_000_000;
/** Above this a second's worth of ns × Hz is no exact number any more. */
const MAX_HZ = 9_000_000;

/**
 * A crystal that has been running since the machine's start: the clock's nanoseconds as whole cycles.
 * All arithmetic is exact: cycle n begins at the first nanosecond at which n cycles are over.
 */
export class Oscillator {
  readonly #clock: Clock;
  readonly hz: number;

  /** @throws RangeError if `hz` is not a whole number from 1 to 9,000,000 */
  constructor(clock: Clock, hz: number) {
    if (!Number.isInteger(hz) || hz < 1 || hz > MAX_HZ) throw new RangeError(`an oscillator cannot run at ${hz} Hz`);
    this.#clock = clock;
    this.hz = hz;
  }
  /** Cycles since the machine's start. */
  now(): number {
    return this.cycleAt(this.#clock.nowNs());
  }
  /** Cycles that are over at `ns`. */
  cycleAt(ns: number): number {
    const seconds = Math.floor(ns / NS_PER_SECOND);
    const rest = Math.floor(ns - seconds * NS_PER_SECOND);
    return seconds * this.hz + Math.floor((rest * this.hz) / NS_PER_SECOND);
  }
  /** When `cycle` begins, in ns since the machine's start. */
  nsOf(cycle: number): number {
    const seconds = Math.floor(cycle / this.hz);
    const rest = cycle - seconds * this.hz;
    return seconds * NS_PER_SECOND + Math.ceil((rest * NS_PER_SECOND) / this.hz);
  }
}

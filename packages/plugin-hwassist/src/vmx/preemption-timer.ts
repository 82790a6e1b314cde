/** The VMX-preemption timer (SDM vol. 3C, 25.5.1). */
import type { Clock, Timer, Vcpu } from '@polyvisor/plugin-api';
import { PREEMPTION_TIMER_SHIFT } from './msrs.ts';

const NS_PER_SECOND = 1e9;

/** Counts from a VM entry to the exit. */
export class PreemptionTimer {
  readonly #clock: Clock;
  /** Of the clock's counter, which no offset moves. */
  readonly #deadlineTsc: bigint;
  readonly #timer: Timer;

  constructor(clock: Clock, vcpu: Vcpu, count: number) {
    const ticks = BigInt(count) << PREEMPTION_TIMER_SHIFT;
    this.#clock = clock;
    this.#deadlineTsc = clock.tsc() + ticks;
    this.#timer = clock.at(clock.nowNs() + (Number(ticks) * NS_PER_SECOND) / clock.tscHz, () => vcpu.kick());
  }

  get isOver(): boolean {
    return this.#clock.tsc() >= this.#deadlineTsc;
  }
  /** What is left. */
  stop(): number {
    this.#timer.cancel();
    const ticks = this.#deadlineTsc - this.#clock.tsc();
    return ticks <= 0n ? 0 : Number(ticks >> PREEMPTION_TIMER_SHIFT);
  }
}

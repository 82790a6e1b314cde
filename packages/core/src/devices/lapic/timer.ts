import type { Clock, Timer } from '@polyvisor/plugin-api';
import type { Stateful } from '../../bus/device.ts';
import { TIMER_TICK_NS, TimerMode } from './spec.ts';

export interface ApicTimerState {
  mode: number;
  initialCount: number;
  divideConfiguration: number;
  /** When the count under way ends, in machine time; -1: not counting. */
  endNs: number;
  /** IA32_TSC_DEADLINE, halves; 0: disarmed. */
  deadlineLow: number;
  deadlineHigh: number;
}

/** Divide configuration register, bits 3, 1 and 0: 2, 4 … 128, and 1 (SDM vol. 3A, figure 10-10). */
const DIVISORS = [2, 4, 8, 16, 32, 64, 128, 1];
const divisorOf = (configuration: number) => DIVISORS[((configuration & 8) >> 1) | (configuration & 3)];
const DIVIDE_WRITABLE = 0x0b;

/**
 * The local APIC's timer (SDM vol. 3A, 10.5.4). Periods that are over before the machine gets to them make one
 * interrupt; the ones that follow are in time again.
 */
export class ApicTimer implements Stateful<ApicTimerState> {
  readonly #clock: Clock;
  readonly #nsOfTsc: (low: number, high: number) => number;
  readonly #expired: () => void;
  #state: ApicTimerState = {
    mode: TimerMode.ONE_SHOT,
    initialCount: 0,
    divideConfiguration: 0,
    endNs: -1,
    deadlineLow: 0,
    deadlineHigh: 0,
  };
  #timer: Timer | undefined;

  /**
   * @param nsOfTsc machine time at which this processor's TSC reaches a value, given in halves
   * @param expired the interrupt; called between guest instructions, or while a deadline in the past is written
   */
  constructor(clock: Clock, nsOfTsc: (low: number, high: number) => number, expired: () => void) {
    this.#clock = clock;
    this.#nsOfTsc = nsOfTsc;
    this.#expired = expired;
  }

  reset(): void {
    this.restoreState({
      mode: TimerMode.ONE_SHOT,
      initialCount: 0,
      divideConfiguration: 0,
      endNs: -1,
      deadlineLow: 0,
      deadlineHigh: 0,
    });
  }

  get mode(): number {
    return this.#state.mode;
  }
  /** One-shot and periodic share a count that goes on; to or from TSC-deadline mode both are disarmed (10.5.4.1). */
  set mode(mode: number) {
    const state = this.#state;
    if (mode === state.mode) return;
    this.#catchUp();
    if (mode === TimerMode.TSC_DEADLINE || state.mode === TimerMode.TSC_DEADLINE) {
      state.initialCount = 0;
      state.deadlineLow = state.deadlineHigh = 0;
      state.endNs = -1;
    }
    state.mode = mode;
    this.#schedule();
  }

  get initialCount(): number {
    return this.#state.initialCount;
  }
  /** Starts the count; 0 stops it. */
  set initialCount(count: number) {
    const state = this.#state;
    if (state.mode === TimerMode.TSC_DEADLINE) return;
    this.#catchUp();
    state.initialCount = count;
    state.endNs = count === 0 ? -1 : this.#now() + this.#periodNs;
    this.#schedule();
  }

  get currentCount(): number {
    const state = this.#state;
    if (state.endNs < 0 || state.mode === TimerMode.TSC_DEADLINE) return 0;
    let remainingNs = state.endNs - this.#now();
    if (remainingNs <= 0 && state.mode === TimerMode.ONE_SHOT) return 0;
    if (remainingNs <= 0) remainingNs = this.#periodNs - (-remainingNs % this.#periodNs);
    return Math.ceil(remainingNs / this.#tickNs);
  }

  get divideConfiguration(): number {
    return this.#state.divideConfiguration;
  }
  /** The count under way goes on from where it is, at the new rate. */
  set divideConfiguration(value: number) {
    const state = this.#state;
    this.#catchUp();
    const count = this.currentCount;
    state.divideConfiguration = value & DIVIDE_WRITABLE;
    if (state.endNs >= 0 && state.mode !== TimerMode.TSC_DEADLINE) state.endNs = this.#now() + count * this.#tickNs;
    this.#schedule();
  }

  get deadline(): { readonly low: number; readonly high: number } {
    return { low: this.#state.deadlineLow, high: this.#state.deadlineHigh };
  }
  /** IA32_TSC_DEADLINE: ignored outside its mode; 0 disarms; a time that is over expires at once. */
  setDeadline(low: number, high: number): void {
    const state = this.#state;
    if (state.mode !== TimerMode.TSC_DEADLINE) return;
    this.#catchUp();
    state.deadlineLow = low;
    state.deadlineHigh = high;
    this.tscChanged();
  }
  /** The TSC has been set: an armed deadline comes at another time. */
  tscChanged(): void {
    const state = this.#state;
    if (state.mode !== TimerMode.TSC_DEADLINE) return;
    const armed = state.deadlineLow !== 0 || state.deadlineHigh !== 0;
    state.endNs = armed ? Math.max(0, this.#nsOfTsc(state.deadlineLow, state.deadlineHigh)) : -1;
    this.#catchUp();
    this.#schedule();
  }

  saveState(): ApicTimerState {
    return { ...this.#state };
  }
  restoreState(state: ApicTimerState): void {
    this.#state = { ...state };
    this.#schedule();
  }

  get #tickNs(): number {
    return divisorOf(this.#state.divideConfiguration) * TIMER_TICK_NS;
  }
  get #periodNs(): number {
    return this.#state.initialCount * this.#tickNs;
  }
  #now(): number {
    return Math.floor(this.#clock.nowNs());
  }
  #schedule(): void {
    this.#timer?.cancel();
    const { endNs } = this.#state;
    this.#timer = endNs < 0 ? undefined : this.#clock.at(endNs, () => this.#expire());
  }
  /** What is due comes before what software does now. */
  #catchUp(): void {
    if (this.#state.endNs >= 0 && this.#state.endNs <= this.#now()) this.#expire();
  }
  #expire(): void {
    const state = this.#state;
    if (state.mode === TimerMode.PERIODIC) {
      state.endNs += (Math.floor((this.#now() - state.endNs) / this.#periodNs) + 1) * this.#periodNs;
    } else {
      state.endNs = -1;
      state.deadlineLow = state.deadlineHigh = 0;
    }
    this.#schedule();
    this.#expired();
  }
}

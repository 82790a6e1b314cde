import type { Stateful } from '../../bus/device.ts';
import { Timer } from './spec.ts';

export interface ComparatorState {
  configuration: number;
  /** 64-bit values as hexadecimal strings. */
  value: string;
  period: string;
  /** The tick of the next match; -1: none. */
  matchAt: number;
}

const WRAP_32 = 2 ** 32;

/**
 * A comparator's arithmetic. Ticks are those of the oscillator since the machine's start; the main counter is an offset
 * from it that the caller knows.
 */
export class Comparator implements Stateful<ComparatorState> {
  /** Lower half of the configuration register. */
  configuration = 0;
  #value = 0xffff_ffff_ffff_ffffn;
  #period = 0n;
  #matchAt = Number.POSITIVE_INFINITY;

  get periodic(): boolean {
    return (this.configuration & Timer.PERIODIC) !== 0;
  }
  /** Infinity: never. */
  get matchAt(): number {
    return this.#matchAt;
  }
  get value(): bigint {
    return this.#value;
  }

  /**
   * The comparator register. In periodic mode a write sets the period; with SET_VALUE, which it clears, the
   * comparator as well (2.3.9.2.2). The lower half is what clears it: in halves, the upper one is to be written first.
   * @param mask the bits that are written: a half or all
   */
  write(value: bigint, mask: bigint): void {
    const merge = (old: bigint) => (old & ~mask) | (value & mask);
    if (!this.periodic || this.configuration & Timer.SET_VALUE) this.#value = merge(this.#value);
    if (this.periodic) this.#period = merge(this.#period);
    if (mask & 1n) this.configuration &= ~Timer.SET_VALUE;
  }

  /** Looks for the next match. A comparator equal to the counter matches now. */
  arm(tick: number, counter: bigint): void {
    const ahead = this.#value - counter;
    this.#matchAt = tick + Number(this.#is32 ? BigInt.asUintN(32, ahead) : BigInt.asUintN(64, ahead));
  }
  disarm(): void {
    this.#matchAt = Number.POSITIVE_INFINITY;
  }

  /** Goes on to the first match after `tick`. Answers whether there was one up to it. */
  advance(tick: number): boolean {
    if (this.#matchAt > tick) return false;
    const period = this.periodic ? Number(this.#is32 ? BigInt.asUintN(32, this.#period) : this.#period) : 0;
    if (period === 0) {
      // A 32-bit one-shot matches again when the counter has wrapped (2.3.9.2.1).
      const wraps = Math.floor((tick - this.#matchAt) / WRAP_32) + 1;
      this.#matchAt = this.#is32 ? this.#matchAt + wraps * WRAP_32 : Number.POSITIVE_INFINITY;
      return true;
    }
    const periods = Math.floor((tick - this.#matchAt) / period) + 1;
    this.#matchAt += periods * period;
    const value = this.#value + BigInt(periods) * this.#period;
    this.#value = this.#is32 ? BigInt.asUintN(32, value) : BigInt.asUintN(64, value);
    return true;
  }

  saveState(): ComparatorState {
    return {
      configuration: this.configuration,
      value: this.#value.toString(16),
      period: this.#period.toString(16),
      matchAt: Number.isFinite(this.#matchAt) ? this.#matchAt : -1,
    };
  }
  restoreState({ configuration, value, period, matchAt }: ComparatorState): void {
    this.configuration = configuration;
    this.#value = BigInt(`0x${value}`);
    this.#period = BigInt(`0x${period}`);
    this.#matchAt = matchAt < 0 ? Number.POSITIVE_INFINITY : matchAt;
  }

  get #is32(): boolean {
    return (this.configuration & Timer.MODE_32) !== 0;
  }
}

import type { Clock } from '@polyvisor/plugin-api';

const MASK64 = (1n << 64n) - 1n;

/** A clock that tells its counter as a number too; exact below 2^53 ticks, three months. */
export interface TscClock extends Clock {
  tscNumber?(): number;
}

/** A processor's time-stamp counter: the clock's, moved by what software has written (SDM vol. 3B, 17.17). */
export class TimeStampCounter {
  readonly #clock: TscClock;
  #offset = 0n;
  /** IA32_TSC_ADJUST: how much writes have moved the counter, as software sees it (17.17.3). */
  #adjust = 0n;

  constructor(clock: TscClock) {
    this.#clock = clock;
  }
  /** {@link Assist.tscOffset}: what RDTSC reads is so much more, and nothing else changes. */
  assistOffset = 0n;
  /** 64 bits, unsigned. */
  read(): bigint {
    return (this.#clock.tsc() + this.#offset + this.assistOffset) & MASK64;
  }
  /** Write what {@link read} answers to a place in memory; mostly without a bigint, as guests read the counter often. */
  store(view: DataView, at: number): void {
    const ticks = this.#offset === 0n && this.assistOffset === 0n ? this.#clock.tscNumber?.() : undefined;
    if (ticks === undefined || ticks > Number.MAX_SAFE_INTEGER) view.setBigUint64(at, this.read(), true);
    else {
      view.setUint32(at, ticks >>> 0, true);
      view.setUint32(at + 4, ticks / 2 ** 32, true);
    }
  }
  /** WRMSR of IA32_TIME_STAMP_COUNTER: IA32_TSC_ADJUST moves along, and what is more for RDTSC stays so. */
  write(value: bigint): void {
    this.#move(value - this.read() + this.assistOffset);
  }
  get adjust(): bigint {
    return this.#adjust & MASK64;
  }
  set adjust(value: bigint) {
    this.#move(value - this.#adjust);
  }
  #move(by: bigint): void {
    this.#offset = (this.#offset + by) & MASK64;
    this.#adjust = (this.#adjust + by) & MASK64;
  }
  /** Machine time, in ns, at which the counter reaches a value given in halves. */
  nsOf(low: number, high: number): number {
    const target = (BigInt(high) << 32n) | BigInt(low);
    // Beyond the counter's wrap-around the offset may exceed the target.
    const ticks = BigInt.asIntN(64, target - this.#offset);
    return Math.ceil((Number(ticks) * 1e9) / this.#clock.tscHz);
  }
}

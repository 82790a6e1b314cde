import { BCD_MODULUS, BINARY_MODULUS, MIN_PERIODIC_COUNT, type Mode } from './spec.ts';

export interface CounterState {
  mode: Mode;
  bcd: boolean;
  gate: boolean;
  /** The count register as a number of cycles; 0 until one is written after a control word. */
  register: number;
  /** What is being counted down, and the cycle at which the counting element holds it; 0: nothing yet. */
  count: number;
  loadedAt: number;
  /** Mode 3: OUT at `loadedAt`. */
  startsHigh: boolean;
  /** While GATE holds the counter: cycles counted so far. Else -1. */
  heldAt: number;
  /** A count that waits for the end of a period or half-cycle, and when that is; 0: none. */
  nextCount: number;
  nextAt: number;
  /** The register has not gone into the counting element. */
  nullCount: boolean;
  /** Value and OUT until `loadedAt`. */
  valueBefore: number;
  outBefore: boolean;
}

const periodic = (mode: Mode) => mode === 2 || mode === 3;
const gateTriggered = (mode: Mode) => mode === 1 || mode === 5;

/** Cycles of a square wave's low half; the high half has the odd one ("Mode 3"). */
const lowHalf = (count: number) => Math.floor(count / 2);

/**
 * A counter of the 8254. Cycles are those of its CLK input; every method takes the present one, which never goes back.
 * A count goes into the counting element with the CLK pulse after it was written.
 */
export class Counter {
  #state: CounterState = {
    mode: 0,
    bcd: false,
    gate: true,
    register: 0,
    count: 0,
    loadedAt: 0,
    startsHigh: true,
    heldAt: -1,
    nextCount: 0,
    nextAt: 0,
    nullCount: true,
    valueBefore: 0,
    outBefore: false,
  };

  get state(): CounterState {
    return this.#state;
  }
  set state(state: CounterState) {
    this.#state = { ...state };
  }

  /** A control word: OUT goes to the mode's initial level and counting ends until a count is written. */
  setMode(cycle: number, mode: Mode, bcd: boolean): void {
    const valueBefore = this.#raw(cycle);
    const { gate } = this.#state;
    const fresh = { register: 0, count: 0, loadedAt: 0, startsHigh: true, nextCount: 0, nextAt: 0, nullCount: true };
    this.#state = { ...fresh, mode, bcd, gate, heldAt: gate ? -1 : 0, valueBefore, outBefore: mode !== 0 };
  }

  /** The first byte of two: it stops mode 0 at once ("Mode 0", note 1). */
  beginWrite(cycle: number): void {
    if (this.#state.mode === 0) this.#stop(cycle, false);
  }

  /** @param image the 16 bits written: 0 is the largest count */
  write(cycle: number, image: number): void {
    this.#sync(cycle);
    const state = this.#state;
    const count = this.#decode(image) || this.#modulus;
    state.register = periodic(state.mode) ? Math.max(count, MIN_PERIODIC_COUNT) : count;
    state.nullCount = true;
    if (gateTriggered(state.mode)) return;
    if (!periodic(state.mode) || state.count === 0) this.#load(cycle);
    else if (cycle < state.loadedAt) {
      state.count = state.register;
      state.nullCount = false;
    } else if (state.heldAt < 0) {
      state.nextCount = state.register;
      state.nextAt = this.#boundaryAfter(cycle);
    }
  }

  setGate(cycle: number, gate: boolean): void {
    this.#sync(cycle);
    const state = this.#state;
    if (gate === state.gate) return;
    state.gate = gate;
    if (gateTriggered(state.mode)) {
      if (gate && state.register > 0) this.#load(cycle);
      return;
    }
    if (!gate) {
      state.heldAt = Math.max(0, cycle - state.loadedAt);
      state.nextCount = 0;
    } else if (periodic(state.mode) && state.register > 0) {
      this.#load(cycle);
    } else {
      state.loadedAt = Math.max(cycle - state.heldAt, state.heldAt === 0 ? state.loadedAt : 0);
      state.heldAt = -1;
    }
  }

  out(cycle: number): boolean {
    this.#sync(cycle);
    const { mode, count, loadedAt, outBefore, heldAt } = this.#state;
    // GATE low sets OUT high at once in the periodic modes.
    if (periodic(mode) && heldAt >= 0) return true;
    if (count === 0 || cycle < loadedAt) return outBefore;
    return this.#outOf(this.#elapsed(cycle));
  }

  /** The counting element as the data bus shows it. */
  value(cycle: number): number {
    const value = this.#raw(cycle);
    if (!this.#state.bcd) return value;
    return (
      (value % 10) |
      ((Math.floor(value / 10) % 10) << 4) |
      ((Math.floor(value / 100) % 10) << 8) |
      ((Math.floor(value / 1000) % 10) << 12)
    );
  }

  /** Whether the last count written is still outside the counting element. */
  isNull(cycle: number): boolean {
    this.#sync(cycle);
    const { nullCount, loadedAt } = this.#state;
    return nullCount || cycle < loadedAt;
  }

  /** The first cycle after this one at which OUT goes from low to high by itself; Infinity if it does not. */
  nextRise(cycle: number): number {
    this.#sync(cycle);
    const state = this.#state;
    if (state.count === 0 || state.heldAt >= 0) return Number.POSITIVE_INFINITY;
    const rise = this.#riseOf(cycle, state.count, state.loadedAt, state.startsHigh);
    if (state.nextCount === 0 || rise <= state.nextAt) return rise;
    return this.#riseOf(state.nextAt, state.nextCount, state.nextAt, false);
  }

  get #modulus(): number {
    return this.#state.bcd ? BCD_MODULUS : BINARY_MODULUS;
  }
  #decode(image: number): number {
    if (!this.#state.bcd) return image;
    return ((image >> 12) * 1000 + ((image >> 8) & 15) * 100 + ((image >> 4) & 15) * 10 + (image & 15)) % BCD_MODULUS;
  }

  /** The register goes into the counting element with the next CLK pulse. */
  #load(cycle: number): void {
    this.#stop(cycle, periodic(this.#state.mode) || (this.#state.mode !== 0 && this.out(cycle)));
    const state = this.#state;
    state.count = state.register;
    state.loadedAt = cycle + 1;
    state.nullCount = false;
    state.startsHigh = true;
    state.heldAt = state.gate || gateTriggered(state.mode) ? -1 : 0;
  }
  #stop(cycle: number, out: boolean): void {
    const valueBefore = this.#raw(cycle);
    Object.assign(this.#state, { valueBefore, outBefore: out, count: 0, loadedAt: 0, nextCount: 0 });
  }

  /** Takes the waiting count at the end of its period or half-cycle. */
  #sync(cycle: number): void {
    const state = this.#state;
    if (state.nextCount === 0 || cycle < state.nextAt) return;
    state.startsHigh = state.mode === 2 || !this.#outOf(state.nextAt - 1 - state.loadedAt);
    state.count = state.nextCount;
    state.loadedAt = state.nextAt;
    state.nextCount = 0;
    state.nullCount = false;
  }

  #elapsed(cycle: number): number {
    const { heldAt, loadedAt } = this.#state;
    return heldAt >= 0 ? heldAt : cycle - loadedAt;
  }

  #outOf(elapsed: number): boolean {
    const { mode, count, startsHigh } = this.#state;
    if (mode === 0 || mode === 1) return elapsed >= count;
    if (mode === 2) return elapsed % count !== count - 1;
    if (mode === 3) {
      const position = elapsed % count;
      return startsHigh ? position < count - lowHalf(count) : position >= lowHalf(count);
    }
    return elapsed !== count;
  }

  #raw(cycle: number): number {
    this.#sync(cycle);
    const { mode, count, loadedAt, valueBefore } = this.#state;
    if (count === 0 || cycle < loadedAt) return valueBefore;
    const elapsed = this.#elapsed(cycle);
    const modulus = this.#modulus;
    if (mode === 2) return (count - (elapsed % count)) % modulus;
    // Mode 3 counts by two from the even part of the count, in each half anew.
    if (mode === 3) return ((count & ~1) - 2 * this.#inHalf(elapsed)) % modulus;
    return (((count - elapsed) % modulus) + modulus) % modulus;
  }

  /** Mode 3: cycles since the half-cycle began. */
  #inHalf(elapsed: number): number {
    const position = elapsed % this.#state.count;
    const first = this.#firstHalf();
    return position < first ? position : position - first;
  }
  #firstHalf(): number {
    const { count, startsHigh } = this.#state;
    return startsHigh ? count - lowHalf(count) : lowHalf(count);
  }

  /** When the period (mode 2) or half-cycle (mode 3) under way ends. */
  #boundaryAfter(cycle: number): number {
    const { mode, count, loadedAt } = this.#state;
    const position = (cycle - loadedAt) % count;
    const first = this.#firstHalf();
    return cycle - position + (mode === 3 && position < first ? first : count);
  }

  #riseOf(cycle: number, count: number, loadedAt: number, startsHigh: boolean): number {
    const { mode } = this.#state;
    if (!periodic(mode)) {
      const rise = loadedAt + count + (mode >= 4 ? 1 : 0);
      return rise > cycle ? rise : Number.POSITIVE_INFINITY;
    }
    const first = loadedAt + (mode === 2 || startsHigh ? count : lowHalf(count));
    return cycle < first ? first : first + (Math.floor((cycle - first) / count) + 1) * count;
  }
}

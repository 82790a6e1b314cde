import type { Clock, Timer } from '@polyvisor/plugin-api';

/** Guest TSC ticks per second: one tick is one nanosecond of machine time. */
const TSC_HZ = 1_000_000_000;

interface Scheduled {
  readonly deadlineNs: number;
  callback: (() => void) | undefined;
}

/** Where the machine's time comes from. */
export interface TimeSource {
  /** Nanoseconds since the machine's start. */
  nowNs(): number;
  /** As {@link nowNs}, or the last answer of that. */
  coarseNs(): number;
  /** Called when the machine has nothing to do until `untilNs`; true: time has been moved there. */
  skipTo(untilNs: number): boolean;
  /** Time stands still from now on, until {@link thaw}; it goes on where it stood. */
  freeze(): void;
  thaw(): void;
}

/** Time that follows the number of executed instructions: one nanosecond each. Runs are reproducible. */
export class InstructionTime implements TimeSource {
  #ns = 0;
  /** What runs guest code now, and the budget with which it was entered. */
  #running: { readonly budget: number } | undefined;
  #budget = 0;
  /** Guest code is entered: until {@link advance}, time follows what is used of the budget. */
  enter(running: { readonly budget: number }): void {
    this.#running = running;
    this.#budget = running.budget;
  }
  /** Guest code has been left, or has not run. */
  advance(instructions: number): void {
    this.#running = undefined;
    this.#ns += instructions;
  }
  nowNs(): number {
    return this.#running ? this.#ns + this.#budget - this.#running.budget : this.#ns;
  }
  coarseNs(): number {
    return this.nowNs();
  }
  skipTo(untilNs: number): boolean {
    if (untilNs > this.#ns) this.#ns = untilNs;
    return true;
  }
  /** No instruction, no time: there is nothing to do. */
  freeze(): void {}
  thaw(): void {}
}

/** Time as the host's clock tells it, from the machine's start on, less what it stood still. */
export class WallTime implements TimeSource {
  readonly #now: () => number;
  #startNs: number;
  #frozenAtNs: number | undefined;
  #lastNs = 0;
  constructor(nowNs: () => number) {
    this.#now = nowNs;
    this.#startNs = nowNs();
  }
  nowNs(): number {
    this.#lastNs = (this.#frozenAtNs ?? this.#now()) - this.#startNs;
    return this.#lastNs;
  }
  coarseNs(): number {
    return this.#lastNs;
  }
  skipTo(): boolean {
    return false;
  }
  freeze(): void {
    this.#frozenAtNs ??= this.#now();
  }
  thaw(): void {
    if (this.#frozenAtNs !== undefined) this.#startNs += this.#now() - this.#frozenAtNs;
    this.#frozenAtNs = undefined;
  }
}

/** The machine's clock and its timers. */
export class MachineClock implements Clock {
  readonly tscHz = TSC_HZ;
  readonly startEpochNs: bigint;
  readonly #source: TimeSource;
  /** Sorted by deadline, then by order of scheduling. */
  readonly #timers: Scheduled[] = [];

  constructor(source: TimeSource, startEpochNs: bigint) {
    this.#source = source;
    this.startEpochNs = startEpochNs;
  }
  nowNs(): number {
    return this.#source.nowNs();
  }
  coarseNs(): number {
    return this.#source.coarseNs();
  }
  tsc(): bigint {
    return BigInt(this.tscNumber());
  }
  /** {@link tsc} as a number. */
  tscNumber(): number {
    return Math.floor(this.nowNs());
  }
  at(deadlineNs: number, callback: () => void): Timer {
    const timer: Scheduled = { deadlineNs, callback };
    let at = this.#timers.length;
    while (at > 0 && this.#timers[at - 1].deadlineNs > deadlineNs) at--;
    this.#timers.splice(at, 0, timer);
    if (at === 0) this.#earlierDeadline = true;
    return { cancel: () => this.#cancel(timer) };
  }
  #earlierDeadline = false;
  /** Whether the next deadline has come nearer since the last call. */
  takeEarlierDeadline(): boolean {
    const taken = this.#earlierDeadline;
    this.#earlierDeadline = false;
    return taken;
  }
  #cancel(timer: Scheduled): void {
    const at = this.#timers.indexOf(timer);
    if (at >= 0) this.#timers.splice(at, 1);
    timer.callback = undefined;
  }
  /** Deadline of the next timer; Infinity without one. */
  get nextDeadlineNs(): number {
    return this.#timers.length > 0 ? this.#timers[0].deadlineNs : Number.POSITIVE_INFINITY;
  }
  /** Call back every timer that is due. What a callback schedules, even for the past, waits for the next time. */
  fireDue(): void {
    const now = this.nowNs();
    if (this.nextDeadlineNs > now) return;
    let due = 0;
    while (due < this.#timers.length && this.#timers[due].deadlineNs <= now) due++;
    // A cancelled timer has no callback any more.
    for (const timer of this.#timers.splice(0, due)) timer.callback?.();
  }
  freeze(): void {
    this.#source.freeze();
  }
  thaw(): void {
    this.#source.thaw();
  }
  /** Nothing to do until then: move the time if the source lets itself be moved. */
  skipTo(untilNs: number): boolean {
    return this.#source.skipTo(untilNs);
  }
}

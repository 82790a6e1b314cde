import type { Clock, Timer } from '@polyvisor/plugin-api';

interface Deadline {
  readonly atNs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Time that moves only when a test says so. */
export class FakeClock implements Clock {
  readonly tscHz: number;
  readonly startEpochNs: bigint;
  #nowNs = 0;
  #made = 0;
  #deadlines: Deadline[] = [];

  /** Defaults: a 1 GHz TSC (one tick a nanosecond) and a start at 2024-01-01T00:00:00Z. */
  constructor(options: { tscHz?: number; startEpochNs?: bigint } = {}) {
    this.tscHz = options.tscHz ?? 1_000_000_000;
    this.startEpochNs = options.startEpochNs ?? 1_704_067_200_000_000_000n;
  }

  nowNs(): number {
    return this.#nowNs;
  }
  coarseNs(): number {
    return this.#nowNs;
  }
  tsc(): bigint {
    return (BigInt(Math.trunc(this.#nowNs)) * BigInt(this.tscHz)) / 1_000_000_000n;
  }
  at(deadlineNs: number, callback: () => void): Timer {
    const deadline = { atNs: deadlineNs, order: this.#made++, callback };
    this.#deadlines.push(deadline);
    return { cancel: () => this.#remove(deadline) };
  }

  /** Deadlines that have not come yet. */
  get pending(): number {
    return this.#deadlines.length;
  }

  /** Moves time on and calls what falls due, in order of time; a callback sees its own deadline as the time. */
  advance(byNs: number): void {
    const endNs = this.#nowNs + byNs;
    for (let next = this.#earliest(endNs); next; next = this.#earliest(endNs)) {
      this.#remove(next);
      this.#nowNs = Math.max(this.#nowNs, next.atNs);
      next.callback();
    }
    this.#nowNs = endNs;
  }

  #earliest(endNs: number): Deadline | undefined {
    let first: Deadline | undefined;
    for (const deadline of this.#deadlines) {
      if (deadline.atNs > endNs) continue;
      if (!first || deadline.atNs < first.atNs || (deadline.atNs === first.atNs && deadline.order < first.order)) {
        first = deadline;
      }
    }
    return first;
  }

  #remove(deadline: Deadline): void {
    this.#deadlines = this.#deadlines.filter((other) => other !== deadline);
  }
}

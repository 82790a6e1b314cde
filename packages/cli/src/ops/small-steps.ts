import type { MomentSteps } from '@polyvisor/core';

/** How long the guest may stand still for steps that need not be taken at once. */
const STEP_MS = 1;

interface Surroundings {
  /** Tries between two instructions of the guest until it answers; `undefined`: not at all. */
  attempt<T>(attempt: () => T | undefined): Promise<T | undefined>;
  /** CPU time of this thread so far. */
  cpuNs(): number;
  /** Whether no further step is to be taken. */
  isOver?(): boolean;
}

interface Taken<Result> {
  /** `undefined`: not all steps have been taken. */
  readonly result: Result | undefined;
  /** How long the guest has stood still at most, in ms: by the clock, and by CPU time, on a busy host the more telling of the two. */
  readonly longestMs: number;
  readonly longestCpuMs: number;
}

/** The longest of some stops. */
class Stops {
  longestMs = 0;
  longestCpuMs = 0;
  readonly #cpuNs: () => number;
  #startMs = 0;
  #startCpuNs = 0;

  constructor(cpuNs: () => number) {
    this.#cpuNs = cpuNs;
    this.begin();
  }
  begin(): void {
    this.#startCpuNs = this.#cpuNs();
    this.#startMs = performance.now();
  }
  get ms(): number {
    return performance.now() - this.#startMs;
  }
  end(): void {
    this.longestMs = Math.max(this.longestMs, rounded(this.ms));
    this.longestCpuMs = Math.max(this.longestCpuMs, rounded((this.#cpuNs() - this.#startCpuNs) / 1e6));
  }
}
const rounded = (ms: number) => Math.round(ms * 1e3) / 1e3;

/** Takes steps, and lets the guest run in between. */
export async function inSmallSteps<Result>(
  steps: MomentSteps<Result>,
  { attempt, cpuNs, isOver = () => false }: Surroundings,
): Promise<Taken<Result>> {
  const stops = new Stops(cpuNs);
  const taken = (result?: Result) => ({ result, longestMs: stops.longestMs, longestCpuMs: stops.longestCpuMs });
  let step = steps.next();
  while (!step.done) {
    const isMoment = step.value ?? (() => true);
    if (stops.ms >= STEP_MS) {
      stops.end();
      await new Promise(setImmediate);
      stops.begin();
    }
    if (isOver()) return taken();
    if (isMoment()) {
      step = steps.next();
      continue;
    }
    stops.end();
    const next = await attempt(() => {
      if (!isMoment()) return undefined;
      if (isOver()) return { step: undefined };
      stops.begin();
      const { value, done } = steps.next();
      stops.end();
      return { step: { value, done } as typeof step };
    });
    if (!next?.step) return taken();
    step = next.step;
    stops.begin();
  }
  stops.end();
  return taken(step.value);
}

import type { RunEnd } from './options.ts';

interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

/** Whether a machine runs, is paused, or has ended, and how. */
export class Lifecycle {
  readonly #clock: { freeze(): void; thaw(): void };
  #end: RunEnd | undefined;
  /** Opens when a paused machine goes on or ends. */
  #gate: Gate | undefined;

  constructor(clock: { freeze(): void; thaw(): void }) {
    this.#clock = clock;
  }

  /** How it has ended; `undefined`: it has not. */
  get end(): RunEnd | undefined {
    return this.#end;
  }
  get hasEnded(): boolean {
    return this.#end !== undefined;
  }
  get paused(): boolean {
    return this.#gate !== undefined;
  }
  /** What to wait for while it is paused. */
  get goesOn(): Promise<void> | undefined {
    return this.#gate?.opened;
  }

  /** The first end counts. */
  finish(end: RunEnd): void {
    this.#end ??= end;
  }
  /** From now on the clock stands still. */
  pause(): void {
    if (this.#gate || this.#end) return;
    let open = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#gate = { opened, open };
    this.#clock.freeze();
  }
  resume(): void {
    const gate = this.#gate;
    if (!gate) return;
    this.#gate = undefined;
    this.#clock.thaw();
    gate.open();
  }
}

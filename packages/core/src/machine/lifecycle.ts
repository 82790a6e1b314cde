import type { RunEnd } from './options.ts';

interface Gate {
  readonly opened: Promise<void>;
  open(): void;
  fail(error: unknown): void;
}

/** Whether a machine runs, stands still, or has ended, and how. */
export class Lifecycle {
  readonly #clock: { freeze(): void; thaw(): void };
  #end: RunEnd | undefined;
  #isPaused = false;
  /** Work that it waits for. */
  #holds = 0;
  /** Opens when a machine that stands still goes on or ends. */
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
  /** Somebody outside has asked for it. */
  get paused(): boolean {
    return this.#isPaused;
  }
  /** Paused, or held: no instruction may be executed. */
  get standsStill(): boolean {
    return this.#gate !== undefined;
  }
  /** What to wait for while it stands still. */
  get goesOn(): Promise<void> | undefined {
    return this.#gate?.opened;
  }

  /** The first end counts. */
  finish(end: RunEnd): void {
    this.#end ??= end;
    this.#open();
  }
  /** From now on the clock stands still. */
  pause(): void {
    if (this.#end) return;
    this.#isPaused = true;
    this.#close();
  }
  resume(): void {
    this.#isPaused = false;
    this.#openIfFree();
  }
  /** The same until `work` is done. What it throws, {@link goesOn} throws. */
  hold(work: Promise<unknown>): void {
    if (this.#end) return;
    this.#holds++;
    this.#close();
    work.then(
      () => {
        this.#holds--;
        this.#openIfFree();
      },
      (error) => this.#gate?.fail(error),
    );
  }

  #close(): void {
    if (this.#gate) return;
    let open = () => {};
    let fail = (_error: unknown) => {};
    const opened = new Promise<void>((resolve, reject) => {
      open = resolve;
      fail = reject;
    });
    this.#gate = { opened, open, fail };
    this.#clock.freeze();
  }
  #openIfFree(): void {
    if (!this.#isPaused && this.#holds === 0) this.#open();
  }
  #open(): void {
    const gate = this.#gate;
    if (!gate) return;
    this.#gate = undefined;
    this.#clock.thaw();
    gate.open();
  }
}

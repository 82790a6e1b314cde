import type { ConsolePort } from '@polyvisor/plugin-api';

/** A console of the CLI: what the guest sees, and how to let go of it. */
export interface GuestConsole extends ConsolePort {
  /** Resolves when the next input arrives, if that is before `cancelled`; see {@link InputQueue}. */
  onWake(listener: () => void): void;
  /** Gives the terminal or file back. */
  close(): Promise<void>;
}

/** Operator input on its way to the guest: what comes before the guest listens is kept. */
export class InputQueue {
  #listener: ((bytes: Uint8Array) => void) | undefined;
  #waiting: Uint8Array[] = [];
  #wake: () => void = () => {};

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener;
    for (const bytes of this.#waiting.splice(0)) listener(bytes);
  }

  onWake(listener: () => void): void {
    this.#wake = listener;
  }

  push(bytes: Uint8Array): void {
    if (this.#listener) this.#listener(bytes);
    else this.#waiting.push(bytes);
    this.#wake();
  }
}

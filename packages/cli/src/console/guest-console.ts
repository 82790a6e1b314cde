import type { ConsolePort } from '@polyvisor/plugin-api';

/** A console of the CLI: what the guest sees, and how to let go of it. */
export interface GuestConsole extends ConsolePort {
  /** Gives the terminal or file back. */
  close(): Promise<void>;
}

/** Operator input on its way to the guest: what comes before the guest listens, or while it is held, is kept. */
export class InputQueue {
  #listener: ((bytes: Uint8Array) => void) | undefined;
  #waiting: Uint8Array[] = [];
  #held = false;
  #wake: () => void = () => {};

  get waitingBytes(): number {
    return this.#waiting.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener;
    this.#flush();
  }

  onWake(listener: () => void): void {
    this.#wake = listener;
  }

  hold(held: boolean): void {
    this.#held = held;
    this.#flush();
  }

  push(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#flush();
    this.#wake();
  }

  #flush(): void {
    const listener = this.#listener;
    if (!listener || this.#held) return;
    for (const bytes of this.#waiting.splice(0)) listener(bytes);
  }
}

import { LIMITS } from '../control/protocol.ts';
import { type GuestConsole, InputQueue } from './guest-console.ts';

/** The guest's one console and all who look at it: the terminal or file of `vm run`, and attached clients. */
export class ConsoleHub {
  readonly #main: GuestConsole;
  readonly #input = new InputQueue();
  readonly #outputs = new Set<(bytes: Uint8Array) => void>();
  #recent: Uint8Array[] = [];
  #recentBytes = 0;

  constructor(main: GuestConsole) {
    this.#main = main;
    main.onInput((bytes) => this.#input.push(bytes));
  }

  /** From the guest, to everyone. */
  write(bytes: Uint8Array): void {
    this.#main.write(bytes);
    // The guest's memory may change under a view.
    const copy = bytes.slice();
    this.#remember(copy);
    for (const output of this.#outputs) output(copy);
  }
  /** For the guest: the last one to listen gets what anyone types. */
  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#input.onInput(listener);
  }
  onWake(listener: () => void): void {
    this.#input.onWake(listener);
  }
  /** While held, input waits: it would change a guest that is not to change. */
  hold(held: boolean): void {
    this.#input.hold(held);
  }

  /** Typed by an attached client. False: too much is waiting already. */
  input(bytes: Uint8Array): boolean {
    if (this.#input.waitingBytes + bytes.length > LIMITS.inputBytes) return false;
    this.#input.push(bytes);
    return true;
  }
  /** Answers how to stop listening. */
  onOutput(listener: (bytes: Uint8Array) => void): () => void {
    this.#outputs.add(listener);
    return () => this.#outputs.delete(listener);
  }
  /** The last output, at most `LIMITS.recentBytes`. */
  recent(): Uint8Array {
    const all = Buffer.concat(this.#recent);
    return all.subarray(Math.max(0, all.length - LIMITS.recentBytes));
  }
  close(): Promise<void> {
    return this.#main.close();
  }

  #remember(bytes: Uint8Array): void {
    this.#recent.push(bytes);
    this.#recentBytes += bytes.length;
    if (this.#recentBytes <= 2 * LIMITS.recentBytes && this.#recent.length <= LIMITS.recentBytes) return;
    this.#recent = [this.recent()];
    this.#recentBytes = this.#recent[0].length;
  }
}

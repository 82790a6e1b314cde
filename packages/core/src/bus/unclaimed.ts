/** Tells once per address that nothing is there: guests probe, and people wonder. */
export class UnclaimedLog {
  readonly #seen = new Set<string>();
  readonly #log: (message: string) => void;
  constructor(log: (message: string) => void) {
    this.#log = log;
  }
  tell(what: string, address: number): void {
    const message = `${what} 0x${address.toString(16)}: nothing is there`;
    if (this.#seen.has(message) || this.#seen.size >= MOST_MESSAGES) return;
    this.#seen.add(message);
    this.#log(message);
  }
}
/** A guest that reads everything there is must not fill the log. */
const MOST_MESSAGES = 256;

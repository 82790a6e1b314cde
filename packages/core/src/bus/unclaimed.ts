/** Tells once per address that nothing is there: guests probe, and people wonder. */
export class UnclaimedLog {
  /** What has been told, by what was tried. A guest may try the same place a hundred thousand times. */
  readonly #told = new Map<string, Set<number>>();
  readonly #log: (message: string) => void;
  #messages = 0;
  constructor(log: (message: string) => void) {
    this.#log = log;
  }
  tell(what: string, address: number): void {
    if (this.#messages >= MOST_MESSAGES) return;
    let told = this.#told.get(what);
    if (!told) this.#told.set(what, (told = new Set()));
    if (told.has(address)) return;
    told.add(address);
    this.#messages++;
    this.#log(`${what} 0x${address.toString(16)}: nothing is there`);
  }
}
/** A guest that reads everything there is must not fill the log. */
const MOST_MESSAGES = 256;

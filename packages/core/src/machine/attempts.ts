/** What is to be tried between two instructions of the guest until it succeeds. */
export class Attempts {
  readonly #nowNs: () => number;
  /** Each answers whether it is done. */
  #waiting: (() => boolean)[] = [];

  /** @param nowNs the host's clock */
  constructor(nowNs: () => number) {
    this.#nowNs = nowNs;
  }

  /** Whether {@link tryAll} has anything to do. */
  get areWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /**
   * Tries now, and at each {@link tryAll}, until `attempt` answers something, `forNs` have passed or `isOver` says so: then
   * `undefined`. What it throws is thrown here.
   */
  add<T>(attempt: () => T | undefined, forNs: number, isOver: () => boolean): Promise<T | undefined> {
    const untilNs = this.#nowNs() + forNs;
    return new Promise((resolve, reject) => {
      const tryOnce = (): boolean => {
        try {
          const answer = attempt();
          if (answer === undefined && !isOver() && this.#nowNs() < untilNs) return false;
          resolve(answer);
        } catch (error) {
          reject(error);
        }
        return true;
      };
      if (!tryOnce()) this.#waiting.push(tryOnce);
    });
  }

  tryAll(): void {
    if (this.#waiting.length === 0) return;
    this.#waiting = this.#waiting.filter((tryOnce) => !tryOnce());
  }
}

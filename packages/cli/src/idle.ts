/** A timer below this is cheaper as a turn of the event loop. */
const SHORT_NS = 500_000;
/** Also keeps the process alive when nothing but the guest is left to wait for. */
const LONGEST_MS = 1000;

/** Waits while the guest has nothing to do; input, and a wish to stop, end the wait. */
export class Idle {
  #wake: (() => void) | undefined;

  /** Resolves after at most `maxNs`, earlier if {@link wake} is called. It may always come early. */
  wait(maxNs: number): Promise<void> {
    return new Promise((resolve) => {
      if (maxNs < SHORT_NS) {
        setImmediate(resolve);
        return;
      }
      const timer = setTimeout(() => this.wake(), Math.min(maxNs / 1e6, LONGEST_MS));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  wake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

import type { IrqLine } from './device.ts';

/** A wire that several devices drive: it is asserted while one of them asserts it. */
export class SharedLine {
  readonly #target: IrqLine;
  readonly #asserting = new Set<object>();
  constructor(target: IrqLine) {
    this.#target = target;
  }
  readonly #own = {};
  /** A rising edge, whatever devices drive. The wire stays asserted until one of them drives it anew. */
  strobe(): void {
    this.#target.set(false);
    this.#asserting.add(this.#own);
    this.#target.set(true);
  }
  /** One device's end of it. */
  source(): IrqLine {
    const source = {
      set: (asserted: boolean) => {
        this.#asserting.delete(this.#own);
        if (asserted) this.#asserting.add(source);
        else this.#asserting.delete(source);
        this.#target.set(this.#asserting.size > 0);
      },
    };
    return source;
  }
}

/** Which of the TLB's address spaces a VPID with an EPT pointer has (SDM vol. 3C, 28.4): the processor has fewer than there are pairs. */

/** 0 is the host's. */
const LAST_SPACE = 255;

export class AddressSpaces {
  readonly #spaces = new Map<string, number>();
  readonly #flush: () => void;

  /** @param flush drops all translations: numbers are given out anew */
  constructor(flush: () => void) {
    this.#flush = flush;
  }

  /** @param vpid 0: there are none, and no translation of an earlier entry counts */
  of(vpid: number, eptp: bigint | undefined): number {
    const key = `${vpid} ${eptp ?? 'none'}`;
    const known = this.#spaces.get(key);
    if (known !== undefined) {
      if (vpid === 0) this.#flush();
      return known;
    }
    if (this.#spaces.size === LAST_SPACE) {
      this.#spaces.clear();
      this.#flush();
    }
    const space = this.#spaces.size + 1;
    this.#spaces.set(key, space);
    return space;
  }
}

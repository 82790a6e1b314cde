/** 256 vectors, one bit each: IRR, ISR and TMR. Finding the highest takes two steps, however many are set. */
export class VectorSet {
  readonly #words = new Int32Array(8);
  /** Bit n: word n is not 0. */
  #used = 0;

  has(vector: number): boolean {
    return (this.#words[vector >> 5] & (1 << (vector & 31))) !== 0;
  }
  add(vector: number): void {
    this.#words[vector >> 5] |= 1 << (vector & 31);
    this.#used |= 1 << (vector >> 5);
  }
  remove(vector: number): void {
    const index = vector >> 5;
    this.#words[index] &= ~(1 << (vector & 31));
    if (this.#words[index] === 0) this.#used &= ~(1 << index);
  }
  /** -1 if there is none. */
  highest(): number {
    if (this.#used === 0) return -1;
    const index = 31 - Math.clz32(this.#used);
    return index * 32 + 31 - Math.clz32(this.#words[index]);
  }
  /** Bits 32·index to 32·index + 31, unsigned. */
  word(index: number): number {
    return this.#words[index] >>> 0;
  }
  clear(): void {
    this.load(new Array(8).fill(0));
  }
  save(): number[] {
    return Array.from(this.#words, (word) => word >>> 0);
  }
  load(words: readonly number[]): void {
    this.#words.set(words);
    this.#used = this.#words.reduce((used, word, index) => used | (word === 0 ? 0 : 1 << index), 0);
  }
}

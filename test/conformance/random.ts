/**
 * The generator's and the case files' source of numbers: a 32-bit xorshift (shifts 13, 17, 5) whose
 * state is multiplied on the way out. Case files depend on it: a change makes them unreadable.
 */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ (seed >>> 13)) >>> 0 || 1;
    this.next();
    this.next();
  }
  /** Unsigned 32 bits. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    const mixed = Math.imul(x, 0x9e3779b1);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }
  below(limit: number): number {
    return this.next() % limit;
  }
  next64(): bigint {
    return (BigInt(this.next()) << 32n) | BigInt(this.next());
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }
  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }
}

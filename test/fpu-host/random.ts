/** Seeded inputs for the comparison with the host: edge values of every format, and ordinary numbers between them. */
export class Inputs {
  #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
  }
  /** 32 random bits, unsigned (the mixing steps of MurmurHash3's finalizer over a Weyl sequence). */
  u32(): number {
    this.#seed = (this.#seed + 0x9e3779b9) | 0;
    let x = this.#seed;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return (x ^ (x >>> 16)) >>> 0;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  below(limit: number): number {
    return this.u32() % limit;
  }
  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }

  /** Sixteen bytes of float lanes of either width, or of anything. */
  vector(view: DataView, at: number): void {
    const kind = this.below(4);
    for (let i = 0; i < 4; i++) view.setUint32(at + i * 4, kind === 0 ? this.u32() : this.pick(EDGES_32), true);
    if (kind > 1) for (let i = 0; i < 2; i++) view.setFloat64(at + i * 8, this.#ordinary(), true);
    if (kind === 3) view.setBigUint64(at + 8 * this.below(2), this.pick(EDGES_64), true);
  }
  /** Integers, halves and arbitrary numbers of moderate size. */
  #ordinary(): number {
    const integer = this.below(2000) - 1000;
    return this.pick([integer, integer / 8, this.u32(), (this.u32() - 2 ** 31) * 2 ** (this.below(80) - 60)]);
  }
  /** Significand, and sign with exponent, of an x87 register. */
  extended(): [bigint, number] {
    const sign = this.below(2) << 15;
    switch (this.below(4)) {
      case 0:
        return this.pick(EDGES_80);
      case 1:
        return [(1n << 63n) | (this.u64() & ~((1n << BigInt(this.below(63))) - 1n)), sign | (0x3fff + this.below(20))];
      case 2:
        return [(1n << 63n) | this.u64(), sign | (0x3fd7 + this.below(80))];
      default:
        return [(1n << 63n) | this.u64(), sign | this.below(0x7fff)];
    }
  }
}

const EDGES_32 = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00001, 0xffc00000, 0x7fa00123, 0xff800001, 1,
  0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000, 0x3fc00000, 0x00800001,
  0x7f000000, 0x01000000,
];
export const EDGES_64 = [
  0n,
  1n << 63n,
  0x3ff0000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000001n,
  0xfff8000000000000n,
  0x7ff4000000000123n,
  0xfff0000000000001n,
  1n,
  0x800fffffffffffffn,
  0x0010000000000000n,
  0x7fefffffffffffffn,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0xc1e0000000200000n,
  0x43e0000000000000n,
  0xc3e0000000000000n,
  0x41dfffffffc00000n,
  0x3fe0000000000000n,
  0x36a0000000000000n,
  0x47efffffe0000000n,
  0x47effffff0000000n,
  0x3810000000000000n,
  0x380fffffffffffffn,
];
const J = 1n << 63n;
const EDGES_80: readonly [bigint, number][] = [
  [0n, 0],
  [0n, 0x8000],
  [J, 0x3fff],
  [J, 0xbfff],
  [J, 0x7fff],
  [J, 0xffff],
  [J | (J >> 1n), 0x7fff],
  [J | (J >> 1n) | 5n, 0xffff],
  [J | 5n, 0x7fff],
  [J | 99n, 0xffff],
  [1n, 0],
  [J - 1n, 0x8000],
  [J, 0],
  [J, 1],
  [(1n << 64n) - 1n, 0x7ffe],
  [5n, 0x7fff],
  [J >> 1n, 0x4000],
  [J | 1n, 0x403e],
  [J, 0x3ffe],
  [J, 0x400e],
  [J, 0x401e],
  [J, 0xc03e],
  [J, 0x3f81],
  [J, 0x3c01],
  [J | J, 0x43ff],
];

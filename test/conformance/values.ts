import type { Random } from './random.ts';

const bits64 = (value: bigint) => BigInt.asUintN(64, value);

const INTEGER_EDGES = [
  0n,
  1n,
  2n,
  -1n,
  -2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0x5555555555555555n,
  -0x5555555555555556n,
  0x100n,
  0x10000n,
  0x100000000n,
  -0x80n,
  -0x81n,
  -0x8000n,
  -0x8001n,
  -0x80000000n,
  -0x80000001n,
].map(bits64);

/** An integer register's or memory word's value: an edge, a neighbour of one, small, or random. */
export function integerValue(random: Random): bigint {
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return random.pick(INTEGER_EDGES);
    case 4:
      return bits64(random.pick(INTEGER_EDGES) + BigInt(random.below(5)) - 2n);
    case 5:
      return BigInt(random.below(66));
    case 6:
      return BigInt(random.next());
    default:
      return random.next64();
  }
}

/** Zeros, ones, subnormals, limits, halves (rounding), limits of the integer conversions, infinities, quiet and signalling NaNs. */
const F32_EDGES = [
  0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0xff7fffff,
  0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0xffbfffff, 0x3f000000, 0x3fc00000, 0x40200000,
  0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0xdf000000, 0x34000000, 0x40400000, 0x3eaaaaab, 0x4b000001,
  0x7fdead01,
];
export function f32Value(random: Random): number {
  switch (random.below(4)) {
    case 0:
    case 1:
      return random.pick(F32_EDGES);
    case 2:
      return ((random.next() & 0x807fffff) | ((127 - 24 + random.below(48)) << 23)) >>> 0;
    default:
      return random.next();
  }
}

const F64_EDGES = [
  0x0000000000000000n,
  0x8000000000000000n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x0000000000000001n,
  0x800fffffffffffffn,
  0x0010000000000000n,
  0x7fefffffffffffffn,
  0xffefffffffffffffn,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0xfff8000000000001n,
  0x7ff0000000000001n,
  0xfff7ffffffffffffn,
  0x3fe0000000000000n,
  0x3ff8000000000000n,
  0x4004000000000000n,
  0x41dfffffffc00000n,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0xc1e0000000200000n,
  0x43e0000000000000n,
  0xc3e0000000000000n,
  0x3cb0000000000000n,
  0x4008000000000000n,
  0x3fd5555555555555n,
  0x4330000000000001n,
  0x47efffffe0000000n,
  0x36a0000000000000n,
  0x3690000000000001n,
];
export function f64Value(random: Random): bigint {
  switch (random.below(4)) {
    case 0:
    case 1:
      return random.pick(F64_EDGES);
    case 2:
      return (random.next64() & 0x800fffffffffffffn) | (BigInt(1023 - 54 + random.below(108)) << 52n);
    default:
      return random.next64();
  }
}

/** Sign and exponent, significand. The last six are pseudo-denormal and unsupported encodings. */
const F80_EDGES: readonly (readonly [number, bigint])[] = [
  [0x0000, 0n],
  [0x8000, 0n],
  [0x3fff, 1n << 63n],
  [0xbfff, 1n << 63n],
  [0x0000, 1n],
  [0x8000, (1n << 63n) - 1n],
  [0x0001, 1n << 63n],
  [0x7ffe, (1n << 64n) - 1n],
  [0xfffe, (1n << 64n) - 1n],
  [0x7fff, 1n << 63n],
  [0xffff, 1n << 63n],
  [0x7fff, 3n << 62n],
  [0xffff, (3n << 62n) + 1n],
  [0x7fff, (1n << 63n) + 1n],
  [0x3ffe, 1n << 63n],
  [0x3fff, 3n << 62n],
  [0x4000, 5n << 61n],
  [0x401d, ((1n << 31n) - 1n) << 33n],
  [0x401e, 1n << 63n],
  [0xc01e, 1n << 63n],
  [0x403e, 1n << 63n],
  [0xc03e, 1n << 63n],
  [0x4000, 0xc90fdaa22168c235n],
  [0x3c00, 1n << 63n],
  [0x3f80, 0xffffff8000000000n],
  [0x43fe, 0xfffffffffffffc00n],
  [0x407e, 0xffffffffffffffffn],
  [0x3ffd, 0xaaaaaaaaaaaaaaabn],
  [0x4038, 0xde0b6b3a76400000n],
  [0x0000, 1n << 63n],
  [0x7fff, 0n],
  [0x3fff, 1n],
  [0x4005, 0n],
  [0xffff, 1n << 62n],
  [0x7fff, 1n],
];
export function f80Value(random: Random): { exponent: number; significand: bigint } {
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2: {
      const [exponent, significand] = random.pick(F80_EDGES);
      return { exponent, significand };
    }
    case 3:
      return { exponent: random.below(0x10000), significand: random.next64() | (1n << 63n) };
    case 4: {
      const magnitude = BigInt(random.next() >>> random.below(32)) || 1n;
      const shift = BigInt(64 - magnitude.toString(2).length);
      return { exponent: (random.below(2) << 15) | (0x3fff + 63 - Number(shift)), significand: magnitude << shift };
    }
    default:
      return {
        exponent: (random.below(2) << 15) | (0x3fff - 66 + random.below(133)),
        significand: random.next64() | (1n << 63n),
      };
  }
}

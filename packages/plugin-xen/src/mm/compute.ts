import type { ArithmeticName } from './decode.ts';

/** Arithmetic flags of RFLAGS (SDM vol. 1, 3.4.3.1). */
const CF = 1n << 0n;
const PF = 1n << 2n;
const AF = 1n << 4n;
const ZF = 1n << 6n;
const SF = 1n << 7n;
const OF = 1n << 11n;
const ARITHMETIC_FLAGS = CF | PF | AF | ZF | SF | OF;

export interface Computed {
  readonly value: bigint;
  readonly flags: bigint;
}

function resultFlags(value: bigint, bits: bigint): bigint {
  let ones = 0;
  for (let low = Number(value & 0xffn); low !== 0; low >>= 1) ones += low & 1;
  return (value === 0n ? ZF : 0n) | (((value >> (bits - 1n)) & 1n) !== 0n ? SF : 0n) | (ones % 2 === 0 ? PF : 0n);
}

/** `a op b` on `bits`-wide operands, and RFLAGS after it (SDM vol. 1, 7.3). */
export function compute(name: ArithmeticName, a: bigint, b: bigint, bits: bigint, flags: bigint): Computed {
  const mask = (1n << bits) - 1n;
  const kept = flags & ~ARITHMETIC_FLAGS;
  if (name === 'and' || name === 'or' || name === 'xor') {
    const value = (name === 'and' ? a & b : name === 'or' ? a | b : a ^ b) & mask;
    return { value, flags: kept | resultFlags(value, bits) };
  }
  const carryIn = name === 'adc' || name === 'sbb' ? flags & CF : 0n;
  const isAdd = name === 'add' || name === 'adc';
  const wide = isAdd ? a + b + carryIn : a - b - carryIn;
  const value = wide & mask;
  const carry = wide < 0n || wide > mask ? CF : 0n;
  const half = ((a ^ b ^ value) & 0x10n) !== 0n ? AF : 0n;
  const overflowBits = isAdd ? (a ^ value) & (b ^ value) : (a ^ b) & (a ^ value);
  const overflow = ((overflowBits >> (bits - 1n)) & 1n) !== 0n ? OF : 0n;
  return { value, flags: kept | resultFlags(value, bits) | carry | half | overflow };
}

/** INC and DEC leave CF alone. */
export function step(name: 'inc' | 'dec', a: bigint, bits: bigint, flags: bigint): Computed {
  const result = compute(name === 'inc' ? 'add' : 'sub', a, 1n, bits, flags);
  return { value: result.value, flags: (result.flags & ~CF) | (flags & CF) };
}

export function withCarry(flags: bigint, on: boolean): bigint {
  return on ? flags | CF : flags & ~CF;
}

export function setZero(flags: bigint, on: boolean): bigint {
  return on ? flags | ZF : flags & ~ZF;
}

export function withZero(flags: bigint): boolean {
  return (flags & ZF) !== 0n;
}

/** DAA, DAS, AAA, AAS, AAM, AAD: outside 64-bit mode only (SDM vol. 2A). Undefined flags: OF 0, others by AL. */
import { FC, GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { getAF, getCF, setResultFlags } from '../flags.ts';
import type { Semantics } from '../types.ts';

const AL = GPR[0].offset;
const DIVIDE_ERROR = 0;

/** SF, ZF, PF by AL; CF and AF as given; OF 0. */
function setDecimalFlags(b: Builder, al: Value, carry: Value, auxiliary: Value): void {
  b.set(FC, b.or(b.mul(carry, b.i32(0xc0000000 | 0)), b.shl(auxiliary, b.i32(3))));
  setResultFlags(b, 8, al);
}

/** The low digit needs adjusting. */
const lowDigitOff = (b: Builder, al: Value) => b.or(b.gtU(b.and(al, b.i32(15)), b.i32(9)), getAF(b));

/** DAA and DAS. */
export function decimalAdjust(operation: 'add' | 'subtract'): Semantics {
  return (b) => {
    const al = b.getFixed(AL, 1);
    const carry = getCF(b);
    const low = lowDigitOff(b, al);
    const high = b.or(b.gtU(al, b.i32(0x99)), carry);
    const amount = b.add(b.mul(low, b.i32(6)), b.mul(high, b.i32(0x60)));
    const result = b.and(operation === 'add' ? b.add(al, amount) : b.sub(al, amount), b.i32(0xff));
    // DAS also carries when taking off 6 borrows.
    const out = operation === 'add' ? high : b.or(high, b.and(low, b.ltU(al, b.i32(6))));
    setDecimalFlags(b, result, out, low);
    b.setFixed(AL, 1, result);
  };
}

/** AAA and AAS. */
export function asciiAdjust(operation: 'add' | 'subtract'): Semantics {
  return (b) => {
    const ax = b.getFixed(AL, 2);
    const off = lowDigitOff(b, b.and(ax, b.i32(0xff)));
    const amount = b.mul(off, b.i32(0x106));
    const changed = operation === 'add' ? b.add(ax, amount) : b.sub(ax, amount);
    const result = b.and(changed, b.i32(0xff0f));
    setDecimalFlags(b, result, off, off);
    b.setFixed(AL, 2, result);
  };
}

/** AAM: a base of 0 raises #DE. */
export const asciiAdjustAfterMultiply: Semantics = (b) => {
  const base = b.and(b.wrap(b.immediate()), b.i32(0xff));
  b.raiseIf(b.eqz(base), DIVIDE_ERROR);
  const al = b.getFixed(AL, 1);
  const digit = b.remU(al, base);
  setDecimalFlags(b, digit, b.i32(0), b.i32(0));
  b.setFixed(AL, 2, b.or(digit, b.shl(b.divU(al, base), b.i32(8))));
};

export const asciiAdjustBeforeDivide: Semantics = (b) => {
  const base = b.and(b.wrap(b.immediate()), b.i32(0xff));
  const sum = b.add(b.getFixed(AL, 1), b.mul(b.getFixed(AL + 1, 1), base));
  const result = b.and(sum, b.i32(0xff));
  setDecimalFlags(b, result, b.i32(0), b.i32(0));
  b.setFixed(AL, 2, result);
};

import { ARG, RESULT } from '../../cpu/state.ts';
import { DONE, type Helper } from './types.ts';

const DIVIDE_ERROR = 0;
const MASK64 = (1n << 64n) - 1n;

const argument = (state: DataView, base: number, index: number) => state.getBigUint64(base + ARG[index].offset, true);

function answer(state: DataView, base: number, quotient: bigint, remainder: bigint): number {
  state.setBigUint64(base + RESULT[0].offset, quotient & MASK64, true);
  state.setBigUint64(base + RESULT[1].offset, remainder & MASK64, true);
  return DONE;
}

/** ARG: low half, high half, divisor. RESULT: quotient, remainder. #DE if the quotient needs more than 64 bits. */
const div128u: Helper = (state, base) => {
  const divisor = argument(state, base, 2);
  if (divisor === 0n) return DIVIDE_ERROR;
  const dividend = (argument(state, base, 1) << 64n) | argument(state, base, 0);
  const quotient = dividend / divisor;
  return quotient > MASK64 ? DIVIDE_ERROR : answer(state, base, quotient, dividend % divisor);
};

/** As {@link div128u}, signed, truncating towards 0. */
const div128s: Helper = (state, base) => {
  const divisor = BigInt.asIntN(64, argument(state, base, 2));
  if (divisor === 0n) return DIVIDE_ERROR;
  const dividend = BigInt.asIntN(128, (argument(state, base, 1) << 64n) | argument(state, base, 0));
  const quotient = dividend / divisor;
  if (BigInt.asIntN(64, quotient) !== quotient) return DIVIDE_ERROR;
  return answer(state, base, quotient, dividend % divisor);
};

export const helpers: Record<string, Helper> = { div128u, div128s };

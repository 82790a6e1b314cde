/** Between physical x87 registers and the order of FXSAVE's image, where ST0 comes first. */
import { VECTOR_SCRATCH, X87 } from '../../cpu/state.ts';
import { DONE, type Helper } from './types.ts';
import { X87State } from './x87-state.ts';

function copyRegister(state: DataView, from: number, to: number): void {
  state.setBigUint64(to, state.getBigUint64(from, true), true);
  state.setBigUint64(to + 8, state.getBigUint64(from + 8, true), true);
}

/** VECTOR_SCRATCH[0…3] = ST(first)…ST(first + 3). Argument: first. */
const x87ToStackOrder: Helper = (state, base) => {
  const unit = new X87State(state, base);
  const first = unit.integerArgument(0);
  VECTOR_SCRATCH.forEach((slot, i) =>
    copyRegister(state, base + X87[unit.physical(first + i)].offset, base + slot.offset),
  );
  return DONE;
};

/** ST(first)…ST(first + 3) = VECTOR_SCRATCH[0…3]; TOP is set already. Argument: first. */
const x87FromStackOrder: Helper = (state, base) => {
  const unit = new X87State(state, base);
  const first = unit.integerArgument(0);
  VECTOR_SCRATCH.forEach((slot, i) =>
    copyRegister(state, base + slot.offset, base + X87[unit.physical(first + i)].offset),
  );
  return DONE;
};

/** After control and status words were written raw: reserved bits and the error summary. */
const x87Normalize: Helper = (state, base) => {
  new X87State(state, base).normalize();
  return DONE;
};

export const fxsaveHelpers: Record<string, Helper> = { x87ToStackOrder, x87FromStackOrder, x87Normalize };

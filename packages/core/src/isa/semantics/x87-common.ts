/** What x87 semantics share: the availability check and pending exceptions. */
import { FpuTrap } from '../../cpu/fpu-trap.ts';
import { FPU_TRAP, X87_STATUS } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Semantics } from '../types.ts';

export const STATUS_ERROR_SUMMARY = 1 << 7;
const NM = 7;
const MF = 16;

/** #NM by CR0.EM and CR0.TS (SDM vol. 3A, table 14-1 … 2.5). */
export function checkX87Available(b: Builder): void {
  const trap = b.get(FPU_TRAP);
  b.when(trap, () => b.raiseIf(b.and(trap, b.i32(FpuTrap.emulation | FpuTrap.taskSwitched)), NM));
}

/**
 * #MF if an unmasked exception is pending (SDM vol. 1, 8.7.1). CR0.NE is taken to be 1: the MS-DOS
 * compatible reporting through FERR# is NOT IMPLEMENTED.
 */
export function checkPending(b: Builder): void {
  b.raiseIf(b.and(b.get(X87_STATUS), b.i32(STATUS_ERROR_SUMMARY)), MF);
}

/** A waiting x87 instruction: all but the FN… control instructions. */
export function x87(body: Semantics): Semantics {
  return (b, shape) => {
    checkX87Available(b);
    checkPending(b);
    body(b, shape);
  };
}

/** FNINIT, FNCLEX, FNSTCW, FNSTSW, FNSTENV, FNSAVE: they do not wait for pending exceptions. */
export function x87NoWait(body: Semantics): Semantics {
  return (b, shape) => {
    checkX87Available(b);
    body(b, shape);
  };
}

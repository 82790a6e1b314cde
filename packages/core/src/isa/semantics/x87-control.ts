/** x87 control instructions that need no arithmetic (SDM vol. 1, 8.3.11 and 8.7). */
import { FpuTrap } from '../../cpu/fpu-trap.ts';
import { FPU_TRAP, GPR, X87_CONTROL, X87_DP, X87_IP, X87_OPCODE, X87_STATUS, X87_TAG } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import { INITIAL_CONTROL } from '../helpers/x87-state.ts';
import { read, write } from '../operands.ts';
import type { Semantics } from '../types.ts';
import { checkPending, x87, x87NoWait } from './x87-common.ts';

const NM = 7;

/** The state after FNINIT; the registers' contents stay. */
export function initialize(b: Builder): void {
  b.set(X87_CONTROL, b.i32(INITIAL_CONTROL));
  b.set(X87_STATUS, b.i32(0));
  b.set(X87_TAG, b.i32(0));
  b.set(X87_OPCODE, b.i32(0));
  b.set(X87_IP, b.i64(0));
  b.set(X87_DP, b.i64(0));
}
export const fninit: Semantics = x87NoWait(initialize);

/** FNCLEX: exception flags, stack fault, error summary and busy go; condition codes and TOP stay. */
export const fnclex: Semantics = x87NoWait((b) => b.set(X87_STATUS, b.and(b.get(X87_STATUS), b.i32(0x7f00))));

export const fnstcw: Semantics = x87NoWait((b, shape) => write(b, shape, shape.operands[0], b.get(X87_CONTROL)));
/** FNSTSW m16. */
export const fnstsw: Semantics = x87NoWait((b, shape) => write(b, shape, shape.operands[0], b.get(X87_STATUS)));
export const fnstswAx: Semantics = x87NoWait((b) => b.setFixed(GPR[0].offset, 2, b.get(X87_STATUS)));

/** FLDCW: unmasking an exception whose flag is set makes it pending. */
export const fldcw: Semantics = x87((b, shape) => {
  b.set(X87_CONTROL, read(b, shape, shape.operands[0]));
  b.helper('x87Normalize', []);
});

/** WAIT: #NM by CR0.MP and CR0.TS, and pending exceptions. */
export const fwait: Semantics = (b) => {
  b.raiseIf(b.and(b.get(FPU_TRAP), b.i32(FpuTrap.wait)), NM);
  checkPending(b);
};

/** FNOP and the 8087 and 80287 control instructions that do nothing since. */
export const fnop: Semantics = x87(() => {});
export const fnopNoWait: Semantics = x87NoWait(() => {});

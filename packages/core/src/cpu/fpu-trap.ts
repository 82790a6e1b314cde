/** Bits of the FPU_TRAP slot: what floating-point and SSE instructions raise before they do anything else. */
export const FpuTrap = {
  /** x87, FXSAVE and SSE instructions raise #NM: CR0.TS. */
  taskSwitched: 1 << 0,
  /** x87 instructions, FXSAVE and FXRSTOR raise #NM: CR0.EM. */
  emulation: 1 << 1,
  /** SSE instructions raise #UD: CR0.EM, or CR4.OSFXSR clear. */
  sseDisabled: 1 << 2,
  /** WAIT raises #NM: CR0.MP and CR0.TS. */
  wait: 1 << 3,
} as const;

const CR0_MP = 1n << 1n;
const CR0_EM = 1n << 2n;
const CR0_TS = 1n << 3n;
const CR4_OSFXSR = 1n << 9n;

/**
 * The FPU_TRAP slot that belongs to these control registers (SDM vol. 3A, 2.5 and table 14-1).
 * Whoever changes CR0 (CLTS included) or CR4 writes it.
 */
export function fpuTrapFor(cr0: bigint, cr4: bigint): number {
  let trap = 0;
  if (cr0 & CR0_TS) trap |= FpuTrap.taskSwitched | (cr0 & CR0_MP ? FpuTrap.wait : 0);
  if (cr0 & CR0_EM) trap |= FpuTrap.emulation | FpuTrap.sseDisabled;
  if (!(cr4 & CR4_OSFXSR)) trap |= FpuTrap.sseDisabled;
  return trap;
}

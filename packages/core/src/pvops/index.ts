export { findKernelOps, type Implementation, type KernelOps, type KernelSlot } from './kernel-ops.ts';
export type { InstallMode, OpChoice, OpState, OpsGroup, OpsSlot, OpsTable } from './model.ts';
export type { GuestCodeOps, GuestKernel, LoadedOps, TextPlace } from './module.ts';
export { type InstallPlan, type PlannedOp, planInstall } from './plan.ts';
export type { Alternative, PatchSite } from './sites.ts';

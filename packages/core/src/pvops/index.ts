export { GuestRegistrations } from './guest-calls.ts';
export { type HandedOver, refusedHandOver } from './hand-overs.ts';
export { findKernelOps, type Implementation, type KernelOps, type KernelSlot } from './kernel-ops.ts';
export { LiveOps, type MomentSteps } from './live-ops.ts';
export type { SlotReport } from './live-slot.ts';
export { checkModule, type ModuleSurroundings, readTypescriptOps } from './manifest.ts';
export type { InstallMode, OpChoice, OpState, OpsGroup, OpsSlot, OpsTable } from './model.ts';
export type { LoadOptions, OpsChange } from './module.ts';
export {
  checkOpsObject,
  isOpsObject,
  type LinkGuest,
  linkOpsObject,
  type OpsObject,
  objectFor,
  readOpsObject,
} from './object-module.ts';
export { OpsAtBoot } from './ops-at-boot.ts';
export { PlacedSymbols } from './placed-symbols.ts';
export { type InstallPlan, opsFor, type PlannedOp, planInstall } from './plan.ts';
export type { Alternative, PatchSite } from './sites.ts';

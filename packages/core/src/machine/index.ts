export type { CodeKeeper } from '../engine/code-keeper.ts';
export type { RegionPolicy } from '../engine/engine.ts';
export { type KeptModule, KeptRegions } from '../engine/region/kept-regions.ts';
export { type KeptRegion, PackedRegions } from '../engine/region/packed-regions.ts';
export { RegionThreadServer } from '../engine/region/thread.ts';
export type { FromThread, RegionThread, ToThread } from '../engine/region/thread-messages.ts';
export { findDoors } from './entries.ts';
export { Machine } from './machine.ts';
export type { MachineOptions, RunEnd } from './options.ts';

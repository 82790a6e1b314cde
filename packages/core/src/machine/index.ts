export type { RegionPolicy } from '../engine/engine.ts';
export { findDoors } from './entries.ts';
export { Machine } from './machine.ts';
export type { MachineOptions, RunEnd } from './options.ts';

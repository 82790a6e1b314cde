export type { RegionPolicy } from '../engine/engine.ts';
export { findDoors } from './entries.ts';
export { Machine, type MachineOptions, type RunEnd } from './machine.ts';

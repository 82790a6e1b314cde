export type { RegionPolicy } from '../engine/engine.ts';
export { Machine, type MachineOptions, type RunEnd } from './machine.ts';

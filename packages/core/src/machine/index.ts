export { Machine, type MachineOptions, type RunEnd } from './machine.ts';

export * from './devices.ts';
export * from './direct.ts';
export * from './errors.ts';
export * from './exit.ts';
export * from './hardware.ts';
export * from './ops.ts';
export * from './plugin.ts';
export * from './vcpu.ts';

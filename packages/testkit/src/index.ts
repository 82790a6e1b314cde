export * from './clock.ts';
export * from './console.ts';
export * from './host.ts';
export * from './machine.ts';
export * from './memory.ts';
export * from './vcpu.ts';

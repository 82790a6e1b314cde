export { vmiPlugin as default, vmiPlugin } from './plugin.ts';

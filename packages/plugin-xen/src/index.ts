export { ops } from './ops/index.ts';
export { xenPlugin as default, xenPlugin } from './plugin.ts';

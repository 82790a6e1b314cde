export { xenPlugin as default, xenPlugin } from './plugin.ts';

export { hwassistPlugin as default } from './plugin.ts';

export { lguestPlugin as default } from './plugin.ts';

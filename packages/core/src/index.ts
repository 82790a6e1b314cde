export * from './loader/image/index.ts';
export * from './plugin/index.ts';
export type { CompressionKind, Decompressor, DecompressOptions } from './ports/decompressor.ts';
export type { ModuleImporter } from './ports/module-importer.ts';
export type { PluginCalls } from './ports/plugin-calls.ts';
export { Machine, type MachineOptions, type RunEnd } from './machine/index.ts';

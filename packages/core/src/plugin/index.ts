export { isCoded, PluginFailure, pluginCodes } from './codes.ts';
export { hookTable } from './hook-table.ts';
export { findPlugin, loadPlugins } from './load.ts';
export { candidatesOf, parsePluginReference } from './reference.ts';
export {
  type LoadedPlugin,
  type LogLevel,
  type LogListener,
  PluginRegistry,
  type TraceChannel,
  type TraceEvent,
  type TraceListener,
} from './registry.ts';

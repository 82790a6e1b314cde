import type { VmPlugins } from '../plugins/vm-plugins.ts';
import { pluginLoadParams, pluginUnloadParams } from '../plugins/vm-plugins-schema.ts';
import { noParams } from './protocol.ts';
import { type Method, method } from './server.ts';

/** The methods about a VM's plug-ins. */
export function pluginMethods(plugins: VmPlugins): readonly (readonly [string, Method])[] {
  return [
    ['plugin.list', method(noParams, () => plugins.list())],
    ['plugin.load', method(pluginLoadParams, ({ plugin }) => plugins.load(plugin))],
    ['plugin.unload', method(pluginUnloadParams, ({ name }) => plugins.unload(name))],
  ];
}

import * as v from 'valibot';

/** What a VM answers about its plug-ins. */
export const pluginSchema = v.object({
  name: v.string(),
  version: v.string(),
  /** The package or file that it came from. */
  where: v.string(),
  /** In words: `msr 0x40000000`. */
  claims: v.array(v.string()),
  /** In words, what of it is in use, which keeps it from being unloaded. */
  inUse: v.array(v.string()),
});
export type PluginReport = v.InferOutput<typeof pluginSchema>;
export const pluginsSchema = v.array(pluginSchema);

export const pluginLoadParams = v.strictObject({
  /** As `--plugin` takes it; a path is absolute, or relative to the VM's working folder. */
  plugin: v.pipe(v.string(), v.minLength(1), v.maxLength(4096)),
});
export const pluginUnloadParams = v.strictObject({ name: v.pipe(v.string(), v.minLength(1), v.maxLength(64)) });

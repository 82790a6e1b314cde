import type { ModuleImporter } from '../ports/module-importer.ts';
import { isCoded, messageOf, refusal } from './codes.ts';
import { candidatesOf, parsePluginReference } from './reference.ts';
import type { LoadedPlugin, LoadRequest, PluginRegistry } from './registry.ts';

/** A plug-in that has been found, and not looked at. */
export interface FoundPlugin {
  readonly raw: unknown;
  readonly request: LoadRequest;
}

/**
 * Finds and loads plug-ins in the order given.
 * @param references as on the command line: `xen`, `./mine.ts=key:value`, `@scope/package`
 * @throws PolyvisorError PV1001–PV1017; what was loaded before stays loaded
 */
export async function loadPlugins(
  registry: PluginRegistry,
  references: readonly string[],
  importer: ModuleImporter,
): Promise<LoadedPlugin[]> {
  const loaded: LoadedPlugin[] = [];
  for (const text of references) {
    const { raw, request } = await findPlugin(text, importer);
    loaded.push(registry.load(raw, request));
  }
  return loaded;
}

/** @throws PolyvisorError PV1001–PV1003, PV1016 */
export async function findPlugin(text: string, importer: ModuleImporter): Promise<FoundPlugin> {
  const { reference, options } = parsePluginReference(text);
  const { module, where } = await findModule(reference, importer);
  return { raw: defaultExport(module, where), request: { where, options } };
}

async function findModule(reference: string, importer: ModuleImporter): Promise<{ module: unknown; where: string }> {
  const candidates = candidatesOf(reference);
  for (const { specifier, kind } of candidates) {
    const module = await importOne(specifier, kind, importer);
    if (module !== undefined) return { module, where: specifier };
  }
  const looked = candidates.map(({ specifier }) => specifier).join(', ') || 'nothing: this is no name, package or path';
  throw refusal('PV1001', `no plug-in ${JSON.stringify(reference.slice(0, 200))} (looked for ${looked})`);
}

async function importOne(where: string, kind: 'path' | 'package', importer: ModuleImporter): Promise<unknown> {
  try {
    return await importer.importModule(where, kind);
  } catch (error) {
    if (isCoded(error)) throw error;
    const wrapped = refusal('PV1002', `${where} failed while it was loaded: ${messageOf(error)}`, { where });
    wrapped.cause = error;
    throw wrapped;
  }
}

/** Modules are hostile too: their namespace may have a getter that throws. */
function defaultExport(module: unknown, where: string): unknown {
  try {
    return (module as { default?: unknown } | null)?.default;
  } catch (error) {
    throw refusal('PV1003', `${where} is not a plug-in: ${messageOf(error)}`, { where });
  }
}

import { type ModuleImporter, readTypescriptOps } from '@polyvisor/core';
import { PolyvisorError, type TypescriptOps } from '@polyvisor/plugin-api';
import { firstLine } from '../cli-error.ts';

/** `xen-ops` is the export `ops` of plug-in `xen`. */
const PLUGIN_OPS = /^([a-z][a-z0-9-]*)-ops$/;

/** The ops module that a reference names: `NAME-ops` of a plug-in, or a path. Throws PV5020. */
export async function importOps(reference: string, importer: ModuleImporter): Promise<TypescriptOps> {
  const plugin = PLUGIN_OPS.exec(reference)?.[1];
  const [specifier, kind] = plugin
    ? ([`@polyvisor/plugin-${plugin}`, 'package'] as const)
    : ([reference, 'path'] as const);
  const refuse = (why: string) =>
    new PolyvisorError('PV5020', `${reference} is no ops module: ${why}`, 'give NAME-ops of a plug-in, or a file');
  let module: unknown;
  try {
    module = await importer.importModule(specifier, kind);
  } catch (error) {
    throw refuse(firstLine(error));
  }
  if (module === undefined) throw refuse(`there is no ${specifier}`);
  const { ops, default: main } = module as { ops?: unknown; default?: unknown };
  const found = plugin ? ops : main;
  return readTypescriptOps(found, reference);
}

import { findPlugin, type ModuleImporter, type PluginRegistry } from '@polyvisor/core';
import { controlError, firstLine } from '../cli-error.ts';
import { nodeModuleImporter } from '../node/plugin-import.ts';
import type { PluginReport } from './vm-plugins-schema.ts';

/** Names of the ops modules in the guest's kernel. */
type LoadedOps = () => Promise<readonly { readonly name: string }[]>;

/**
 * The plug-ins of a running VM, for its control socket. Its requests are taken between two stays in guest code, so that the
 * guest is between two instructions and none of its hooks is being called.
 */
export class VmPlugins {
  readonly #loadedOps: LoadedOps;
  readonly #importer: ModuleImporter;
  #registry: PluginRegistry | undefined;

  constructor(loadedOps: LoadedOps, importer = nodeModuleImporter()) {
    this.#loadedOps = loadedOps;
    this.#importer = importer;
  }

  /** Another machine: it has the plug-ins of the command line. */
  started(registry: PluginRegistry): void {
    this.#registry = registry;
  }

  get names(): string[] {
    return this.#registry?.plugins.map(({ name }) => name) ?? [];
  }

  async list(): Promise<PluginReport[]> {
    const ops = await this.#loadedOps();
    const registry = this.#current;
    return registry.plugins.map(({ name }) => report(registry, name, opsOf(name, ops)));
  }

  /** @param text as `--plugin` takes it. @throws PolyvisorError PV1001–PV1018 */
  async load(text: string): Promise<PluginReport> {
    const { raw, request } = await findPlugin(text, this.#importer);
    // The guest may have rebooted meanwhile: another machine, another registry.
    const registry = this.#current;
    const { name } = registry.load(raw, request);
    return report(registry, name, []);
  }

  /** Answers what there was of it. @throws PolyvisorError PV1019, PV1020 */
  async unload(name: string): Promise<PluginReport> {
    const ops = opsOf(name, await this.#loadedOps());
    const registry = this.#current;
    const claims = claimsOf(registry, name);
    return { ...registry.unload(name, ops), claims, inUse: [] };
  }

  get #current(): PluginRegistry {
    const registry = this.#registry;
    if (registry && !registry.hasEnded) return registry;
    throw controlError('PV3013', `the guest has ${registry ? 'ended' : 'not been started yet'}`, 'try again');
  }
}

function report(registry: PluginRegistry, name: string, ops: readonly string[]): PluginReport {
  const { version, where } = registry.plugins.find((plugin) => plugin.name === name) ?? { version: '', where: '' };
  return { name, version, where, claims: claimsOf(registry, name), inUse: [...usesOf(registry, name), ...ops] };
}

/** One plug-in that fails to say what is in use does not keep the others from being listed. */
function usesOf(registry: PluginRegistry, name: string): readonly string[] {
  try {
    return registry.usesOf(name);
  } catch (error) {
    return [firstLine(error)];
  }
}

function claimsOf(registry: PluginRegistry, name: string): string[] {
  return registry.claims.filter(({ plugin }) => plugin === name).map(({ claim }) => claim);
}

/** `xen-ops` are operations of plug-in `xen`. */
function opsOf(plugin: string, ops: readonly { readonly name: string }[]): string[] {
  return ops.filter(({ name }) => name === `${plugin}-ops`).map(({ name }) => `ops module ${name}`);
}

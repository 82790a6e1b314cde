import type { ModuleVariable } from './link/link.ts';
import type { Loaded } from './live-slot.ts';
import type { LoadedOps } from './module.ts';
import type { RunningKernel } from './running-kernel.ts';

/** The modules that are in a running kernel, by their names. */
export class LoadedModules {
  readonly #kernel: RunningKernel;
  readonly #modules = new Map<string, Loaded>();
  /** Of modules in guest code. */
  readonly #variables = new Map<string, readonly ModuleVariable[]>();

  constructor(kernel: RunningKernel) {
    this.#kernel = kernel;
  }

  get all(): readonly Loaded[] {
    return [...this.#modules.values()];
  }
  get size(): number {
    return this.#modules.size;
  }
  get(name: string): Loaded | undefined {
    return this.#modules.get(name);
  }
  set(loaded: Loaded): void {
    this.#modules.set(loaded.manifest.name, loaded);
  }
  delete({ manifest }: Loaded): void {
    this.#modules.delete(manifest.name);
  }
  setVariables(name: string, variables: readonly ModuleVariable[]): void {
    this.#variables.set(name, variables);
  }

  /** Whether any of them looks at cells that guest and machine share. */
  get sharesState(): boolean {
    return this.all.some(({ sharesState }) => sharesState);
  }
  get hasGuestCode(): boolean {
    return this.all.some(({ kind }) => kind === 'guestCode');
  }

  report(): LoadedOps[] {
    return this.all.map(({ manifest, kind, slots, needless, failed }) => {
      const variables = kind === 'guestCode' ? this.#variablesOf(manifest.name) : {};
      return { manifest, kind, slots, needless, failed: [...failed], variables };
    });
  }
  #variablesOf(name: string): Record<string, bigint> {
    const values = (this.#variables.get(name) ?? []).flatMap(({ name: variable, gva, sizeBytes }) => {
      const bytes = this.#kernel.read(gva, sizeBytes);
      return bytes ? [[variable, bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n)] as const] : [];
    });
    return Object.fromEntries(values);
  }
}

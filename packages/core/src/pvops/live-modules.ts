import { PolyvisorError } from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';
import { type GuestModule, GuestModules } from './guest-modules.ts';
import type { LiveSite } from './live-site.ts';
import type { ModuleGuard } from './module-guard.ts';
import { ModuleSites, type SlotsByCode } from './module-sites.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { SitePatcher } from './site-patcher.ts';

/** Where the kernel takes modules in; without it there are none. */
const MODULE_START = 'do_init_module';

interface Known {
  readonly sites: readonly LiveSite[];
  /** In code that is freed once the module has been initialised. */
  readonly initSites: LiveSite[];
  readonly unknown: number;
}

/**
 * Call sites in the guest's kernel modules: of those that are there when ops come, and, by {@link ModuleGuard}, of those that
 * come meanwhile. Without the guard, or without types, modules are left alone: a module that goes and another one that comes
 * in its place would not be noticed. docs/decisions/0021-sites-in-kernel-modules.md.
 */
export class LiveModules {
  readonly #kernel: RunningKernel;
  readonly #patcher: SitePatcher;
  readonly #guard: ModuleGuard;
  readonly #modules: GuestModules | undefined;
  readonly #finder: ModuleSites;
  readonly #known = new Map<string, Known>();

  /** `targets`: where calls lead, by slot. */
  constructor(
    kernel: RunningKernel,
    patcher: SitePatcher,
    guard: ModuleGuard,
    targets: readonly (readonly [slot: number, target: bigint])[],
    slotByCode: SlotsByCode,
  ) {
    this.#kernel = kernel;
    this.#patcher = patcher;
    this.#guard = guard;
    this.#modules = GuestModules.of(kernel);
    this.#finder = new ModuleSites(kernel, slotByCode, targets);
  }

  /** Throws PV5018 where modules may have code that would go around the operations of module `name`. */
  check(name: string): void {
    if (this.#kernel.symbol(MODULE_START) === undefined) return;
    if (this.canWatch && !this.#modules?.senseless()) return;
    const why = this.canWatch ? 'not all of these can be read' : 'modules that come cannot be noticed or read';
    const what = `ops module ${name} cannot be loaded: code in kernel modules would go around it, and ${why}`;
    throw new PolyvisorError('PV5018', what, 'use a kernel with BTF and the function tracer, or leave them out', 10);
  }
  /** Whether modules can be read, and noticed when they come. */
  get canWatch(): boolean {
    return this.#modules !== undefined && this.#guard.isPossible;
  }

  /** How many sites of kernel modules are left alone, since their slots are not known. */
  get unknown(): number {
    return [...this.#known.values()].reduce((sum, { unknown }) => sum + unknown, 0);
  }

  /** Find what has come, forget what has gone. False: the list cannot be read at this moment. */
  refresh(): boolean {
    if (!this.#modules || !this.canWatch) return true;
    const all = this.#modules.present();
    if (!all) return false;
    const present = new Map(all.map((module) => [module.key, module]));
    const gone = new Set<LiveSite>();
    for (const [key, { sites, initSites }] of this.#known) {
      const module = present.get(key);
      if (!module?.coming) for (const site of initSites.splice(0)) gone.add(site);
      if (module) continue;
      for (const site of sites) gone.add(site);
      this.#known.delete(key);
    }
    this.#patcher.forget(gone);
    for (const { address, key } of all) if (!this.#known.has(key)) this.#addAt(address);
    return true;
  }

  /**
   * What {@link refresh} will have to do, a module at a time; the guest may run between these steps, and has to be watched for modules that
   * come.
   */
  *rehearse(): Steps<void> {
    for (const { address, key } of (this.canWatch && this.#modules?.present()) || []) {
      yield;
      if (!this.#known.has(key)) this.#addAt(address);
    }
    yield;
    this.refresh();
  }

  /** A module that is about to run for the first time. False: it makes no sense. */
  arrived(address: bigint): boolean {
    const module = this.#modules?.at(address);
    if (!module) return false;
    const before = this.#known.get(module.key);
    if (before) this.#patcher.forget(new Set([...before.sites, ...before.initSites]));
    this.#known.delete(module.key);
    return this.refresh();
  }

  forgetAll(): void {
    this.#patcher.forget(
      new Set([...this.#known.values()].flatMap(({ sites, initSites }) => [...sites, ...initSites])),
    );
    this.#known.clear();
  }

  /** What is known already of a module is not read again: a guest may wait meanwhile. */
  #addAt(address: bigint): void {
    const module = this.#modules?.at(address);
    if (module && !this.#known.has(module.key)) this.#add(module);
  }
  #add(module: GuestModule): void {
    const found = this.#finder.of(module);
    const added = found.sites.map((site) => [site, this.#patcher.addModuleSite(site, module.name)] as const);
    const of = (isInit: boolean) =>
      added.flatMap(([{ gva }, site]) =>
        site && (gva >= module.initText.first && gva < module.initText.end) === isInit ? [site] : [],
      );
    this.#known.set(module.key, { sites: of(false), initSites: of(true), unknown: found.unknown });
  }
}

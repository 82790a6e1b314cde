import {
  API_VERSION,
  type ElfImage,
  OPS_OBJECT_API_VERSIONS,
  type OpsManifest,
  PolyvisorError,
  type TypescriptOp,
  type TypescriptOps,
} from '@polyvisor/plugin-api';
import type { Machine } from '../machine/index.ts';
import { GATE_BYTES } from './code.ts';
import { FaultGuard } from './fault-guard.ts';
import { GuestFunctions } from './guest-functions.ts';
import { KernelImage } from './kernel-image.ts';
import { hasBooted } from './kernel-state.ts';
import { LiveModules } from './live-modules.ts';
import type { LiveSlot, Loaded, SlotReport } from './live-slot.ts';
import { LiveSlots } from './live-slots.ts';
import { LoadedModules } from './loaded-modules.ts';
import { checkModule } from './manifest.ts';
import type { OpChoice } from './model.ts';
import type { Implementation, LoadedOps, LoadOptions, OpsChange, OpsHost } from './module.ts';
import { ModuleGuard } from './module-guard.ts';
import { checkOpsObject, type OpsObject, objectFor } from './object-module.ts';
import { OpCode } from './op-code.ts';
import { OpTraps, trapOf } from './op-traps.ts';
import { PlacedObjects } from './placed-objects.ts';
import { opsFor, type PlannedOp, planInstall } from './plan.ts';
import { RunningKernel } from './running-kernel.ts';
import { isSafePoint } from './safe-point.ts';
import { SiteCounters } from './site-counters.ts';
import { type LiveSite, SitePatcher } from './site-patcher.ts';
import { TextMemory } from './text-memory.ts';

/** A module, whichever its kind, fitted to the kernel's slots. */
interface Fitted {
  readonly manifest: OpsManifest;
  readonly kind: LoadedOps['kind'];
  readonly plan: readonly PlannedOp<Implementation>[];
  readonly needless: readonly string[];
  readonly sharesState: boolean;
}

/** How long the machine looks for a moment at which state that is shared with the guest need not be any more. */
const SHARING_NS = 10_000_000_000;

const refuse = (code: string, what: string, fix: string) => new PolyvisorError(code, what, fix, 10);

/**
 * The paravirt operations of a kernel that runs: what is in its slots, and putting modules' operations there and back.
 * Everything is done between two instructions of the guest.
 */
export class LiveOps {
  readonly kernel: RunningKernel;
  readonly #patcher: SitePatcher;
  readonly #text: TextMemory;
  readonly #objects: PlacedObjects;
  readonly #slots: LiveSlots;
  readonly #functions: GuestFunctions;
  readonly #loaded: LoadedModules;
  readonly #traps: OpTraps;
  readonly #guard: ModuleGuard;
  readonly #faults: FaultGuard;
  readonly #modules: LiveModules;
  readonly #code: OpCode;
  readonly #nowNs: () => number;
  readonly #cpuNs: () => number;
  readonly #report: (message: string) => void;
  #counters: SiteCounters | undefined;
  #counting = false;

  /**
   * Finds the kernel in the guest and makes a place for ops; the guest's code is not touched yet. `undefined`: the kernel is
   * not there, or not mapped at this moment. `report` is told of operations that fail. Throws PV5003, PV5011.
   */
  static attach(machine: Machine, elf: ElfImage, host: OpsHost, booting = false): LiveOps | undefined {
    const kernel = RunningKernel.locate(machine, elf);
    if (!kernel || !(booting || hasBooted(kernel))) return undefined;
    return new LiveOps(kernel, new KernelImage(elf), host);
  }

  private constructor(kernel: RunningKernel, image: KernelImage, host: OpsHost) {
    this.kernel = kernel;
    this.#loaded = new LoadedModules(kernel);
    this.#nowNs = () => host.nowNs();
    this.#cpuNs = () => host.cpuNs();
    this.#report = (message) => host.report(message);
    this.#patcher = new SitePatcher(kernel, ({ address }) => image.bytesAt(address, 2));
    this.#text = new TextMemory(kernel);
    this.#objects = new PlacedObjects({
      allocate: (region, sizeBytes) =>
        region === 'text' ? this.#text.allocateText(sizeBytes) : this.#text.allocateData(sizeBytes),
      write: ({ gpa }, bytes) => kernel.machine.memory.writeBytes(gpa, bytes),
    });
    const { slots } = kernel.ops;
    const { gva, gpa } = this.#text.allocateText((slots.length + 1) * GATE_BYTES);
    this.#slots = new LiveSlots(kernel, { gva, gpa });
    this.#functions = new GuestFunctions(kernel, this.#text, this.#slots);
    const names = [...slots.map(({ name }) => name), ModuleGuard.gateName];
    this.#guard = new ModuleGuard(kernel, {
      gva: gva + BigInt(slots.length * GATE_BYTES),
      gpa: gpa + slots.length * GATE_BYTES,
    });
    this.#modules = new LiveModules(kernel, image, this.#patcher, this.#guard, this.#slots.targets);
    this.#code = new OpCode(kernel, this.#text);
    this.#traps = new OpTraps(kernel.machine, { first: gva, names }, (slot, error) => this.#contain(slot, error));
    kernel.machine.kernelCalls.add((vcpu) => this.#traps.take(vcpu));
    this.#faults = new FaultGuard(kernel, this.#text, {
      previousOf: (slot) => this.previousOf(slot),
      failed: ({ slot, gva }, what) => this.#contain(slot, what, gva),
    });
  }

  get modules(): LoadedOps[] {
    return this.#loaded.report();
  }
  get sites(): readonly LiveSite[] {
    return this.#patcher.sites;
  }
  /** Sites that are left alone: what the kernel's file has there is no call through the table. */
  get leftOut(): number {
    return this.#patcher.leftOut.length;
  }
  /** Sites in kernel modules that are left alone: what is called there is not known. */
  get unknown(): number {
    return this.#modules.unknown;
  }
  /** `name+0x10`, or the kernel module that it is in. */
  placeOf({ gva, module }: LiveSite): string | undefined {
    return module === undefined ? this.kernel.nameOf(gva) : `[${module}]`;
  }
  /** Whether calls are being counted. */
  get counting(): boolean {
    return this.#counting;
  }

  slots(): SlotReport[] {
    return this.#slots.report(this.sites, this.#loaded.size > 0, (gva) => this.#text.holds(gva));
  }

  /**
   * Put a module's operations into their slots, in place of another version of it. `undefined`: this is no moment for it.
   * Throws PV5001 (no such slot), PV5002 (strict, and it forgets some) and what `checkModule` throws; then nothing has changed.
   */
  load(module: TypescriptOps, options: LoadOptions = {}): OpsChange | undefined {
    return this.#load(module, 'typescript', this.#choices(module), options);
  }
  #choices(module: TypescriptOps): Record<string, OpChoice<Implementation>> {
    const ops = Object.entries(opsFor(this.kernel.ops.slots, module)).map(
      ([slot, op]): [string, OpChoice<Implementation>] => [
        slot,
        typeof op === 'string' ? op : { kind: 'own', implementation: op },
      ],
    );
    return Object.fromEntries(ops);
  }
  /** The same for a module in guest code. Throws PV5013 (no room) and what `checkOpsObject` and `linkOpsObject` throw too. */
  loadObject(module: OpsObject, options: LoadOptions = {}): OpsChange | undefined {
    const { kernel } = this;
    const object = objectFor(kernel.ops.slots, module);
    const { wordBytes } = kernel;
    const guest = {
      ...{ wordBytes, slots: kernel.ops.slots, symbol: (name: string) => kernel.symbol(name) },
      previous: (slot: string) => this.previousOf(slot),
    };
    checkOpsObject(object, guest);
    this.#check(object.manifest, 'guestCode', object.slots, options);
    if (!this.#isSafe(options.settled)) return undefined;
    const linked = this.#objects.place(object, guest);
    const ops = linked.ops.map(({ slot, gva }): [string, OpChoice<Implementation>] => [
      slot,
      { kind: 'own', implementation: gva },
    ]);
    const change = this.#load(object.manifest, 'guestCode', Object.fromEntries(ops), { ...options, settled: true });
    if (!change) return undefined;
    this.#loaded.setVariables(object.manifest.name, linked.variables);
    this.#faults.add(linked);
    return change;
  }

  /** The same for functions that the guest has already, at these addresses of its kernel's. Throws PV5026 out of reach. */
  loadTable(
    manifest: OpsManifest,
    table: ReadonlyMap<string, bigint>,
    options: LoadOptions = {},
  ): OpsChange | undefined {
    this.checkTable(manifest, table);
    if (!this.#isSafe()) return undefined;
    const ops = [...table].map(([slot, gva]): [string, OpChoice<Implementation>] => [
      slot,
      { kind: 'own', implementation: this.#functions.callable(slot, gva) },
    ]);
    return this.#load(manifest, 'guestTable', Object.fromEntries(ops), { ...options, settled: true });
  }
  /** What of {@link loadTable} can be refused at once, whatever the guest is doing. */
  checkTable(manifest: OpsManifest, table: ReadonlyMap<string, bigint>): void {
    const { name, version } = manifest;
    const slots = [...table.keys()];
    const { wordBytes, ops } = this.kernel;
    checkModule(manifest, slots, { wordBytes, loaded: this.modules });
    planInstall(
      ops.slots,
      { name, version, ops: Object.fromEntries(slots.map((slot) => [slot, 'native'])) },
      'overlay',
    );
    this.#functions.checkReach(manifest, table, this.sites);
  }
  /** What was in a slot before ops came. */
  previousOf(slot: string): bigint {
    return this.#slots.byName(slot).previous;
  }
  #check(
    manifest: OpsManifest,
    kind: LoadedOps['kind'],
    slots: readonly string[],
    { force = false }: LoadOptions,
  ): void {
    const apiVersions = kind === 'guestCode' ? OPS_OBJECT_API_VERSIONS : [API_VERSION];
    checkModule(manifest, slots, { wordBytes: this.kernel.wordBytes, loaded: this.modules, force, apiVersions });
  }
  #load(
    manifest: OpsManifest,
    kind: LoadedOps['kind'],
    ops: Record<string, OpChoice<Implementation>>,
    options: LoadOptions,
  ): OpsChange | undefined {
    const { name, version, api, guest } = manifest;
    this.#check(manifest, kind, Object.keys(ops), options);
    const { ops: all } = planInstall(this.kernel.ops.slots, { name, version, ops }, options.mode ?? 'overlay');
    const named = all.filter(({ state }) => state !== 'forgotten');
    const needless = named.filter((planned) => this.#isNeedless(planned)).map(({ slot }) => slot.name);
    const plan = named.filter(({ slot }) => !needless.includes(slot.name));
    const sharesState = plan.some(
      (planned) => planned.state === 'own' && this.#code.sharesState(planned.implementation),
    );
    if (sharesState) this.#checkShared(name);
    if (!this.#isSafe(options.settled)) return undefined;
    return this.#change(() =>
      this.#install({ manifest: { name, version, api, guest }, kind, plan, needless, sharesState }),
    );
  }

  /** Throws PV5018 where operations of module `name` cannot have state that the machine has, too. */
  #checkShared(name: string): void {
    this.#modules.check(name);
    if (this.kernel.machine.vcpus.length === 1) return;
    const what = `ops module ${name} keeps the interrupt flag in memory, in one place; the guest has several vCPUs`;
    throw refuse('PV5018', what, 'run it with --cpus 1');
  }

  /**
   * In small steps before a change, while the guest runs in between: what can be done beforehand for the sites that it will write.
   * `slots`: those that the module of this name is to have; none, if it goes.
   */
  *rehearse(name: string, slots: readonly string[]): Generator<void> {
    const before = this.#loaded.get(name);
    const owned = new Set(before ? this.#slots.ownedBy(before).map(({ slot }) => slot.name) : []);
    const wanted = new Set(slots);
    const isWanted = (slot: string | undefined) => slot !== undefined && wanted.has(slot) !== owned.has(slot);
    yield* this.#slots.rehearse((slot) => isWanted(slot.name));
    const isSiteWanted = (site: LiveSite) => isWanted(this.#slots.byIndex(site.slot)?.slot.name);
    yield* this.#patcher.rehearse((site) => {
      const target = this.#targetOf(site, true);
      return isSiteWanted(site) ? this.#slots.byIndex(site.slot)?.gateNumber : target;
    }, isSiteWanted);
  }
  /** The slots that a module is going to have in this kernel. Throws PV5001. */
  slotsOf(module: TypescriptOps): readonly string[] {
    const { name, version } = module;
    const { ops } = planInstall(this.kernel.ops.slots, { name, version, ops: this.#choices(module) }, 'overlay');
    const wanted = ops.filter((planned) => planned.state !== 'forgotten' && !this.#isNeedless(planned));
    return wanted.map(({ slot }) => slot.name);
  }
  #isNeedless(planned: PlannedOp<Implementation>): boolean {
    return this.#code.isNeedless(planned, this.#slots.byName(planned.slot.name));
  }

  /** Whether sites may be written to, those of kernel modules included. */
  #isSafe(settled = false): boolean {
    return this.#modules.refresh() && (settled || this.#nobodyIsWithin((gva) => this.#patcher.isWithinInline(gva)));
  }
  #nobodyIsWithin(isWithin: (gva: bigint) => boolean): boolean {
    return isSafePoint(this.kernel, isWithin);
  }

  #install({ manifest, kind, plan, needless, sharesState }: Fitted): void {
    const old = this.#loaded.get(manifest.name);
    const targets = plan.map(
      (planned) => [planned, this.#code.targetOf(planned, this.#slots.byName(planned.slot.name))] as const,
    );
    const slots = plan.map(({ slot }) => slot.name);
    const loaded: Loaded = { manifest, kind, slots, needless, sharesState, failed: [] };
    // A slot that both name is handed over.
    const named = new Set(slots);
    for (const each of old ? this.#slots.ownedBy(old) : []) if (!named.has(each.slot.name)) this.#disown(each);
    for (const [planned, target] of targets) {
      this.#traps.set(planned.slot.name, trapOf(planned));
      this.#slots.give(this.#slots.byName(planned.slot.name), loaded, planned.state, target);
      if (this.#counting && kind === 'guestCode') this.#time(planned.slot.name, true);
    }
    this.#loaded.set(loaded);
  }

  /** Take a module's operations out. `undefined`: this is no moment for it. Throws PV5017: there is no such module. */
  unload(name: string): OpsChange | undefined {
    const loaded = this.#loaded.get(name);
    if (!loaded) throw refuse('PV5017', `no ops module ${name} is loaded`, '`vm ops list` names those that are');
    return this.#modules.refresh() ? this.#takeOut(loaded) : undefined;
  }
  #takeOut(loaded: Loaded, modulesAreKnown = true): OpsChange {
    return this.#change(() => {
      this.#release(loaded);
      this.#loaded.delete(loaded);
    }, modulesAreKnown);
  }

  #release(loaded: Loaded): void {
    for (const each of this.#slots.ownedBy(loaded)) this.#disown(each);
  }
  #disown(each: LiveSlot): void {
    this.#traps.set(each.slot.name, undefined);
    this.#slots.takeBack(each);
  }

  /** Guest modules have been looked at since the guest was stopped, unless it is said otherwise. */
  #change(action: () => void, modulesAreKnown = true): OpsChange {
    const startCpuNs = this.#cpuNs();
    const startNs = this.#nowNs();
    action();
    if (this.#loaded.sharesState) this.#code.share(true);
    else if (!this.#stopSharing()) void this.kernel.machine.attempt(() => this.#stopSharing(), SHARING_NS);
    const sites = this.#patchSites(modulesAreKnown);
    this.#watchModules();
    return { sites, pauseNs: this.#nowNs() - startNs, pauseCpuNs: this.#cpuNs() - startCpuNs };
  }

  /** Once nobody is within code that looks at the cells. `undefined`: later; until then they are kept, which does no harm. */
  #stopSharing(): true | undefined {
    if (!this.#code.isSharing || this.#loaded.sharesState) return true;
    if (!this.#nobodyIsWithin((gva) => this.#code.isWithinSharing(gva))) return undefined;
    this.#code.share(false);
    return true;
  }

  /** Notice kernel modules that come, as long as anything of ours is in the kernel. */
  #watchModules(): void {
    const on = this.#loaded.size > 0 || this.#counting;
    const loading: TypescriptOp = (call) => this.#moduleComes(call.arg(0));
    this.#guard.arm(on && this.#modules.canWatch);
    this.#faults.arm(this.#loaded.hasGuestCode);
    this.#traps.set(ModuleGuard.gateName, on ? loading : undefined);
    if (!on) this.#modules.forgetAll();
  }

  /** The kernel is about to run a module of its own: nobody is within its sites yet. */
  #moduleComes(address: bigint): undefined {
    try {
      if (this.#modules.arrived(address)) {
        this.#patchSites();
        return;
      }
      this.#takeOutShared('its sites cannot be read');
    } catch (error) {
      if (!(error instanceof PolyvisorError)) throw error;
      this.#takeOutShared(error.message);
    }
  }

  #takeOutShared(why: string): void {
    for (const loaded of this.#loaded.all.filter(({ sharesState }) => sharesState)) {
      const { name } = loaded.manifest;
      this.#report(`ops module ${name} is taken out: a kernel module would go around it: ${why}`);
      this.#takeOut(loaded, this.#modules.refresh());
    }
  }

  /** Sites of kernel modules lead to gates: where these lead may change at any time. */
  #patchSites(modulesAreKnown = true): number {
    if (this.#counting) this.#counters?.cover(this.sites, ({ slot }) => this.#slots.byIndex(slot)?.gate ?? 0n);
    return this.#patcher.retarget((site) => this.#targetOf(site, modulesAreKnown));
  }
  #targetOf(site: LiveSite, modulesAreKnown: boolean): number | undefined {
    const each = this.#slots.byIndex(site.slot);
    if (site.module !== undefined && !modulesAreKnown) return site.to;
    if (!each) return undefined;
    if (this.#counting && this.#counters) return this.#counters.codeOf(site);
    if (!each.owner) return undefined;
    return site.module === undefined ? each.targetNumber : each.gateNumber;
  }

  /**
   * Count calls from now on, or no longer: every site leads through a counter while it is on. `undefined`: this is no
   * moment for it.
   */
  count(on: boolean): OpsChange | undefined {
    if (on === this.#counting) return { sites: 0, pauseNs: 0, pauseCpuNs: 0 };
    if (on ? !this.#isSafe() : !this.#modules.refresh()) return undefined;
    return this.#change(() => {
      this.#counters ??= new SiteCounters(this.kernel, this.#text);
      this.#counting = on;
      this.#traps.measure(on ? this.#nowNs : undefined);
      for (const { kind, slots } of this.#loaded.all) {
        if (kind === 'guestCode') for (const slot of slots) this.#time(slot, on);
      }
    });
  }
  /** Take the time of an operation in guest code, if it is still in its slot. */
  #time(slot: string, on: boolean): void {
    const each = this.#slots.byName(slot);
    // In 32-bit code arguments may be on the stack, where one more return address would be in their place.
    if (each.owner?.kind !== 'guestCode' || this.kernel.wordBytes === 4) return;
    this.#traps.set(slot, on ? this.#traps.timing(slot) : undefined);
    this.#slots.time(each, on);
  }
  /** Calls of each of {@link sites} since the last time; none if they are not counted. */
  takeCounts(): readonly number[] {
    return this.sites.map((site) => this.#counters?.take(site) ?? 0);
  }

  /**
   * Host time that operations have taken since the last time, in ns by slot, while calls are counted. Of those in guest code
   * it is the time from call to return, whatever else the guest has done meanwhile.
   */
  takeSpentNs(): ReadonlyMap<string, number> {
    return this.#traps.takeSpentNs();
  }

  /** A copy of the kernel's code as it is now, from `_stext` to `_etext`, or `undefined` if it is not mapped. */
  text(): Uint8Array | undefined {
    const first = this.kernel.symbol('_stext');
    const end = this.kernel.symbol('_etext');
    if (first === undefined || end === undefined || end <= first) return undefined;
    return this.kernel.read(first, Number(end - first));
  }

  /** Sites whose bytes in the guest are not what they should be. */
  strays(): LiveSite[] {
    return this.#patcher.strays();
  }

  /** An operation has thrown or met a fault: it is out of its slot, and the guest goes on. */
  #contain(slot: string, error: unknown, target?: bigint): void {
    const each = this.#slots.byName(slot);
    const { owner } = each;
    if (!owner || (target !== undefined && each.target !== target)) return;
    const what = error instanceof Error ? error.message : String(error);
    const message = `PV5019: ops module ${owner.manifest.name} has failed in ${slot}, which is as before: ${what}`;
    owner.failed.push({ slot, message });
    // Operations that share state serve together or not at all.
    if (owner.sharesState) this.#release(owner);
    else this.#disown(each);
    this.#patchSites(this.#modules.refresh());
    this.#report(message);
  }
}

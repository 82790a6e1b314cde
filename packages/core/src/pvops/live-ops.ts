import {
  type ElfImage,
  type OpsManifest,
  PolyvisorError,
  type TypescriptOp,
  type TypescriptOps,
} from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';
import type { Machine } from '../machine/index.ts';
import { CallCounting } from './call-counting.ts';
import { BRANCH_BYTES, GATE_BYTES } from './code.ts';
import { FaultGuard } from './fault-guard.ts';
import { GuestFunctions } from './guest-functions.ts';
import { KernelImage } from './kernel-image.ts';
import { kernelMembers } from './kernel-members.ts';
import { type KernelSlot, kernelOpsInSteps } from './kernel-ops.ts';
import { bannersOf } from './kernel-place.ts';
import { hasBooted } from './kernel-state.ts';
import { LiveModules } from './live-modules.ts';
import type { LiveSite } from './live-site.ts';
import type { LiveSlot, Loaded, SlotReport } from './live-slot.ts';
import { LiveSlots } from './live-slots.ts';
import { LoadedModules } from './loaded-modules.ts';
import type { LoadedOps, LoadOptions, OpsChange, OpsHost } from './module.ts';
import { type Choices, type Fitted, ModuleFit } from './module-fit.ts';
import { ModuleGuard } from './module-guard.ts';
import { type SlotsByCode, slotsByCode } from './module-sites.ts';
import { checkOpsObject, type OpsObject, objectFor } from './object-module.ts';
import { OpCode } from './op-code.ts';
import { OpTraps, trapOf } from './op-traps.ts';
import { PlacedObjects } from './placed-objects.ts';
import { RunningKernel } from './running-kernel.ts';
import { isSafePoint } from './safe-point.ts';
import { SitePatcher } from './site-patcher.ts';
import { type IsWithin, sleepersAreClear } from './task-stacks.ts';
import { TextMemory } from './text-memory.ts';

const TEXT_PIECE_BYTES = 1n << 16n;
/** How long the machine looks for a moment at which state that is shared with the guest need not be any more. */
const SHARING_NS = 10_000_000_000;

/** What is known of a file's kernel, looked at in steps: where one yields a condition, the next is for a moment at which it is true. */
export type MomentSteps<Result> = Generator<(() => boolean) | undefined, Result, void>;

/** When a change began: the guest stands still from then on. */
interface Moment {
  readonly ns: number;
  readonly cpuNs: number;
}

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
  readonly #counting: CallCounting;
  readonly #fit: ModuleFit;
  /** A change is being prepared. */
  #isPreparing = false;

  /**
   * Finds the kernel in the guest and makes a place for ops; the guest's code is not touched yet. `undefined`: the kernel is
   * not there, or not mapped at this moment. `report` is told of operations that fail. Throws PV5003, PV5011.
   */
  static attach(machine: Machine, elf: ElfImage, host: OpsHost, booting = false): LiveOps | undefined {
    const steps = LiveOps.attachInSteps(machine, elf, host, booting);
    for (let step = steps.next(); ; step = steps.next()) {
      if (step.done) return step.value;
      if (step.value && !step.value()) return undefined;
    }
  }

  /**
   * {@link attach} in steps, between which the guest may run. Where one yields a condition, the next step is to be taken
   * between two instructions of the guest at which that is true. No step may be taken once somebody else has attached.
   */
  static *attachInSteps(
    machine: Machine,
    elf: ElfImage,
    host: OpsHost,
    booting = false,
  ): MomentSteps<LiveOps | undefined> {
    const ops = yield* kernelOpsInSteps(elf);
    const banners = yield* bannersOf(elf, ops);
    const found: { kernel?: RunningKernel | undefined } = {};
    yield () => {
      found.kernel = RunningKernel.locate(machine, elf, ops, banners);
      return found.kernel !== undefined && (booting || hasBooted(found.kernel));
    };
    const { kernel } = found;
    if (!kernel) return undefined;
    const image = new KernelImage(elf);
    const finding = SitePatcher.inSteps(kernel, ({ address }) => image.bytesAt(address, BRANCH_BYTES));
    let step = finding.next();
    for (; !step.done; step = finding.next()) yield () => kernel.isMapped;
    const patcher = step.value;
    const slotByCode = yield* slotsByCode(patcher.sites);
    yield* TextMemory.clear(machine);
    yield () => kernel.isMapped;
    return new LiveOps(kernel, patcher, slotByCode, host);
  }

  private constructor(kernel: RunningKernel, patcher: SitePatcher, slotByCode: SlotsByCode, host: OpsHost) {
    this.kernel = kernel;
    this.#loaded = new LoadedModules(kernel);
    this.#nowNs = () => host.nowNs();
    this.#cpuNs = () => host.cpuNs();
    this.#report = (message) => host.report(message);
    this.#patcher = patcher;
    this.#text = new TextMemory(kernel);
    this.#objects = new PlacedObjects({
      allocate: (region, sizeBytes) =>
        region === 'text' ? this.#text.allocateText(sizeBytes) : this.#text.allocateData(sizeBytes),
      write: ({ gpa }, bytes) => kernel.machine.memory.writeBytes(gpa, bytes),
    });
    const { all: slots } = kernel.ops;
    const { gva, gpa } = this.#text.allocateText((slots.length + 1) * GATE_BYTES);
    this.#slots = new LiveSlots(kernel, { gva, gpa });
    this.#functions = new GuestFunctions(kernel, this.#text, this.#slots);
    const names = [...slots.map(({ name }) => name), ModuleGuard.gateName];
    this.#guard = new ModuleGuard(kernel, {
      gva: gva + BigInt(slots.length * GATE_BYTES),
      gpa: gpa + slots.length * GATE_BYTES,
    });
    this.#modules = new LiveModules(kernel, patcher, this.#guard, this.#slots.targets, slotByCode);
    this.#code = new OpCode(kernel, this.#text);
    const failed = (slot: string, error: unknown) => this.#contain(slot, error);
    this.#traps = new OpTraps(kernel.machine, { first: gva, names }, kernelMembers(kernel), failed);
    kernel.machine.kernelCalls.add((vcpu) => this.#traps.take(vcpu));
    const parts = { kernel, slots: this.#slots };
    this.#counting = new CallCounting({ ...parts, text: this.#text, traps: this.#traps, nowNs: this.#nowNs });
    this.#fit = new ModuleFit({ ...parts, code: this.#code, loaded: () => this.modules });
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
    return this.#counting.isOn;
  }

  slots(): SlotReport[] {
    return this.#slots.report(this.sites, this.#loaded.size > 0, (gva) => this.#text.holds(gva));
  }

  /**
   * Put a module's operations into their slots, in place of another version of it. `undefined`: this is no moment for it.
   * Throws PV5001 (no such slot), PV5002 (strict, and it forgets some) and what `checkModule` throws; then nothing has changed.
   */
  load(module: TypescriptOps, options: LoadOptions = {}): OpsChange | undefined {
    return this.#load(module, 'typescript', this.#fit.choices(module), options);
  }
  /** The same for a module in guest code. Throws PV5013 (no room) and what `checkOpsObject` and `linkOpsObject` throw too. */
  loadObject(module: OpsObject, options: LoadOptions = {}): OpsChange | undefined {
    const { kernel } = this;
    const begin = this.#moment();
    const object = objectFor(kernel.ops.all, module);
    const { wordBytes } = kernel;
    const guest = {
      ...{ wordBytes, slots: kernel.ops.all, symbol: (name: string) => kernel.symbol(name) },
      previous: (slot: string) => this.previousOf(slot),
    };
    checkOpsObject(object, guest);
    this.#fit.check(object.manifest, 'guestCode', object.slots, options);
    if (!this.#isSafe(options.settled)) return undefined;
    const linked = this.#objects.place(object, guest);
    const ops = addresses(linked.ops.map(({ slot, gva }) => [slot, gva]));
    const change = this.#load(object.manifest, 'guestCode', ops, { ...options, settled: true }, begin);
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
    const begin = this.#moment();
    this.checkTable(manifest, table);
    if (!this.#isSafe()) return undefined;
    const ops = addresses([...table].map(([slot, gva]) => [slot, this.#functions.callable(slot, gva)]));
    return this.#load(manifest, 'guestTable', ops, { ...options, settled: true }, begin);
  }
  /** What of {@link loadTable} can be refused at once, whatever the guest is doing. */
  checkTable(manifest: OpsManifest, table: ReadonlyMap<string, bigint>): void {
    const slots = [...table.keys()];
    this.#fit.check(manifest, 'guestTable', slots);
    this.#fit.checkSlots(manifest, slots);
    this.#functions.checkReach(manifest, table, this.sites);
  }
  /** What was in a slot before ops came. */
  previousOf(slot: string): bigint {
    return this.#slots.byName(slot).previous;
  }
  #load(
    manifest: OpsManifest,
    kind: LoadedOps['kind'],
    ops: Choices,
    options: LoadOptions,
    begin = this.#moment(),
  ): OpsChange | undefined {
    const fitted = this.#fit.fit(manifest, kind, ops, options);
    if (fitted.sharesState) this.#checkShared(manifest.name);
    if (!this.#isSafe(options.settled)) return undefined;
    return this.#change(begin, () => this.#install(fitted));
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
   * `slots`: those that the module of this name is to have; none, if it goes. {@link rehearsed} has to follow the change, or come in its place.
   */
  *rehearse(name: string, slots: readonly string[]): Steps<void> {
    this.#isPreparing = true;
    this.#watchModules();
    yield* this.#modules.rehearse();
    const before = this.#loaded.get(name);
    const owned = new Set(before ? this.#slots.ownedBy(before).map(({ slot }) => slot.name) : []);
    const wanted = new Set(slots);
    const isWanted = ({ name }: KernelSlot) => wanted.has(name) !== owned.has(name);
    yield* this.#slots.rehearse(isWanted);
    // While calls are counted, sites lead to counters, and do not change.
    if (!this.counting) yield* this.#patcher.rehearse(this.#slots.otherTargets(isWanted));
    yield;
    if (slots.length > 0) sleepersAreClear(this.kernel, this.#isWithinInline);
  }
  /** The change that {@link rehearse} was for has been made, or is not going to be. */
  rehearsed(): void {
    this.#isPreparing = false;
    this.#watchModules();
  }
  /** The slots that a module is going to have in this kernel. Throws PV5001. */
  slotsOf(module: TypescriptOps): readonly string[] {
    return this.#fit.slotsOf(module);
  }

  /** Whether sites may be written to, those of kernel modules included. */
  #isSafe(settled = false): boolean {
    return this.#modules.refresh() && (settled || isSafePoint(this.kernel, this.#isWithinInline));
  }
  readonly #isWithinInline: IsWithin = (low, high) => this.#patcher.isWithinInline(low, high);

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
      this.#traps.set(planned.slot.name, trapOf(planned), this.#code.dataOf(planned));
      this.#slots.give(this.#slots.byName(planned.slot.name), loaded, planned.state, target);
      if (this.counting && kind === 'guestCode') this.#counting.time(planned.slot.name, true);
    }
    this.#loaded.set(loaded);
  }

  /** Take a module's operations out. `undefined`: this is no moment for it. Throws PV5017: there is no such module. */
  unload(name: string): OpsChange | undefined {
    const begin = this.#moment();
    const loaded = this.#loaded.get(name);
    if (!loaded) throw refuse('PV5017', `no ops module ${name} is loaded`, '`vm ops list` names those that are');
    return this.#modules.refresh() ? this.#takeOut(loaded, begin) : undefined;
  }
  #takeOut(loaded: Loaded, begin: Moment, modulesAreKnown = true): OpsChange {
    const takeOut = () => {
      this.#release(loaded);
      this.#loaded.delete(loaded);
    };
    return this.#change(begin, takeOut, modulesAreKnown);
  }

  #release(loaded: Loaded): void {
    for (const each of this.#slots.ownedBy(loaded)) this.#disown(each);
  }
  #disown(each: LiveSlot): void {
    this.#traps.set(each.slot.name, undefined);
    this.#slots.takeBack(each);
  }

  /** Guest modules have been looked at since the guest was stopped, unless it is said otherwise. */
  #change(begin: Moment, action: () => void, modulesAreKnown = true): OpsChange {
    action();
    if (this.#loaded.sharesState) this.#code.share(true);
    else if (!this.#stopSharing()) void this.kernel.machine.attempt(() => this.#stopSharing(), SHARING_NS);
    const sites = this.#patchSites(modulesAreKnown);
    this.#watchModules();
    const endNs = this.#nowNs();
    return { sites, pauseNs: endNs - begin.ns, pauseCpuNs: this.#cpuNs() - begin.cpuNs };
  }
  #moment(): Moment {
    return { cpuNs: this.#cpuNs(), ns: this.#nowNs() };
  }

  /** Once nobody is within code that looks at the cells. `undefined`: later; until then they are kept, which does no harm. */
  #stopSharing(): true | undefined {
    if (!this.#code.isSharing || this.#loaded.sharesState) return true;
    if (!isSafePoint(this.kernel, (low, high) => this.#code.isWithinSharing(low, high))) return undefined;
    this.#code.share(false);
    return true;
  }

  /** Notice kernel modules that come, as long as anything of ours is in the kernel. */
  #watchModules(): void {
    const on = this.#loaded.size > 0 || this.counting || this.#isPreparing;
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
      this.#takeOut(loaded, this.#moment(), this.#modules.refresh());
    }
  }

  #patchSites(modulesAreKnown = true): number {
    this.#counting.cover(this.sites);
    const { counting } = this;
    return this.#patcher.retarget((counting ? this.#counting : this.#slots).siteTargets(modulesAreKnown));
  }

  /**
   * Count calls from now on, or no longer: every site leads through a counter while it is on. `undefined`: this is no
   * moment for it.
   */
  count(on: boolean): OpsChange | undefined {
    const begin = this.#moment();
    if (on === this.counting) return { sites: 0, pauseNs: 0, pauseCpuNs: 0 };
    if (on ? !this.#isSafe() : !this.#modules.refresh()) return undefined;
    return this.#change(begin, () => this.#counting.turn(on, this.#loaded.all));
  }
  /** Calls of each of {@link sites} since the last time; none if they are not counted. */
  takeCounts(): readonly number[] {
    return this.sites.map((site) => this.#counting.take(site));
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

  /** {@link text} in steps, handed over piece by piece. False: there is none. */
  *textInSteps(take: (piece: Uint8Array) => void): MomentSteps<boolean> {
    const first = this.kernel.symbol('_stext');
    const end = this.kernel.symbol('_etext');
    if (first === undefined || end === undefined || end <= first) return false;
    for (let at = first; at < end; at += TEXT_PIECE_BYTES) {
      yield () => this.kernel.isMapped;
      const rest = end - at;
      const piece = this.kernel.read(at, Number(rest < TEXT_PIECE_BYTES ? rest : TEXT_PIECE_BYTES));
      if (!piece) return false;
      take(piece);
    }
    return true;
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

/** Operations that are functions at these addresses. */
const addresses = (ops: readonly (readonly [slot: string, gva: bigint])[]): Choices =>
  Object.fromEntries(ops.map(([slot, gva]) => [slot, { kind: 'own', implementation: gva }]));

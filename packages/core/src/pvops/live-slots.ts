import { PolyvisorError } from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';
import { BRANCH_BYTES, directTarget, GATE_BYTES, GateOffset, gateBlock, reaches, wordBytes } from './code.ts';
import type { KernelSlot } from './kernel-ops.ts';
import { type LiveSite, numberOf } from './live-site.ts';
import { kernelState, type LiveSlot, type Loaded, type SlotReport } from './live-slot.ts';
import type { OpState } from './model.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { SlotTargets } from './site-table.ts';

/** Where gate blocks lie. */
interface GatePlace {
  readonly gva: bigint;
  readonly gpa: number;
}

/** Where no site leads: behind a gate's start. */
const OTHER_BYTES = 1;

function outOfReach({ name }: KernelSlot, address: bigint): PolyvisorError {
  const what = `slot ${name} holds 0x${address.toString(16)}, where no function of the kernel's can be`;
  return new PolyvisorError('PV5011', `there is no place for ops in this guest: ${what}`, 'restart the guest', 10);
}

/** The slots of a running kernel: what each held when ops first came, who has it now, and where it leads by its gate block. */
export class LiveSlots {
  readonly all: readonly LiveSlot[];
  readonly #kernel: RunningKernel;
  readonly #byName: ReadonlyMap<string, LiveSlot>;
  readonly #byIndex: (LiveSlot | undefined)[] = [];

  /**
   * Makes a gate block for each slot of the kernel's, in the order of {@link KernelOps.all} from `gates` on; no slot leads there yet. Throws PV5011
   * where a slot holds what can be no function of the kernel's.
   */
  constructor(kernel: RunningKernel, gates: GatePlace) {
    this.#kernel = kernel;
    this.all = kernel.ops.all.map((slot, i) =>
      this.#makeSlot(slot, { gva: gates.gva + BigInt(i * GATE_BYTES), gpa: gates.gpa + i * GATE_BYTES }),
    );
    this.#byName = new Map(this.all.map((each) => [each.slot.name, each]));
    for (const each of this.all) this.#byIndex[each.slot.index] = each;
  }

  #makeSlot(slot: KernelSlot, { gva: gate, gpa }: GatePlace): LiveSlot {
    const kernel = this.#kernel;
    // A null pointer is never called; if it is all the same, it returns.
    const orReturn = (address: bigint) => (address === 0n ? gate + BigInt(GateOffset.done) : address);
    const inFile = slot.implementation.address;
    const native = orReturn(inFile === 0n ? 0n : kernel.placeOf(inFile));
    const inTable = this.#held(slot) ?? 0n;
    const previous = orReturn(inTable);
    for (const each of [previous, native]) {
      const ends = [gate, gate + BigInt(GATE_BYTES)];
      if (!ends.every((from) => reaches(from, each))) throw outOfReach(slot, each);
    }
    kernel.machine.memory.writeBytes(gpa, gateBlock(gate, { target: previous, previous, native }));
    const written = { target: previous, previous, inTable };
    return {
      slot,
      gate,
      previous,
      native,
      owner: undefined,
      state: 'forgotten',
      target: previous,
      timed: false,
      written,
      ...{ targetNumber: numberOf(previous), gateNumber: numberOf(gate) },
    };
  }
  #pointerTo({ pointerAddress }: KernelSlot): bigint | undefined {
    return pointerAddress === undefined ? undefined : this.#kernel.placeOf(pointerAddress);
  }
  /** What the slot's pointer holds; of a static call without one, where its trampoline leads. */
  #held(slot: KernelSlot): bigint | undefined {
    const pointer = this.#pointerTo(slot);
    if (pointer !== undefined) return this.#kernel.readWord(pointer);
    const trampoline = this.#kernel.placeOf(slot.sites[0].address);
    const code = this.#kernel.read(trampoline, BRANCH_BYTES);
    const target = code && directTarget(trampoline, code);
    return target === undefined ? undefined : this.#kernel.wrap(target);
  }

  /** By the name of one that there is. */
  byName(name: string): LiveSlot {
    return this.#byName.get(name) as LiveSlot;
  }
  byIndex(index: number): LiveSlot | undefined {
    return this.#byIndex[index];
  }
  ownedBy(owner: Loaded): readonly LiveSlot[] {
    return this.all.filter((each) => each.owner === owner);
  }
  /** Where calls through a slot of the table lead, whether a module has it or not. */
  get targets(): (readonly [slot: number, target: bigint])[] {
    return this.all.flatMap(({ slot: { index, heldIn }, previous, gate }) =>
      heldIn === 'table' ? [previous, gate].map((target) => [index, target] as const) : [],
    );
  }

  /** A module has it from now on. */
  give(each: LiveSlot, owner: Loaded, state: OpState, target: bigint): void {
    each.owner = owner;
    each.state = state;
    each.timed = false;
    this.#point(each, target);
  }
  /** It is as it was when ops first came. */
  takeBack(each: LiveSlot): void {
    each.owner = undefined;
    each.state = 'forgotten';
    each.timed = false;
    this.#point(each, each.previous);
  }
  /**
   * What is called through the gate returns to the gate's second trap, or no longer: the first trap has to answer that the
   * previous implementation is to be called, which is what has the slot then.
   */
  time(each: LiveSlot, on: boolean): void {
    each.timed = on;
    this.#point(each, each.target);
  }
  /**
   * The gate leads there from now on. While a slot is owned, the kernel's table holds the gate, for kernel modules that are
   * loaded meanwhile and keep what they find; gates stay for good.
   */
  #point(each: LiveSlot, target: bigint): void {
    each.target = target;
    each.targetNumber = numberOf(target);
    const { gate, previous, native, timed } = each;
    const trap = gate + BigInt(GateOffset.trap);
    const leads = timed ? { target: trap, previous: target } : { target, previous };
    const inTable = each.owner ? gate : each.previous;
    const before = each.written;
    // The guest waits, and most slots of one version are as they were in the other.
    const now = { ...leads, inTable };
    if (leads.target !== before.target || leads.previous !== before.previous) this.#writeGate(gate, native, now);
    if (inTable !== before.inTable) this.#writeTable(each.slot, inTable);
    each.written = now;
  }
  #writeGate(gate: bigint, native: bigint, { target, previous }: LiveSlot['written']): void {
    this.#kernel.write(gate, gateBlock(gate, { target, previous, native }));
  }
  #writeTable(slot: KernelSlot, pointer: bigint): void {
    const at = this.#pointerTo(slot);
    if (at !== undefined) this.#kernel.write(at, Uint8Array.from(wordBytes(pointer, this.#kernel.wordBytes)));
  }
  /** Where sites lead for what has their slots: of kernel modules to gates, since where these lead may change at any time. */
  siteTargets(modulesAreKnown: boolean): SlotTargets {
    const inKernel = new Float64Array(this.#byIndex.length).fill(Number.NaN);
    const inModules = inKernel.slice();
    for (const { slot, owner, targetNumber, gateNumber } of this.all) {
      if (!owner) continue;
      inKernel[slot.index] = targetNumber;
      inModules[slot.index] = gateNumber;
    }
    return { inKernel, inModules: modulesAreKnown ? inModules : undefined };
  }
  /** The same, but that sites of some slots would change: for {@link SitePatcher.rehearse}. */
  otherTargets(changes: (slot: KernelSlot) => boolean): SlotTargets {
    const targets = this.siteTargets(true);
    for (const { slot, gateNumber } of this.all) {
      if (!changes(slot)) continue;
      for (const each of [targets.inKernel, targets.inModules]) if (each) each[slot.index] = gateNumber + OTHER_BYTES;
    }
    return targets;
  }

  /** Write what is there already: for {@link SitePatcher.rehearse}. */
  *rehearse(isWanted: (slot: KernelSlot) => boolean): Steps<void> {
    for (const { slot, gate, native, written } of this.all) {
      if (!isWanted(slot)) continue;
      yield;
      this.#writeGate(gate, native, written);
      this.#writeTable(slot, this.#held(slot) ?? written.inTable);
    }
  }

  /**
   * What is in each at present.
   * @param sites those of kernel modules are counted with their slots'
   * @param hasModules whether any module of operations is loaded
   * @param isOurs whether an address is in memory that modules are placed in
   */
  report(sites: readonly LiveSite[], hasModules: boolean, isOurs: (gva: bigint) => boolean): SlotReport[] {
    const inModules = new Map<number, number>();
    for (const { module, slot } of sites) {
      if (module !== undefined) inModules.set(slot, (inModules.get(slot) ?? 0) + 1);
    }
    return this.all.map((each) => {
      const { slot, owner, target, previous } = each;
      const now = owner ? target : previous;
      return {
        slot,
        target: now,
        targetName: owner && isOurs(now) ? `${owner.manifest.name}:${slot.name}` : this.#nameOf(each, now),
        module: owner?.manifest.name,
        state: owner || hasModules ? each.state : kernelState(each),
        sites: slot.sites.length + (inModules.get(slot.index) ?? 0),
      };
    });
  }
  #nameOf({ gate }: LiveSlot, target: bigint): string | undefined {
    return target === gate + BigInt(GateOffset.done) ? undefined : this.#kernel.nameOf(target);
  }
}

import type { LiveSite } from './live-site.ts';
import type { Loaded } from './live-slot.ts';
import type { LiveSlots } from './live-slots.ts';
import type { OpTraps } from './op-traps.ts';
import type { RunningKernel } from './running-kernel.ts';
import { SiteCounters } from './site-counters.ts';
import type { TextMemory } from './text-memory.ts';

interface CountingParts {
  readonly kernel: RunningKernel;
  readonly text: TextMemory;
  readonly slots: LiveSlots;
  readonly traps: OpTraps;
  readonly nowNs: () => number;
}

/** Counting the calls of sites, and taking the time of operations; while it is on, every site leads through a counter. */
export class CallCounting {
  readonly #parts: CountingParts;
  #counters: SiteCounters | undefined;
  #isOn = false;

  constructor(parts: CountingParts) {
    this.#parts = parts;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** The sites are to be written afterwards. */
  turn(on: boolean, loaded: readonly Loaded[]): void {
    const { kernel, text, traps, nowNs } = this.#parts;
    this.#counters ??= new SiteCounters(kernel, text);
    this.#isOn = on;
    traps.measure(on ? nowNs : undefined);
    for (const { kind, slots } of loaded) {
      if (kind === 'guestCode') for (const slot of slots) this.time(slot, on);
    }
  }

  /** Take the time of an operation in guest code, if it is still in its slot. */
  time(slot: string, on: boolean): void {
    const { kernel, slots, traps } = this.#parts;
    const each = slots.byName(slot);
    // In 32-bit code arguments may be on the stack, where one more return address would be in their place.
    if (each.owner?.kind !== 'guestCode' || kernel.wordBytes === 4) return;
    traps.set(slot, on ? traps.timing(slot) : undefined);
    slots.time(each, on);
  }

  /** Make counters for sites that have none, if it is on. */
  cover(sites: readonly LiveSite[]): void {
    const { slots } = this.#parts;
    if (this.#isOn) this.#counters?.cover(sites, ({ slot }) => slots.byIndex(slot)?.gate ?? 0n);
  }
  /** Where sites lead while it is on; `modulesAreKnown`: those of kernel modules, too. */
  siteTargets(modulesAreKnown: boolean): (site: LiveSite) => number | undefined {
    return (site) => (site.module === undefined || modulesAreKnown ? this.#counters?.codeOf(site) : site.to);
  }
  /** Calls of a site since the last time. */
  take(site: LiveSite): number {
    return this.#counters?.take(site) ?? 0;
  }
}

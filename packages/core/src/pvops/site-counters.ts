import { COUNTER_BYTES, countingCode } from './code.ts';
import { type LiveSite, numberOf } from './live-site.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { TextMemory } from './text-memory.ts';

interface Counter {
  readonly codeGva: bigint;
  readonly codeGpa: number;
  readonly gva: bigint;
  readonly gpa: number;
  /** As it was told last. */
  told: number;
}

/**
 * A counter for each site, in guest memory, and code that adds to it before it goes on to the slot's gate: nine
 * instructions more a call, no exit, no register or flag changed. An interrupt between reading and writing may lose counts.
 */
export class SiteCounters {
  readonly #kernel: RunningKernel;
  readonly #text: TextMemory;
  readonly #counters = new Map<LiveSite, Counter>();
  /** Of sites that are gone: nobody runs their code any more. */
  readonly #free: Counter[] = [];

  constructor(kernel: RunningKernel, text: TextMemory) {
    this.#kernel = kernel;
    this.#text = text;
  }

  /** Counters for those of the sites that have none; `gateOf`: where each leads on. Throws PV5013. */
  cover(sites: readonly LiveSite[], gateOf: (site: LiveSite) => bigint): void {
    const { machine, wordBytes } = this.#kernel;
    const known = new Set(sites);
    for (const [site, counter] of this.#counters) {
      if (known.has(site)) continue;
      this.#counters.delete(site);
      this.#free.push(counter);
    }
    const fresh = sites.filter((site) => !this.#counters.has(site));
    this.#allocate(fresh.length - this.#free.length);
    for (const site of fresh) {
      const counter = this.#free.pop() as Counter;
      machine.memory.writeBytes(counter.codeGpa, countingCode(counter.codeGva, counter.gva, gateOf(site), wordBytes));
      counter.told = machine.memory.read32(counter.gpa);
      this.#counters.set(site, counter);
    }
  }

  #allocate(count: number): void {
    if (count <= 0) return;
    const { wordBytes } = this.#kernel;
    const data = this.#text.allocateData(count * wordBytes);
    const code = this.#text.allocateText(count * COUNTER_BYTES);
    for (let i = 0; i < count; i++) {
      this.#free.push({
        ...{ codeGva: code.gva + BigInt(i * COUNTER_BYTES), codeGpa: code.gpa + i * COUNTER_BYTES },
        ...{ gva: data.gva + BigInt(i * wordBytes), gpa: data.gpa + i * wordBytes, told: 0 },
      });
    }
  }

  /** Where the site is to lead, by {@link numberOf}. */
  codeOf(site: LiveSite): number | undefined {
    const counter = this.#counters.get(site);
    return counter && numberOf(counter.codeGva);
  }

  /** Calls of a site since the last time. */
  take(site: LiveSite): number {
    const counter = this.#counters.get(site);
    if (!counter) return 0;
    const now = this.#kernel.machine.memory.read32(counter.gpa);
    const calls = (now - counter.told) >>> 0;
    counter.told = now;
    return calls;
  }
}

import { createHash } from 'node:crypto';
import {
  GuestRegistrations,
  type HandedOver,
  LiveOps,
  type LoadOptions,
  Machine,
  type MomentSteps,
  type OpsChange,
  refusedHandOver,
  type SlotReport,
} from '@polyvisor/core';
import type { ElfImage, PolyvisorError } from '@polyvisor/plugin-api';
import { controlError } from '../cli-error.ts';
import { say } from '../diagnostics.ts';
import { mainThreadCpuNs } from '../node/thread-cpu.ts';
import type { RunnableMachine } from '../options.ts';
import { readOpsFile } from './ops-file.ts';
import { inSmallSteps } from './small-steps.ts';
import type { ChangeReport, LiveReport, SiteReport, WatchReport } from './vm-ops-schema.ts';

/** How long the guest may take to come to a point at which its kernel can be changed. */
const PATIENCE_NS = 10_000_000_000;
const hex = (value: bigint) => `0x${value.toString(16)}`;
const bytesOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const roundedMs = (ns: number) => Math.round(ns / 1e3) / 1e3;

type HandOver = (kind: HandedOver, bytes: Uint8Array) => Promise<void>;
const refuseHandOver: HandOver = async () => {
  throw refusedHandOver('something, and nobody takes it');
};

interface ReportWish {
  readonly counts?: boolean | undefined;
  readonly text: boolean;
}

/** The paravirt operations of a running VM, for its control socket and its guest. */
export class VmOps {
  /** Of the image; that of the machine can be another, which the guest has handed over. */
  readonly #imageElf: ElfImage | undefined;
  #elf: ElfImage | undefined;
  #handOver: HandOver = refuseHandOver;
  #machine: Machine | undefined;
  #live: LiveOps | undefined;
  /** It is being found, for whoever has asked first and all others. */
  #finding: Promise<LiveOps> | undefined;
  /** How long the guest has stood still at most while it was. */
  #found: { readonly findMs: number; readonly findCpuMs: number } | undefined;
  /** SHA-256 of the kernel's code before any module came. */
  #textBefore: string | undefined;
  /** One change after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(elf: ElfImage | undefined) {
    this.#imageElf = elf;
    this.#elf = elf;
  }

  /** Another machine: what was loaded into the last one is gone. */
  started(machine: RunnableMachine): void {
    this.#machine = machine instanceof Machine ? machine : undefined;
    this.#live = undefined;
    this.#finding = undefined;
    this.#found = undefined;
    this.#textBefore = undefined;
    this.#elf = this.#imageElf;
    this.#handOver = refuseHandOver;
    if (this.#machine?.hiddenMemory.sizeBytes) this.#takeRegistrations(this.#machine);
  }

  /** The guest's kernel may bring operations of its own, or its boot loader. */
  #takeRegistrations(machine: Machine): void {
    const live = () => {
      if (this.#elf) this.#live ??= LiveOps.attach(machine, this.#elf, opsHost);
      return this.#live;
    };
    new GuestRegistrations(machine, { live, report: say, handOver: (kind, bytes) => this.#handOver(kind, bytes) });
  }
  /** Who takes what the boot loader of this machine's guest hands over. */
  onHandOver(handOver: HandOver): void {
    this.#handOver = handOver;
  }
  /** The kernel of this machine is not of the image. */
  kernelIs(elf: ElfImage): void {
    this.#elf = elf;
  }

  async report({ counts, text }: ReportWish): Promise<LiveReport> {
    const live = await this.#attached();
    if (counts !== undefined) {
      await this.#rememberText(live);
      await this.#attempt(() => live.count(counts));
    }
    const calls = live.counting ? this.#callsBySlot(live) : undefined;
    const spent = microseconds(live.takeSpentNs());
    const { kernel } = live;
    const slots = live.slots();
    const row = ({ slot, state, module, target, targetName, sites }: SlotReport) => ({
      ...{ index: slot.index, name: slot.name, group: slot.group, convention: slot.convention, state, sites },
      ...(module !== undefined && { module }),
      ...{ target: hex(target), ...(targetName !== undefined && { targetName }) },
      ...(calls && { calls: calls.get(slot.index) ?? 0 }),
      ...(spent[slot.name] !== undefined && { spentUs: spent[slot.name] }),
    });
    return {
      slide: hex(kernel.slide),
      table: hex(kernel.placeOf(kernel.ops.address)),
      sites: live.sites.length,
      leftOut: live.leftOut,
      moduleSites: live.sites.filter(({ module }) => module !== undefined).length,
      moduleSitesUnknown: live.unknown,
      strays: live.strays().length,
      counting: live.counting,
      ...this.#found,
      ...(text && { textSha256: (await this.#textHash(live)).sha256 }),
      ...(this.#textBefore !== undefined && { textSha256Before: this.#textBefore }),
      modules: this.#modules(live),
      slots: slots.filter(({ slot }) => slot.heldIn === 'table').map(row),
      staticCalls: slots.filter(({ slot }) => slot.heldIn === 'staticCall').map(row),
    };
  }

  async list(): Promise<LiveReport['modules']> {
    return this.#live ? this.#modules(this.#live) : [];
  }

  /** `reference`: a name (`xen-ops`), or the absolute path of a file, TypeScript's or an object. */
  async load(reference: string, options: LoadOptions): Promise<ChangeReport> {
    const file = await readOpsFile(reference);
    const { name, version } = file.manifest;
    return await this.#changing(async (live) => {
      const hashMs = await this.#rememberText(live);
      const change = await this.#prepared(live, live.rehearse(name, file.slotsFor(live)), () =>
        file.loadInto(live, options),
      );
      return { ...change, prepareMs: Math.max(change.prepareMs, hashMs), name, version };
    });
  }

  /** For modules that come while the kernel boots: the one that there is, or, as soon as `attach` answers, that one. */
  attachAtBoot(attach: () => LiveOps | undefined): LiveOps | undefined {
    this.#live ??= attach();
    return this.#live;
  }

  async unload(name: string): Promise<ChangeReport> {
    return await this.#changing(async (live) => {
      const { version } = live.modules.find(({ manifest }) => manifest.name === name)?.manifest ?? { version: '' };
      const change = await this.#prepared(live, live.rehearse(name, []), () => live.unload(name));
      if (live.modules.length > 0 || live.counting) return { ...change, name, version };
      // A kernel that has booted since has changed its code itself.
      if (this.#textBefore === undefined) return { ...change, name, version };
      const { sha256: textSha256, longestMs } = await this.#textHash(live);
      const prepareMs = Math.max(change.prepareMs, longestMs);
      return { ...change, prepareMs, name, version, textSha256, textIsAsBefore: textSha256 === this.#textBefore };
    });
  }

  /** No longer counting, sites are as the modules want them. */
  async stopCounting(): Promise<void> {
    const live = this.#live;
    if (live?.counting) await this.#attempt(() => live.count(false));
  }
  async startCounting(): Promise<void> {
    const live = await this.#attached();
    await this.#rememberText(live);
    if (!live.counting) await this.#attempt(() => live.count(true));
    live.takeCounts();
    live.takeSpentNs();
  }

  /** Calls since the last time. */
  takeCalls(topSites: number): WatchReport {
    const live = this.#live;
    const counts = live?.takeCounts() ?? [];
    const sites = live?.sites ?? [];
    const names = new Map(live?.slots().map(({ slot }) => [slot.index, slot.name]));
    const bySlot = new Map<string, number>();
    for (const [i, count] of counts.entries()) {
      const name = names.get(sites[i].slot) ?? '?';
      if (count > 0) bySlot.set(name, (bySlot.get(name) ?? 0) + count);
    }
    const top = [...counts.keys()].filter((i) => counts[i] > 0).sort((a, b) => counts[b] - counts[a]);
    return {
      slots: Object.fromEntries([...bySlot].sort(([, a], [, b]) => b - a)),
      spentUs: microseconds(live?.takeSpentNs()),
      sites: top.slice(0, topSites).map((i) => ({
        address: hex(sites[i].gva),
        in: live?.placeOf(sites[i]) ?? '-',
        slot: names.get(sites[i].slot) ?? '?',
        calls: counts[i],
      })),
    };
  }

  /** A site by its address, or the first of a slot: its bytes before and now. */
  async site(wanted: string): Promise<SiteReport> {
    const live = await this.#attached();
    const slots = live.slots();
    const slot = slots.find(({ slot: { name } }) => name === wanted)?.slot.index;
    const address = /^0x[0-9a-f]{1,16}$/i.test(wanted) ? BigInt(wanted) : undefined;
    const site = live.sites.find((each) => (address === undefined ? each.slot === slot : each.gva === address));
    if (!site)
      throw controlError('PV3013', `there is no call site ${wanted}`, 'give its address, or a slot with sites');
    const owner = slots.find((each) => each.slot.index === site.slot);
    return {
      address: hex(site.gva),
      in: live.placeOf(site) ?? '-',
      slot: owner?.slot.name ?? '?',
      bits: live.kernel.wordBytes === 8 ? 64 : 32,
      before: bytesOf(site.original),
      now: bytesOf(site.bytes),
      target: owner?.targetName ?? hex(owner?.target ?? 0n),
      linked: hex(site.address),
    };
  }

  #modules(live: LiveOps): LiveReport['modules'] {
    return live.modules.map(({ manifest, kind, slots, needless, failed, variables }) => ({
      ...{ name: manifest.name, version: manifest.version, api: manifest.api, guest: manifest.guest, kind },
      ...{ slots: [...slots], needless: [...needless], failed: failed.map(({ message }) => message) },
      variables: Object.fromEntries(Object.entries(variables).map(([variable, value]) => [variable, `${value}`])),
    }));
  }

  #callsBySlot(live: LiveOps): Map<number, number> {
    const calls = new Map<number, number>();
    for (const [i, count] of live.takeCounts().entries()) {
      const { slot } = live.sites[i];
      calls.set(slot, (calls.get(slot) ?? 0) + count);
    }
    return calls;
  }

  async #attached(): Promise<LiveOps> {
    const machine = this.#machine;
    const elf = this.#elf;
    if (!machine) throw refused('the guest has not been started yet', 'try again');
    if (!elf) throw refused('its image holds no ELF file, by which the kernel would be found', 'boot a Linux kernel');
    if (this.#live) return this.#live;
    const finding = this.#finding ?? this.#find(machine, elf);
    this.#finding = finding;
    try {
      return await finding;
    } finally {
      if (this.#finding === finding) this.#finding = undefined;
    }
  }
  async #find(machine: Machine, elf: ElfImage): Promise<LiveOps> {
    // The guest may register operations meanwhile, or be another one.
    const isOver = () => this.#live !== undefined || this.#machine !== machine;
    const steps = LiveOps.attachInSteps(machine, elf, opsHost);
    const { result, longestMs, longestCpuMs } = await this.#inSmallSteps(steps, isOver);
    if (this.#live === undefined && this.#machine === machine && result) {
      this.#live = result;
      this.#found = { findMs: longestMs, findCpuMs: longestCpuMs };
    }
    if (this.#live) return this.#live;
    throw refused("the image's kernel does not run in the guest", 'wait until it has booted');
  }
  #inSmallSteps<Result>(steps: MomentSteps<Result>, isOver?: () => boolean) {
    const machine = this.#machine as Machine;
    return inSmallSteps(steps, {
      attempt: (attempt) => machine.attempt(attempt, PATIENCE_NS),
      cpuNs: opsHost.cpuNs,
      ...(isOver && { isOver }),
    });
  }

  async #attempt<T>(attempt: () => T | undefined): Promise<T> {
    const machine = this.#machine as Machine;
    const answer = await machine.attempt(attempt, PATIENCE_NS);
    if (answer !== undefined) return answer;
    const why = machine.paused ? 'the guest is paused where its kernel cannot be changed' : 'it came to no safe point';
    throw refused(why, machine.paused ? 'resume it first' : 'try again');
  }
  /** A change for which `steps` are taken first. */
  async #prepared(live: LiveOps, steps: MomentSteps<void>, attempt: () => OpsChange | undefined) {
    try {
      const { longestMs: prepareMs } = await this.#inSmallSteps(steps);
      const { sites, pauseNs, pauseCpuNs } = await this.#attempt(attempt);
      return { sites, pauseMs: roundedMs(pauseNs), pauseCpuMs: roundedMs(pauseCpuNs), prepareMs };
    } finally {
      live.rehearsed();
    }
  }

  #changing<T>(change: (live: LiveOps) => Promise<T>): Promise<T> {
    const done = this.#last.then(async () => change(await this.#attached()));
    this.#last = done.catch(() => {});
    return done;
  }

  /** Before anything of ours is in it. Answers how long the guest has stood still at most for it, in ms. */
  async #rememberText(live: LiveOps): Promise<number> {
    if (live.modules.length > 0 || live.counting) return 0;
    const { sha256, longestMs } = await this.#textHash(live);
    this.#textBefore = sha256;
    return longestMs;
  }
  async #textHash(live: LiveOps): Promise<{ sha256: string; longestMs: number }> {
    const hash = createHash('sha256');
    const steps = live.textInSteps((piece) => hash.update(piece));
    const { result, longestMs } = await this.#inSmallSteps(steps);
    if (!result) throw refused("the kernel's code cannot be read", 'try again');
    return { sha256: hash.digest('hex'), longestMs };
  }
}

/** What changes of the ops need of this process. */
export const opsHost = {
  nowNs: () => performance.now() * 1e6,
  cpuNs: mainThreadCpuNs,
  report: say,
};

const refused = (what: string, fix: string): PolyvisorError => controlError('PV3013', what, fix);

const microseconds = (spentNs: ReadonlyMap<string, number> = new Map()): Record<string, number> =>
  Object.fromEntries([...spentNs].map(([slot, ns]) => [slot, Math.round(ns / 100) / 10]));

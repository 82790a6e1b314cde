import {
  type BootRequest,
  Gpr,
  type Machine,
  type PlatformDefinition,
  type Plugin,
  type PluginHost,
  type Vcpu,
} from '@polyvisor/plugin-api';
import { PV32, PV64 } from './abi/model.ts';
import { buildPv } from './builder/build.ts';
import { cpuHypercalls } from './cpu/calls.ts';
import { XEN_LEAF_BASE, XEN_VERSION } from './cpu/cpuid.ts';
import { buildInterruptReturn, buildSystemCall } from './cpu/directEntry.ts';
import { buildSysenter32 } from './cpu/directEntry32.ts';
import { buildPageFault } from './cpu/directFault.ts';
import { buildInput } from './cpu/directIo.ts';
import { onBeforeEntry, tapExits } from './cpu/exits.ts';
import type { XenVcpu } from './domain.ts';
import { onHvmBeforeEntry, tapHvmExits } from './hvm/exits.ts';
import { HVM_OVERHEAD_BYTES, type HvmDomain } from './hvm/hvmDomain.ts';
import { startHvm } from './hvm/start.ts';
import { startPvh } from './hvm/startPvh.ts';
import { dispatchHypercall, dispatchWords } from './hypercall/dispatch.ts';
import { mmHypercalls, mmWordHypercalls } from './mm/calls.ts';
import { buildHypercall32 } from './mm/directCalls.ts';
import { overheadBytes } from './mm/hole.ts';
import { PvL1Entries } from './mm/l1Entries.ts';
import { findXenEntries } from './notes/finder.ts';
import { PvDomain } from './pvDomain.ts';
import { createServices, type XenServices } from './services.ts';

/** Doors of this plug-in, and who offers those of the PC itself. */
const Door = { PV: 'pv' } as const;
const CORE = 'core';
/** Xen's leaves are looked for at each step up to this one (public/arch-x86/cpuid.h). */
const LEAF_STEP = 0x100;
const LAST_LEAF_BASE = 0x4000_ff00 - 2 * LEAF_STEP;
const LAST_HYPERCALL = 55;
const MOST_VCPUS = 8;

interface FoundVcpu<Domain> {
  readonly domain: Domain;
  readonly vcpu: XenVcpu;
}

type AnyDomain = PvDomain | HvmDomain;

/** The running guest of one host; a reboot replaces it. */
class Guests {
  readonly #leafBase: number;
  #domain: AnyDomain | undefined;
  #services: XenServices | undefined;
  /** What the finders answer, by vCPU; one of the two is empty. */
  #pv: readonly FoundVcpu<PvDomain>[] = [];
  #hvm: readonly FoundVcpu<HvmDomain>[] = [];

  constructor(leafBase: number) {
    this.#leafBase = leafBase;
  }

  startPv(host: PluginHost, request: BootRequest, machine: Machine): void {
    this.stop();
    const domain = new PvDomain(host, machine, request.image.elf?.class === 32 ? PV32 : PV64);
    domain.leafBase = this.#leafBase;
    domain.l1Entries = new PvL1Entries(domain);
    for (const [number, handler] of [...cpuHypercalls(domain), ...mmHypercalls(domain)]) {
      domain.hypercalls.set(number, handler);
    }
    for (const [number, handler] of mmWordHypercalls(domain)) domain.wordHypercalls.set(number, handler);
    this.#services = createServices(domain);
    domain.attach(this.#services);
    for (const vcpu of domain.vcpus.slice(1)) vcpu.cpu.offline = true;
    this.#domain = domain;
    this.#pv = domain.vcpus.map((vcpu) => ({ domain, vcpu }));
    this.#orStop(() => buildPv(domain, request));
    machine.describeBoot({
      hypervisor: 'xen',
      guestType: domain.model.wordBytes === 8 ? 'pv64' : 'pv32',
      abiVersion: XEN_VERSION,
      data: { address: domain.vcpus[0].cpu.gpr[Gpr.RSI], space: 'virtual' },
    });
  }

  /** PVH, which is started here, or PVHVM, whose start is another's business. */
  startHvm(host: PluginHost, request: BootRequest, machine: Machine): void {
    this.stop();
    const { domain, services } = startHvm(host, machine, this.#leafBase);
    this.#services = services;
    this.#domain = domain;
    this.#hvm = domain.vcpus.map((vcpu) => ({ domain, vcpu }));
    const base = { hypervisor: 'xen', abiVersion: XEN_VERSION };
    if (request.entry.plugin !== 'xen') {
      machine.describeBoot({ ...base, guestType: 'hvm' });
      return;
    }
    const infoAt = this.#orStop(() => startPvh(domain, request));
    machine.describeBoot({ ...base, guestType: 'pvh', data: { address: BigInt(infoAt), space: 'physical' } });
  }

  #orStop<Result>(run: () => Result): Result {
    try {
      return run();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop(): void {
    const domain = this.#domain;
    this.#domain = undefined;
    this.#services = undefined;
    this.#pv = [];
    this.#hvm = [];
    if (domain === undefined) return;
    domain.ended = true;
    domain.services.stopped();
  }

  /** Ask to see what a guest of this kind has exits for, and no more: what nobody asks about need not leave guest code. */
  tap(host: PluginHost, kind: 'pv' | 'hvm'): void {
    if (this.#tapped.has(kind)) return;
    this.#tapped.add(kind);
    if (kind === 'hvm') {
      tapHvmExits(host, (cpu) => this.findHvm(cpu));
      return;
    }
    tapExits(host, (cpu) => this.findPv(cpu), {
      call: (domain, vcpu, number, args) =>
        dispatchHypercall({ domain, vcpu, wordBytes: domain.shared.wordBytes }, number, args),
      callWords: (domain, vcpu, number, words) =>
        dispatchWords({ domain, vcpu, wordBytes: domain.shared.wordBytes }, number, words, 0),
    });
  }
  readonly #tapped = new Set<'pv' | 'hvm'>();

  /** False: there is no guest to ask. */
  requestPoweroff(): boolean {
    this.#services?.requestShutdown('poweroff');
    return this.#services !== undefined;
  }

  /** What the guest has of Xen, beside what the host sees. */
  uses(): readonly string[] {
    const domain = this.#domain;
    if (domain === undefined) return [];
    const page = domain.kind === 'hvm' ? domain.hypercallPageGpa : undefined;
    return [
      `shared_info at 0x${domain.sharedInfoGpa.toString(16)}`,
      ...(page === undefined ? [] : [`hypercall page at 0x${page.toString(16)}`]),
      `${this.#services?.openChannels ?? 0} event channels`,
    ];
  }

  findPv(cpu: Vcpu): FoundVcpu<PvDomain> | undefined {
    const found = this.#pv[cpu.id];
    return found?.vcpu.cpu === cpu ? found : undefined;
  }
  findHvm(cpu: Vcpu): FoundVcpu<HvmDomain> | undefined {
    const found = this.#hvm[cpu.id];
    return found?.vcpu.cpu === cpu ? found : undefined;
  }
}

/** The leaves from 0x40000000 on, or those of the first step of 0x100 that no other interface has claimed. */
function claimLeaves(host: PluginHost): number {
  for (let base = XEN_LEAF_BASE; ; base += LEAF_STEP) {
    try {
      host.claim({ kind: 'cpuid', first: base, last: base + LEAF_STEP - 1 });
      return base;
    } catch (error) {
      if (base >= LAST_LEAF_BASE) throw error;
    }
  }
}

/** What a guest needs of the machine, by its door: PV has no chips, PVH a local APIC, PVHVM the whole PC but virtio. */
function configure(platform: PlatformDefinition): void {
  const { entry, chips } = platform;
  if (entry.plugin === 'xen' && entry.name === Door.PV) {
    platform.overheadBytes += overheadBytes(platform.memoryBytes, platform.vcpus);
    platform.mostVcpus = MOST_VCPUS;
    platform.direct('syscall', buildSystemCall);
    platform.direct('iret', buildInterruptReturn);
    platform.direct('sysenter', buildSysenter32);
    platform.direct('pageFault', buildPageFault);
    platform.direct('softwareInterrupt', buildHypercall32);
    platform.direct('in', buildInput);
    return;
  }
  if (entry.plugin === 'xen') {
    chips.add('localApic');
    platform.mostVcpus = MOST_VCPUS;
    platform.roomForOps = true;
  } else if (entry.plugin !== CORE) return;
  platform.overheadBytes += HVM_OVERHEAD_BYTES;
  // Xen's own drivers serve the disks; two drivers for one disk would be one too many.
  chips.delete('virtio');
}

function boot(guests: Guests, host: PluginHost, request: BootRequest, machine: Machine): true | undefined {
  const { name, plugin } = request.entry;
  if (plugin === 'xen' && name === Door.PV) {
    guests.tap(host, 'pv');
    guests.startPv(host, request, machine);
  } else if (plugin === 'xen' || plugin === CORE) {
    guests.tap(host, 'hvm');
    guests.startHvm(host, request, machine);
  }
  return plugin === 'xen' ? true : undefined;
}

/** Xen: PV, 64-bit and 32-bit PAE; PVH; PVHVM through the native doors. */
export const xenPlugin: Plugin = {
  name: 'xen',
  version: '0.1.0',
  api: '^1.11',
  options: {},
  apply(host) {
    const leafBase = claimLeaves(host);
    const guests = new Guests(leafBase);
    host.claim({ kind: 'msr', first: leafBase, last: leafBase });
    host.claim({ kind: 'hypercall', abi: 'xen', first: 0, last: LAST_HYPERCALL });
    host.hooks.findEntries.tap('xen', findXenEntries);
    host.hooks.configure.tap('xen', configure);
    host.hooks.boot.tap('xen', (request, machine) => boot(guests, host, request, machine));
    host.hooks.beforeEntry.tap('xen', (cpu) => {
      const pv = guests.findPv(cpu);
      if (pv !== undefined) {
        onBeforeEntry(pv.domain, pv.vcpu);
        return;
      }
      const hvm = guests.findHvm(cpu);
      if (hvm !== undefined) onHvmBeforeEntry(hvm.domain, hvm.vcpu);
    });
    host.hooks.requestPoweroff.tap('xen', () => guests.requestPoweroff() || undefined);
    host.hooks.shutdown.tap('xen', () => guests.stop());
    host.hooks.inUse.tap('xen', () => guests.uses());
  },
};

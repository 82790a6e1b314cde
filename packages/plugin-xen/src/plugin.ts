import {
  type BootRequest,
  type Machine,
  type Plugin,
  type PluginHost,
  PolyvisorError,
  type Vcpu,
} from '@polyvisor/plugin-api';
import { PV32, PV64 } from './abi/model.ts';
import { buildPv } from './builder/build.ts';
import { cpuHypercalls } from './cpu/calls.ts';
import { XEN_LEAF_BASE } from './cpu/cpuid.ts';
import { onBeforeEntry, tapExits } from './cpu/exits.ts';
import type { XenVcpu } from './domain.ts';
import { dispatchHypercall } from './hypercall/dispatch.ts';
import { mmHypercalls } from './mm/calls.ts';
import { overheadBytes } from './mm/hole.ts';
import { findXenEntries } from './notes/finder.ts';
import { PvDomain } from './pvDomain.ts';
import { createServices, type XenServices } from './services.ts';

const PV_ENTRY = 'pv';
const LAST_HYPERCALL = 55;

interface FoundVcpu {
  readonly domain: PvDomain;
  readonly vcpu: XenVcpu;
}

/** The running guest of one host; a reboot replaces it. */
class Guests {
  #domain: PvDomain | undefined;
  #services: XenServices | undefined;
  /** What {@link find} answers, by vCPU. */
  #found: readonly FoundVcpu[] = [];

  start(host: PluginHost, request: BootRequest, machine: Machine): void {
    this.stop();
    const domain = new PvDomain(host, machine, request.image.elf?.class === 32 ? PV32 : PV64);
    for (const [number, handler] of [...cpuHypercalls(domain), ...mmHypercalls(domain)]) {
      domain.hypercalls.set(number, handler);
    }
    this.#services = createServices(domain);
    domain.attach(this.#services);
    for (const vcpu of domain.vcpus.slice(1)) vcpu.cpu.offline = true;
    this.#domain = domain;
    this.#found = domain.vcpus.map((vcpu) => ({ domain, vcpu }));
    try {
      buildPv(domain, request);
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop(): void {
    const domain = this.#domain;
    this.#domain = undefined;
    this.#services = undefined;
    this.#found = [];
    if (domain === undefined) return;
    domain.ended = true;
    domain.services.stopped();
  }

  /** False: there is no guest to ask. */
  requestPoweroff(): boolean {
    this.#services?.requestShutdown('poweroff');
    return this.#services !== undefined;
  }

  find(cpu: Vcpu): FoundVcpu | undefined {
    const found = this.#found[cpu.id];
    return found?.vcpu.cpu === cpu ? found : undefined;
  }
}

/** Xen: PV, 64-bit and 32-bit PAE. NOT IMPLEMENTED yet: PVH, PVHVM; the entry finder names them with the reason. */
export const xenPlugin: Plugin = {
  name: 'xen',
  version: '0.1.0',
  api: '^1.0',
  options: {},
  apply(host) {
    const guests = new Guests();
    host.claim({ kind: 'cpuid', first: XEN_LEAF_BASE, last: XEN_LEAF_BASE + 0xff });
    host.claim({ kind: 'hypercall', abi: 'xen', first: 0, last: LAST_HYPERCALL });
    host.hooks.findEntries.tap('xen', findXenEntries);
    host.hooks.configure.tap('xen', (platform) => {
      platform.overheadBytes += overheadBytes(platform.memoryBytes, platform.vcpus);
    });
    host.hooks.boot.tap('xen', (request, machine) => {
      if (request.entry.plugin !== 'xen') return undefined;
      if (request.entry.name !== PV_ENTRY) {
        throw new PolyvisorError('PV4012', `entry ${request.entry.name} is NOT IMPLEMENTED yet`, 'use --entry pv');
      }
      guests.start(host, request, machine);
      return true;
    });
    tapExits(
      host,
      (cpu) => guests.find(cpu),
      (domain, vcpu, number, args) =>
        dispatchHypercall({ domain, vcpu, wordBytes: domain.shared.wordBytes }, number, args),
    );
    host.hooks.beforeEntry.tap('xen', (cpu) => {
      const found = guests.find(cpu);
      if (found !== undefined) onBeforeEntry(found.domain, found.vcpu);
    });
    host.hooks.requestPoweroff.tap('xen', () => guests.requestPoweroff() || undefined);
    host.hooks.shutdown.tap('xen', () => guests.stop());
  },
};

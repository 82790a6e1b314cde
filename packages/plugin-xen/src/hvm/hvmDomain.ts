import { type Clock, Gpr, type GuestMemory, type Machine, type PluginHost } from '@polyvisor/plugin-api';
import { SHARED_VCPU_INFO, type SharedLayout, sharedLayout, VcpuInfo } from '../abi/sharedPages.ts';
import type { WordBytes } from '../abi/struct.ts';
import type { DomainServices, HypercallHandler, XenDomain, XenVcpu } from '../domain.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { XenServices } from '../services.ts';
import { HvmParam, type HvmParams } from './params.ts';
import { Physmap, type SpecialPage } from './physmap.ts';
import { HvmUpcalls } from './upcalls.ts';
import { createHvmVcpu } from './vcpu.ts';

/** Frames for shared_info, the grant table with its status frames, and the rings. */
const HYPERVISOR_FRAMES = 96;
/** Machine memory beyond the guest's own. */
export const HVM_OVERHEAD_BYTES = HYPERVISOR_FRAMES * PAGE_BYTES;

/** One PVH or PVHVM guest on one machine. Its services are attached right after construction. */
export class HvmDomain implements XenDomain {
  readonly kind = 'hvm';
  readonly host: PluginHost;
  readonly machine: Machine;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly vcpus: readonly XenVcpu[];
  readonly mm: Physmap;
  readonly upcalls: HvmUpcalls;
  readonly params: HvmParams = new Map();
  readonly hypercalls = new Map<number, HypercallHandler>();
  readonly leafBase: number;
  readonly hypervisorStart = 0n;
  readonly sharedInfoPage: SpecialPage;
  readonly maxPages: number;
  /** A guest begins as a 64-bit one; see {@link latchWordSize}. */
  shared: SharedLayout = sharedLayout(8);
  sharedInfoGpa = 0;
  /** The last one that the guest has asked for. */
  hypercallPageGpa: number | undefined;
  vmAssist = 0;
  ended = false;
  #services: XenServices | undefined;

  constructor(host: PluginHost, machine: Machine, leafBase: number) {
    this.host = host;
    this.machine = machine;
    this.memory = machine.memory;
    this.clock = machine.clock;
    this.leafBase = leafBase;
    this.vcpus = machine.vcpus.map(createHvmVcpu);
    this.mm = new Physmap(machine);
    this.maxPages = this.mm.guestPages;
    this.upcalls = new HvmUpcalls(this);
    this.#sharedInfoMoved(this.newFrame());
    const domain = this;
    this.sharedInfoPage = {
      key: 'shared_info',
      get mfn() {
        return domain.sharedInfoGpa / PAGE_BYTES;
      },
      moved: (mfn) => this.#sharedInfoMoved(mfn),
    };
  }

  get frames(): Physmap {
    return this.mm;
  }
  get totalPages(): number {
    return this.mm.populatedPages;
  }
  get services(): DomainServices {
    return this.#attached;
  }
  get #attached(): XenServices {
    if (this.#services === undefined) throw new Error('the domain has no services yet');
    return this.#services;
  }
  attach(services: XenServices): void {
    this.#services = services;
  }

  /** A zeroed frame of the hypervisor's, of those that there are at the start. */
  newFrame(): number {
    const mfn = this.mm.allocate();
    if (mfn === undefined) throw new Error('no frame left for the hypervisor');
    return mfn;
  }

  /** A frame of the grant table, which grows to hold it; `undefined`: beyond its limit. */
  grantPage(index: number, isStatus: boolean): SpecialPage | undefined {
    const { grants } = this.#attached;
    if (!Number.isInteger(index) || index < 0) return undefined;
    if (!isStatus && !grants.grow(index + 1)) return undefined;
    const frames = isStatus ? grants.statusFrames : grants.frames;
    if (index >= frames.length) return undefined;
    return {
      key: `${isStatus ? 'status' : 'grant'}:${index}`,
      get mfn() {
        return frames[index];
      },
      moved: (mfn) => grants.frameMoved(index, mfn, isStatus),
    };
  }

  /** HVMOP_set_param, which has been allowed. */
  setParam(index: number, value: bigint, wordBytes: WordBytes): void {
    this.params.set(index, value);
    if (index !== HvmParam.CALLBACK_IRQ) return;
    this.upcalls.setCallback(value);
    this.latchWordSize(wordBytes);
  }

  /** shared_info is laid out for the mode that the guest is in when it asks for callbacks or for the hypercall page. */
  latchWordSize(wordBytes: WordBytes): void {
    if (this.shared.wordBytes === wordBytes) return;
    this.shared = sharedLayout(wordBytes);
    this.#attached.rewriteWallclock();
  }

  /** evtchn_upcall_pending of a vCPU has been set. */
  upcallRaised(vcpu: XenVcpu): void {
    this.upcalls.raised(vcpu);
  }

  /** HLT. With interrupts off nothing ever ends it: that vCPU is down, and the last one powers the domain off. */
  halted(vcpu: XenVcpu, interruptsEnabled: boolean): void {
    if (interruptsEnabled) this.#attached.halted(vcpu);
    else this.#attached.vcpuDown(vcpu);
  }

  crash(vcpu: XenVcpu, reason: string): void {
    if (this.ended) return;
    const { rip } = vcpu.cpu;
    const symbol = this.machine.symbol(rip);
    const where = `RIP 0x${rip.toString(16)}${symbol === undefined ? '' : ` (${symbol})`}`;
    this.ended = true;
    this.machine.shutdown({ kind: 'crash', message: `Xen domain crash: ${reason}; vCPU ${vcpu.id}, ${where}` });
  }

  /** The vcpu_info of vCPUs that have not registered one of their own are in it. */
  #sharedInfoMoved(mfn: number): void {
    const from = this.sharedInfoGpa;
    this.sharedInfoGpa = mfn * PAGE_BYTES;
    for (const vcpu of this.vcpus) {
      const isWithin = vcpu.vcpuInfoGpa === 0 || (vcpu.vcpuInfoGpa >= from && vcpu.vcpuInfoGpa < from + PAGE_BYTES);
      if (isWithin) vcpu.vcpuInfoGpa = this.sharedInfoGpa + SHARED_VCPU_INFO + vcpu.id * VcpuInfo.SIZE_BYTES;
    }
  }
}

/** General registers of hypercall arguments, by the caller's mode (docs/guest-guide/x86/hypercall-abi.rst). */
export const ARGUMENTS = {
  8: [Gpr.RDI, Gpr.RSI, Gpr.RDX, Gpr.R10, Gpr.R8, Gpr.R9],
  4: [Gpr.RBX, Gpr.RCX, Gpr.RDX, Gpr.RSI, Gpr.RDI, Gpr.RBP],
} as const;

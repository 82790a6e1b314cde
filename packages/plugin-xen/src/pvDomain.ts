import type { Clock, GuestMemory, Machine, PluginHost, Vcpu } from '@polyvisor/plugin-api';
import type { PvModel } from './abi/model.ts';
import { SHARED_VCPU_INFO, type SharedLayout, sharedLayout, VcpuInfo } from './abi/sharedPages.ts';
import { Cell } from './cpu/cells.ts';
import { XEN_LEAF_BASE } from './cpu/cpuid.ts';
import { descriptorsAreSafe, TRUNCATES_SEGMENTS } from './cpu/descriptorCheck.ts';
import { DirectEntry } from './cpu/directEntry.ts';
import { DirectEntry32 } from './cpu/directEntry32.ts';
import type {
  DomainServices,
  HypercallHandler,
  L1Entries,
  WordHypercallHandler,
  XenDomain,
  XenVcpu,
} from './domain.ts';
import { PAGE_BYTES } from './layout.ts';
import { DirectCalls } from './mm/directCalls.ts';
import { FrameTable } from './mm/frames.ts';
import { PvMemory } from './mm/manager.ts';

const LEGACY_VCPUS = 32;
const TRAP_VECTORS = 256;
const USER_CPL = 3;
/** DR6 and DR7 after reset (SDM vol. 3A, table 10-1). */
const DR6_RESET = 0xffff_0ff0n;
const DR7_RESET = 0x400n;
/** CR4 bits that PV guests find set by the hypervisor: DE is theirs; PAE, OSFXSR, OSXMMEXCPT are Xen's. */
const CR4_INITIAL = 0x620n;

export function createVcpu(cpu: Vcpu, model: PvModel): XenVcpu {
  const debugRegisters = new BigUint64Array(8);
  debugRegisters[6] = DR6_RESET;
  debugRegisters[7] = DR7_RESET;
  const state = {
    id: cpu.id,
    cpu,
    initialised: false,
    kernelRootMfn: 0,
    userRootMfn: 0,
    userRootStale: true,
    flushedAt: 0,
    kernelSs: 0,
    kernelRsp: 0n,
    traps: Array.from({ length: TRAP_VECTORS }, () => ({ address: 0n, cs: 0, flags: 0 })),
    callbacks: {
      event: 0n,
      eventCs: 0,
      failsafe: 0n,
      failsafeCs: 0,
      failsafeMasksEvents: false,
      syscall: 0n,
      syscallMasksEvents: false,
      syscall32: 0n,
      syscall32Cs: 0,
      syscall32MasksEvents: false,
      sysenter: 0n,
      sysenterCs: 0,
      sysenterMasksEvents: false,
      nmi: 0n,
    },
    iopl: 0,
    ioBitmapGva: 0n,
    ioBitmapPorts: 0,
    taskSwitched: false,
    cr4: CR4_INITIAL,
    debugRegisters,
    inXen: false,
    gdtFrames: [],
    gdtEntries: 0,
    ldtBase: 0n,
    ldtEntries: 0,
    ldtFrames: new Map(),
    vcpuInfoGpa: 0,
    nmiPending: false,
    nmiMasked: false,
  };
  if (model.kernelCpl === 3) {
    // Cells move with the vCPU's turns.
    const { directState } = cpu;
    directState.cells[2 * Cell.KERNEL_MODE] = 1;
    return {
      ...state,
      ring1: false,
      get kernelMode() {
        return directState.cells[2 * Cell.KERNEL_MODE] !== 0;
      },
      set kernelMode(inKernel: boolean) {
        directState.cells[2 * Cell.KERNEL_MODE] = inKernel ? 1 : 0;
      },
    };
  }
  return {
    ...state,
    ring1: true,
    get kernelMode() {
      return cpu.cpl !== USER_CPL;
    },
  };
}

/** One PV guest on one machine. Its services are attached right after construction. */
export class PvDomain implements XenDomain {
  readonly kind = 'pv';
  leafBase = XEN_LEAF_BASE;
  readonly host: PluginHost;
  readonly machine: Machine;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly vcpus: readonly XenVcpu[];
  readonly mm: PvMemory;
  readonly sharedInfoGpa: number;
  readonly shared: SharedLayout;
  readonly hypervisorStart: bigint;
  readonly model: PvModel;
  readonly hypercalls = new Map<number, HypercallHandler>();
  readonly wordHypercalls = new Map<number, WordHypercallHandler>();
  l1Entries: L1Entries | undefined;
  /** Of each vCPU. */
  readonly directEntries: readonly (DirectEntry | DirectEntry32)[];
  /** Of each vCPU. */
  readonly directCalls: readonly DirectCalls[];
  totalPages = 0;
  maxPages = 0;
  vmAssist = 0;
  /** `true` once the guest has ended: nothing more is delivered to it. */
  ended = false;
  #services: DomainServices | undefined;

  constructor(host: PluginHost, machine: Machine, model: PvModel) {
    this.model = model;
    this.shared = sharedLayout(model.wordBytes);
    this.hypervisorStart = model.hypervisorStart;
    this.host = host;
    this.machine = machine;
    this.memory = machine.memory;
    this.clock = machine.clock;
    this.vcpus = machine.vcpus.map((cpu) => createVcpu(cpu, model));
    this.directEntries = this.vcpus.map(({ ring1 }) => (ring1 ? new DirectEntry32() : new DirectEntry()));
    this.directCalls = this.vcpus.map(() => new DirectCalls());
    const frames = new FrameTable(machine.memory);
    const validate = (mfn: number) =>
      descriptorsAreSafe(machine.memory, mfn, model, (this.vmAssist & TRUNCATES_SEGMENTS) !== 0);
    this.mm = new PvMemory(machine.memory, frames, this.vcpus, validate, model);
    this.sharedInfoGpa = this.#createSharedInfo();
  }

  get frames(): PvMemory {
    return this.mm;
  }

  get services(): DomainServices {
    if (this.#services === undefined) throw new Error('the domain has no services yet');
    return this.#services;
  }

  attach(services: DomainServices): void {
    this.#services = services;
  }

  /** All zeros but the upcall masks, which start set. */
  #createSharedInfo(): number {
    const mfn = this.mm.allocate();
    if (mfn === undefined) throw new Error('no frame for shared_info');
    this.mm.share(mfn, 'read-write');
    const gpa = mfn * PAGE_BYTES;
    for (let id = 0; id < LEGACY_VCPUS; id++) {
      this.memory.write8(gpa + SHARED_VCPU_INFO + id * VcpuInfo.SIZE_BYTES + VcpuInfo.UPCALL_MASK, 1);
    }
    for (const vcpu of this.vcpus) {
      vcpu.vcpuInfoGpa = gpa + SHARED_VCPU_INFO + vcpu.id * VcpuInfo.SIZE_BYTES;
    }
    return gpa;
  }

  crash(vcpu: XenVcpu, reason: string): void {
    const { rip } = vcpu.cpu;
    const symbol = this.machine.symbol(rip);
    const where = `RIP 0x${rip.toString(16)}${symbol === undefined ? '' : ` (${symbol})`}`;
    this.ended = true;
    this.machine.shutdown({ kind: 'crash', message: `Xen domain crash: ${reason}; vCPU ${vcpu.id}, ${where}` });
  }
}

import type { Clock, GuestMemory, Machine, PluginHost, Vcpu } from '@polyvisor/plugin-api';
import type { SharedLayout } from './abi/sharedPages.ts';
import type { WordBytes } from './abi/struct.ts';

/**
 * A hypercall handler's way of saying "execution goes on where the registers now point; leave RAX alone"
 * (iret, and calls that shut the guest down).
 */
export const NO_RESULT: unique symbol = Symbol('no result in RAX');
export type HypercallResult = bigint | typeof NO_RESULT;

/**
 * Six argument registers, unsigned 64-bit: RDI RSI RDX R10 R8 R9 (or a multicall entry's args[]). Valid until the
 * handler returns.
 */
export interface HypercallArguments {
  readonly length: number;
  readonly [index: number]: bigint;
}

export interface HypercallContext {
  readonly domain: XenDomain;
  readonly vcpu: XenVcpu;
  /** The caller's word: how it passes arguments and lays out structures. */
  readonly wordBytes: WordBytes;
}

/** Answers what goes into RAX: 0 or a value, or a negative Xen errno (errno.ts). */
export type HypercallHandler = (context: HypercallContext, args: HypercallArguments) => HypercallResult;

/** The same for a 32-bit caller, whose arguments are words from `words[first]` on; for calls that come often. */
export type WordHypercallHandler = (context: HypercallContext, words: Int32Array, first: number) => number;

/** One entry of a guest's virtual IDT (public/xen.h, struct trap_info). */
export interface TrapEntry {
  address: bigint;
  cs: number;
  /** Bits 0–1: highest vDPL that may reach it with INT n; bit 2: mask events on entry. */
  flags: number;
}

/** Guest entry points registered by callback_op or set_callbacks; address 0 = none. Selectors are PV32 guests'. */
export interface GuestCallbacks {
  event: bigint;
  eventCs: number;
  failsafe: bigint;
  failsafeCs: number;
  failsafeMasksEvents: boolean;
  syscall: bigint;
  syscallMasksEvents: boolean;
  syscall32: bigint;
  syscall32Cs: number;
  syscall32MasksEvents: boolean;
  sysenter: bigint;
  sysenterCs: number;
  sysenterMasksEvents: boolean;
  nmi: bigint;
}

/** Virtual-CPU state that a PV guest set through hypercalls. The CPU's own registers are in {@link XenVcpu.cpu}. */
export interface XenVcpu {
  readonly id: number;
  readonly cpu: Vcpu;
  /** A guest on real page tables: no address is the hypervisor's, and nothing below but identity and events is used. */
  readonly isHvm?: boolean;
  /** PV32: the guest's kernel runs at CPL 1, on the page tables of user mode. Else it runs at CPL 3, on its own. */
  readonly ring1: boolean;
  /** `true`: guest kernel; `false`: guest user mode. A PV32 guest changes it by its own IRET: it follows the CPL. */
  kernelMode: boolean;
  /** Brought up at least once (start of day, or VCPUOP_initialise). */
  initialised: boolean;
  /** Machine frame of the kernel's L4 table, of a PV32 guest the L3 table that is loaded. */
  kernelRootMfn: number;
  /** Machine frame of the user L4 table; 0 = none. */
  userRootMfn: number;
  /** The user root changed since it was last loaded: load it as MOV to CR3 does, not by switching. */
  userRootStale: boolean;
  /** Flush-clock value of this vCPU's last full TLB flush. */
  flushedAt: number;
  /** Stack for bounces from user mode (stack_switch). */
  kernelSs: number;
  kernelRsp: bigint;
  readonly traps: TrapEntry[];
  readonly callbacks: GuestCallbacks;
  /** Virtual I/O privilege level, 0–3 (physdev_op set_iopl, iret with architectural_iopl). */
  iopl: number;
  /** I/O permission bitmap in guest kernel memory, and how many ports it covers (physdev_op set_iobitmap). */
  ioBitmapGva: bigint;
  ioBitmapPorts: number;
  /** Virtual CR0.TS: the next FPU instruction raises #NM (fpu_taskswitch). */
  taskSwitched: boolean;
  /** The guest's CR4, as it reads it. */
  cr4: bigint;
  /** Virtual DR0–DR7; of those that say what to watch the processor has the same. */
  readonly debugRegisters: BigUint64Array;
  /** An instruction of the guest's has led into Xen: a trap of a breakpoint that waited for its end is not the guest's. */
  inXen: boolean;
  /** Frames of the guest's GDT (set_gdt) and its size in entries. */
  gdtFrames: number[];
  gdtEntries: number;
  ldtBase: bigint;
  ldtEntries: number;
  /** LDT page number → frame mapped for the CPU. */
  readonly ldtFrames: Map<number, number>;
  /**
   * Machine address of this vCPU's struct vcpu_info: in shared_info, or where
   * VCPUOP_register_vcpu_info moved it. Fields at VcpuInfo and {@link SharedLayout} (abi/sharedPages.ts).
   */
  vcpuInfoGpa: number;
  /** A virtual NMI is waiting (VCPUOP_send_nmi). */
  nmiPending: boolean;
  nmiMasked: boolean;
}

/** Machine frames that belong to the hypervisor, taken from the overhead memory. */
export interface HypervisorFrames {
  /** A zeroed frame; `undefined` when the overhead memory is used up. */
  allocate(): number | undefined;
  free(mfn: number): void;
  readonly freeCount: number;
}

/** What other rooms may ask of memory management. All arguments may be hostile. */
export interface MemoryManager {
  /** A live frame that this guest owns (or shares: shared_info, grant frames). */
  isGuestFrame(mfn: number): boolean;
  /** Take a writable type reference, so that the frame cannot become a page table; `false`: refused. */
  takeWritable(mfn: number): boolean;
  releaseWritable(mfn: number): void;
  /** Let the guest map this hypervisor frame, read-write or read-only (shared_info, grant table frames). */
  share(mfn: number, access: 'read-write' | 'read-only'): void;
  /** Take a shared frame away again; `false`: the guest has it mapped, and nothing has changed. */
  takeBack(mfn: number): boolean;
  /** Machine-to-physical entry; `undefined` when the frame has none. */
  pfnOf(mfn: number): number | undefined;
}

/** L1 entries of a guest whose page tables are checked. Entries are numbered as those of memory: machine address / 8. */
export interface L1Entries {
  /** The entry that maps an address, or that is at a machine address; `undefined`: no table is there. */
  find(vcpu: XenVcpu, address: bigint, by: 'gva' | 'machineAddress'): number | undefined;
  read(entry: number): { readonly lo: number; readonly hi: number };
  /** As the guest could do it by mmu_update, and flush; `false`: refused, and nothing has changed. */
  replace(entry: number, lo: number, hi: number): boolean;
  /** Put an entry in the place of another, whose page is let go, and leave an empty one. */
  move(from: number, to: number): void;
  /** A reference to a frame of the guest's, and to its writable type. */
  hold(mfn: number, write: boolean): boolean;
  release(mfn: number, write: boolean): void;
}

/** Parts that the event, time, scheduling, grant, store and console rooms provide. */
export interface DomainServices {
  /** `true`: an upcall is pending and not masked for this vCPU. */
  upcallPending(vcpu: XenVcpu): boolean;
  /** Before each entry into guest code: run what is due (timers, singleshots), wake, refresh time areas. */
  beforeEntry(vcpu: XenVcpu): void;
  /** Ports of the start-of-day rings; called once, before start_info is written. */
  allocateStartOfDayPorts(): { readonly storePort: number; readonly consolePort: number };
  /** The guest is built: ring pages and registers are in place. */
  started(rings: { readonly storeMfn: number; readonly consoleMfn: number | undefined }): void;
  /** The domain has ended: cancel timers, drop listeners. */
  stopped(): void;
}

/** One guest. Machine addresses are numbers (bytes), frames are `mfn = gpa / 4096`. */
export interface XenDomain {
  /** `pv`: paravirtualized page tables; `hvm`: real ones (PVH and PVHVM). */
  readonly kind: 'pv' | 'hvm';
  /** First of Xen's CPUID leaves for this guest, and the MSR of the hypercall page. */
  readonly leafBase: number;
  readonly host: PluginHost;
  readonly machine: Machine;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly vcpus: readonly XenVcpu[];
  readonly frames: HypervisorFrames;
  readonly mm: MemoryManager;
  /** `undefined`: the guest is on page tables of its own. */
  readonly l1Entries?: L1Entries | undefined;
  readonly sharedInfoGpa: number;
  /** How shared_info and vcpu_info are laid out for this guest. */
  readonly shared: SharedLayout;
  /** Where the hypervisor's part of the guest's address space begins (XENVER_platform_parameters); 0: nowhere. */
  readonly hypervisorStart: bigint;
  /** Pages the guest has now, and the most it may have. */
  totalPages: number;
  maxPages: number;
  /** VMASST_TYPE_* bits 0–5 (vm_assist). */
  vmAssist: number;
  /** Every implemented call by number; rooms add theirs, the dispatcher answers -ENOSYS for the rest. */
  readonly hypercalls: Map<number, HypercallHandler>;
  /** Some of them, for 32-bit callers. */
  readonly wordHypercalls?: ReadonlyMap<number, WordHypercallHandler>;
  readonly services: DomainServices;
  /** A vCPU's evtchn_upcall_pending has been set, where that is not seen by looking before each entry. */
  upcallRaised?(vcpu: XenVcpu): void;
  /** End the guest as crashed, with a reason a person can read. */
  crash(vcpu: XenVcpu, reason: string): void;
}

/**
 * What a plug-in sees of a virtual CPU.
 *
 * 64-bit quantities are `bigint` here: this is the comfortable side of the fence. Code on a
 * hot path reads the same state as 32-bit halves: {@link Vcpu.gprHalves} and what follows it.
 */

import type { Assist, ControlRegisterLimits, EventGate, WorldRegisters } from './assist.ts';
import type { DirectState } from './direct.ts';
import type { DeliveredEvent } from './exit.ts';

/** Index into {@link Vcpu.gpr}: the encoding order of the manuals (SDM vol. 2A, table 2-2). */
// biome-ignore format: a table
export const Gpr = {
  RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7,
  R8: 8, R9: 9, R10: 10, R11: 11, R12: 12, R13: 13, R14: 14, R15: 15,
} as const;

/** Index of a segment register: the encoding order of the manuals (SDM vol. 2A, table 2-8). */
export const SegmentIndex = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const;

/** A segment register with its hidden part (SDM vol. 3A, 3.4.3). */
export interface Segment {
  readonly selector: number;
  readonly base: bigint;
  /** Byte-granular limit, after the G bit has been applied. */
  readonly limit: number;
  /** Access rights as in a VMCS: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. */
  readonly accessRights: number;
}

export type DebugRegister = 0 | 1 | 2 | 3 | 6 | 7;

export type Access = 'read' | 'write' | 'execute';

/** A page fault that a guest access would raise. `errorCode` as in SDM vol. 3A, 4.7. */
export interface PageFault {
  readonly gva: bigint;
  readonly errorCode: number;
}

export type Translation =
  | { readonly ok: true; readonly gpa: number }
  | { readonly ok: false; readonly fault: PageFault };

export type ReadResult =
  | { readonly ok: true; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly fault: PageFault };

export type WriteResult = { readonly ok: true } | { readonly ok: false; readonly fault: PageFault };

/** Whether a virtual access is checked as the current CPL would, or as the hypervisor's own. */
export interface VirtualAccessOptions {
  /** `supervisor`: U/S is not checked; `user`: as CPL 3; default: as the vCPU's CPL. */
  readonly as?: 'user' | 'supervisor';
}

export interface Vcpu {
  readonly id: number;
  /** Live view of the general registers, indexed by {@link Gpr}; of several vCPUs, until the next turn of one of them. */
  readonly gpr: BigUint64Array;
  rip: bigint;
  /** The whole RFLAGS register, composed from the engine's lazy flags. */
  rflags: bigint;
  cr0: bigint;
  cr2: bigint;
  /**
   * Writing CR3 changes the page-table root as MOV to CR3 does: non-global translations of that root are dropped. With CR4.PCIDE
   * bit 63 of what is written keeps them, and does not become part of it.
   */
  cr3: bigint;
  cr4: bigint;
  efer: bigint;
  /** Current privilege level. Follows SS.DPL; setting it re-tags the TLB. */
  cpl: number;
  /** KernelGSbase (IA32_KERNEL_GS_BASE), swapped by SWAPGS. */
  kernelGsBase: bigint;
  /** The time-stamp counter as RDTSC reads it: the clock's, moved by what the guest has written. 64 bits. Since API 1.6. */
  readonly tsc: bigint;
  /** x87, SSE and MXCSR state in the 512-byte FXSAVE64 layout (SDM vol. 1, 10.5.1). */
  saveFpu(): Uint8Array;
  restoreFpu(image: Uint8Array): void;

  segment(index: number): Segment;
  setSegment(index: number, segment: Segment): void;
  /** GDTR/IDTR/LDTR/TR as the CPU holds them. */
  readonly tables: DescriptorTables;
  /**
   * A GDT that a hypervisor keeps outside of the guest's memory: two 32-bit words a descriptor, as in memory. While it is
   * set, whatever looks up a selector in the GDT looks here; GDTR's limit still counts. At most 32 descriptors. They are copied:
   * what is read here is where they are kept, and can be changed. Since API 1.2.
   */
  hiddenGdt: Int32Array | undefined;

  /**
   * Switch to another page-table root and keep the translations both roots have in the TLB:
   * for a hypervisor that toggles between known roots (Xen PV64 kernel/user). Anything that
   * a guest may rely on to flush must use {@link cr3} or {@link flushTlb}.
   */
  switchRoot(cr3: bigint): void;
  /** What {@link DirectCode} of this vCPU's machine reads and writes (since 1.2). */
  readonly directState: DirectState;
  /** Drop cached translations: of everything, or of one page in every address space. */
  flushTlb(gva?: bigint): void;

  /** Translate without side effects on A/D bits; `gpa` is a machine address of the emulated PC. */
  translate(gva: bigint, access: Access, options?: VirtualAccessOptions): Translation;
  /** Read `sizeBytes` at `gva`; nothing is read past the first faulting byte. */
  read(gva: bigint, sizeBytes: number, options?: VirtualAccessOptions): ReadResult;
  /** Write all of `bytes` at `gva`, or nothing if any page of it faults. */
  write(gva: bigint, bytes: Uint8Array, options?: VirtualAccessOptions): WriteResult;

  // The same state for hot paths: numbers of 32 bits instead of bigints, and nothing that allocates.

  /** {@link gpr} in halves: low half of register `i` at `2 * i`, high half at `2 * i + 1`. Live. */
  readonly gprHalves: Int32Array;
  /** {@link rip} in halves, low half first; live, and only to be read. */
  readonly ripHalves: Int32Array;
  /** Write {@link rip}. */
  setRip(low: number, high: number): void;
  /** {@link rflags}, whose high half is reserved and 0 (SDM vol. 1, 3.4.3). */
  eflags: number;
  /** Selector and access rights of {@link segment}. */
  selector(index: number): number;
  accessRights(index: number): number;
  /** Exchange the base of GS with {@link kernelGsBase}, as SWAPGS does. */
  swapGs(): void;
  /**
   * Copy `count` 32-bit words at a virtual address into the start of `into`. As {@link read}, but translations that the
   * TLB holds are used, as by guest code. False: a page cannot be accessed; `into` may have been written in part.
   */
  readWords(gvaLow: number, gvaHigh: number, into: Int32Array, count: number, options?: VirtualAccessOptions): boolean;
  /** Copy the first `count` words of `from` to a virtual address: all, or none and false. TLB as {@link readWords}. */
  writeWords(gvaLow: number, gvaHigh: number, from: Int32Array, count: number, options?: VirtualAccessOptions): boolean;

  /**
   * DR0 to DR3, DR6 or DR7 of the processor, with no regard to CPL, CR4.DE or DR7.GD. While DR7 enables a breakpoint the
   * guest runs instruction by instruction; what a #DB is about stands in DR6 before plug-ins see it. Since API 1.2.
   */
  debugRegister(index: DebugRegister): bigint;
  setDebugRegister(index: DebugRegister, value: bigint): void;

  /**
   * Deliver `vector` through the guest's IDT (or the owning plug-in's own delivery) before the next instruction. `source` (since 1.9):
   * an exception by default; what is not one may be delivered as it comes from its source.
   */
  inject(vector: number, errorCode?: number, source?: DeliveredEvent['source']): void;
  /** The event that {@link inject} has left to be delivered: it is taken back. Since API 1.9. */
  takeInjected(): DeliveredEvent | undefined;
  /** STI or a load of SS lets one more instruction come before an interrupt. Since API 1.9. */
  interruptShadow: boolean;
  /** It was a load of SS: debug exceptions wait, too. Since API 1.10. */
  debugShadow: boolean;
  /** Of the instruction that has led to an exit: STI or a load of SS has come before it, and interrupts have waited for its end. Since API 1.10. */
  readonly instructionShadow: 'sti' | 'stackSegment' | undefined;
  /** What the latest #DB is about, by the bits of DR6, and what that was before. Since API 1.10. */
  readonly latestDebug: { readonly conditions: number; readonly dr6: bigint };
  /** Bits of DR6 of traps that wait for the end of the instruction behind a load of SS. Since API 1.10. */
  heldTraps: number;
  /** From the delivery of an NMI to the next IRET no other is delivered. Since API 1.10. */
  nmiBlocked: boolean;
  /** The interrupt that the vCPU takes, by its vector; the chips have it in service then. Since API 1.10. */
  acknowledgeInterrupt(): number;
  /** The NMI that the vCPU takes is under way, and others are blocked. Since API 1.10. */
  acknowledgeNmi(): void;
  /** A model-specific register as RDMSR finds it; `undefined`: there is none. Since API 1.9. */
  readMsr(index: number): bigint | undefined;
  /** As WRMSR; `false`: it does not take that, or there is none. Since API 1.9. */
  writeMsr(index: number, value: bigint): boolean;
  /** As MOV to CRn at CPL 0 with this value; `false`: #GP(0), and nothing has changed. Since API 1.10. */
  writeControlRegister(cr: 0 | 3 | 4 | 8, value: bigint): boolean;
  /** Bits of CR4 that the processor has. Since API 1.10. */
  readonly cr4Bits: bigint;
  /** Since API 1.10. */
  controlRegisterLimits: ControlRegisterLimits | undefined;
  /** PAE paging: the page-directory-pointer-table entries as the processor holds them. Since API 1.10. */
  readonly pdptes: readonly bigint[];
  /** Whether the vCPU runs a guest of its guest's, and how addresses are translated for it. Since API 1.9. */
  readonly assist: Assist | undefined;
  /**
   * Begin to run a guest of the guest's, or end it (`undefined`): these registers change at once, and no translation is dropped. All other
   * state is the plug-in's to exchange. Since API 1.9.
   */
  switchWorld(assist: Assist | undefined, registers: WorldRegisters): void;
  /** Which events of the chips the vCPU takes, and who; `undefined`: RFLAGS.IF decides, and its IDT has them. Since API 1.9. */
  eventGate: EventGate | undefined;
  /**
   * Access device memory as this processor does: its own local APIC, then the bus. What nobody owns reads as all ones.
   * 1, 2 or 4 bytes at an address outside of RAM; unsigned. Since API 1.2.
   */
  readDevice(gpa: number, sizeBytes: 1 | 2 | 4): number;
  writeDevice(gpa: number, sizeBytes: 1 | 2 | 4, value: number): void;
  /** Address of the local APIC's registers; `undefined`: there is none, or it is off or in x2APIC mode. Since API 1.2. */
  readonly localApicGpa: number | undefined;
  /** What the local APIC's timer does when it expires: the interrupt of LVT entry "timer", if not masked. Since API 1.2. */
  raiseLocalTimerInterrupt(): void;
  /**
   * Vector of an interrupt that the owning plug-in has pending, or `undefined`: asked for whenever one could be taken,
   * and taken before those of the chips. It lets RFLAGS.IF and the shadow of STI decide, and ends HLT, as any interrupt
   * does; {@link kick} makes a vCPU that is in guest code look (since 1.2).
   */
  externalInterrupt: (() => number | undefined) | undefined;
  /** An edge-triggered interrupt to the vCPU's local APIC, as a message on the bus is; `false`: not accepted (since 1.2). */
  requestInterrupt(vector: number): boolean;
  /**
   * Ask the engine to leave guest code where control next goes back, out of its page or indirectly, so that pending events
   * are looked at.
   */
  kick(): void;
  /** `true`: the vCPU executes nothing until {@link wake}. Set by HLT and by a plug-in's own blocking call. */
  blocked: boolean;
  /** `true`: not started yet, or taken down; only the owning plug-in brings it up. */
  offline: boolean;
  wake(): void;
  /**
   * Called once, when a SIPI next starts this vCPU, with it at the beginning of that page in real-address mode: a plug-in may give it other
   * registers to begin with, or take it {@link offline} again. Since API 1.4.
   */
  atStartup: (() => void) | undefined;
}

export interface DescriptorTable {
  base: bigint;
  limit: number;
}

export interface DescriptorTables {
  readonly gdtr: DescriptorTable;
  readonly idtr: DescriptorTable;
  ldtr: Segment;
  tr: Segment;
}

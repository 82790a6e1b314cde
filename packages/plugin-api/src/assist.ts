/**
 * What hardware assistance has beside exits, for a plug-in that runs a guest of the guest's on a vCPU: another level of address
 * translation, and a say in which events the vCPU takes. Since API 1.9.
 */

import type { Exit, ExitAnswer, ExitKind, SecondLevelAccess } from './exit.ts';

/** The second level of translation: from what the guest's page tables answer to the machine's physical addresses. */
export interface SecondLevel {
  /**
   * Which of the machine's pages a guest-physical page is, both by their numbers: addresses divided by 4,096. Negative: it may not be
   * accessed so, and an exit `secondLevelFault` follows. What it answers is kept in the TLB until {@link Vcpu.flushTlb}.
   */
  translate(page: number, access: SecondLevelAccess): number;
}

export type PhysicalEvent = 'interrupt' | 'nmi';
/** What a gate is asked about: `external` is what {@link Vcpu.externalInterrupt} has pending, `window` what {@link EventGate.window} opens. */
export type GatedEvent = PhysicalEvent | 'external' | 'window';

/** Who takes what the chips send to a vCPU, and when. */
export interface EventGate {
  /** Whether the event is let in at present; `undefined`: RFLAGS.IF, or the NMI before, decides. */
  lets(event: PhysicalEvent): boolean | undefined;
  /** An event that is let in; it has not been acknowledged. `true`: it does not go to the guest's IDT. A `window` is to be taken. */
  takes(event: GatedEvent): boolean;
  /**
   * Whether the plug-in wants the vCPU where it would take an event. `open`: it does so before the next instruction, ahead of what the chips
   * have sent; `waits`: it will, once RFLAGS.IF is set or IRET unblocks NMIs. Since API 1.10.
   */
  window?(): 'open' | 'waits' | undefined;
}

/** What a plug-in makes of a vCPU while it runs a guest of the guest's on it. */
export interface Assist {
  /** Translations are kept apart by this number, 0 to 255; 0 is the guest's own. */
  readonly addressSpace: number;
  readonly secondLevel: SecondLevel | undefined;
  /** What RDTSC reads is so many ticks more. */
  readonly tscOffset: bigint;
  /**
   * Asked first of every exit of the vCPU; `pass`: it goes on to the hooks, as if nothing were different.
   */
  exit(exit: Exit): ExitAnswer;
  /**
   * Whether exits of this kind matter to {@link exit}: where they do not, generated code carries out by itself what it can. Asked when the
   * world begins, for all of it.
   */
  wants(kind: ExitKind): boolean;
}

/** What decides how a vCPU translates addresses. */
export interface WorldRegisters {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly cpl: number;
  /** PAE paging: the four page-directory-pointer-table entries; without them they are read where CR3 points. Since API 1.10. */
  readonly pdptes?: readonly bigint[];
}

/** What MOV to a control register is held to beyond the processor's own rules. */
export interface ControlRegisterLimits {
  /** Bits of CR0 and CR4 that must not be cleared. */
  readonly cr0Ones: bigint;
  readonly cr4Ones: bigint;
  /** Bits of CR4 that there are beside {@link Vcpu.cr4Bits}. */
  readonly cr4More: bigint;
}

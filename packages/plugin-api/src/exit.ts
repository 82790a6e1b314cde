/**
 * An exit is data: why a vCPU stopped executing guest code, and what a first-level handler needs
 * to decide. `instructionLength` lets a handler step over the instruction; for faults RIP is at
 * the faulting instruction (SDM vol. 3A, 6.5).
 */
interface InstructionExit {
  /** Length in bytes; RIP is still at the instruction. A `handled` answer steps over it unless the handler moved RIP. */
  readonly instructionLength: number;
}

/**
 * What a second level of address translation is asked for; `table`: an entry of the guest's page tables, which is read and may be written
 * (accessed and dirty bits); `tableWrite` (since 1.10): it is written, for which `table` has been asked before.
 */
export type SecondLevelAccess = 'read' | 'write' | 'execute' | 'table' | 'tableWrite';

/** AMD APM vol. 3, chapter 4; since API 1.10 those of SDM vol. 3C, chapter 31, too, but VMCALL, which is a `hypercall`. */
// biome-ignore format: a table
export type VirtualizationInstruction =
  | 'vmrun' | 'vmload' | 'vmsave' | 'stgi' | 'clgi' | 'skinit' | 'invlpga'
  | 'vmxon' | 'vmxoff' | 'vmclear' | 'vmptrld' | 'vmptrst' | 'vmread' | 'vmwrite' | 'vmlaunch' | 'vmresume' | 'invept' | 'invvpid';

/** What VMREAD, VMWRITE, INVEPT and INVVPID work on; registers by their number, as in `Gpr`. */
export interface VirtualizationOperands {
  /** The operand that can be memory; `undefined`: it is, at the exit's `address`. */
  readonly rm: number | undefined;
  /** The one that is a register always: number of a field, or type of an invalidation. */
  readonly reg: number;
  readonly sizeBytes: 4 | 8;
}

/** An event whose delivery came to nothing. */
export interface DeliveredEvent {
  readonly source: 'interrupt' | 'nmi' | 'exception' | 'softwareInterrupt';
  readonly vector: number;
  readonly errorCode: number | undefined;
}

// biome-ignore format: a table
export type Exit =
  /**
   * An exception about to be delivered. `software`: INT3/INTO; RIP is then after the instruction. `during` (since 1.9): it was met on the way to the
   * handler of another event; told only of vCPUs that have {@link Vcpu.assist}.
   */
  | { readonly kind: 'exception'; readonly vector: number; readonly errorCode?: number; readonly cr2?: bigint; readonly software?: boolean; readonly during?: DeliveredEvent }
  /**
   * What {@link SecondLevel} refused: RIP is at the instruction that wanted the access. `gva` (since 1.10): which linear address was being
   * translated, if one was. To be `handled`. Since API 1.9.
   */
  | { readonly kind: 'secondLevelFault'; readonly gpa: number; readonly access: SecondLevelAccess; readonly gva?: bigint; readonly during?: DeliveredEvent }
  /** INT n. */
  | ({ readonly kind: 'softwareInterrupt'; readonly vector: number } & InstructionExit)
  | ({ readonly kind: 'syscall' } & InstructionExit)
  | ({ readonly kind: 'sysret'; readonly operandSize: 32 | 64 } & InstructionExit)
  | ({ readonly kind: 'sysenter' } & InstructionExit)
  | ({ readonly kind: 'sysexit'; readonly operandSize: 32 | 64 } & InstructionExit)
  | ({ readonly kind: 'iret'; readonly operandSize: 16 | 32 | 64 } & InstructionExit)
  | ({ readonly kind: 'hypercall'; readonly instruction: 'vmcall' | 'vmmcall' } & InstructionExit)
  /**
   * An instruction by which a hypervisor uses hardware assistance: #UD unless a plug-in answers. `address`: rAX, where it takes an address
   * there; linear address of an operand in memory, which has not been accessed yet. Since API 1.9; `operands` since 1.10.
   */
  | ({ readonly kind: 'virtualization'; readonly instruction: VirtualizationInstruction; readonly address: bigint; readonly operands?: VirtualizationOperands } & InstructionExit)
  | ({ readonly kind: 'io'; readonly port: number; readonly sizeBytes: 1 | 2 | 4; readonly direction: 'in' | 'out'; readonly string: boolean; readonly rep: boolean; readonly addressSize: 16 | 32 | 64; readonly segment: number } & InstructionExit)
  /** An access beyond RAM, told in the middle of an instruction: RIP may be behind, and the access takes its course whatever the answer. Since API 1.2. */
  | { readonly kind: 'mmio'; readonly gpa: number; readonly sizeBytes: number; readonly write: boolean }
  | ({ readonly kind: 'cpuid' } & InstructionExit)
  | ({ readonly kind: 'rdmsr' } & InstructionExit)
  | ({ readonly kind: 'wrmsr' } & InstructionExit)
  | ({ readonly kind: 'readCr'; readonly cr: number; readonly gpr: number } & InstructionExit)
  | ({ readonly kind: 'writeCr'; readonly cr: number; readonly gpr: number } & InstructionExit)
  | ({ readonly kind: 'clts' } & InstructionExit)
  | ({ readonly kind: 'lmsw'; readonly value: number } & InstructionExit)
  | ({ readonly kind: 'readDr'; readonly dr: number; readonly gpr: number } & InstructionExit)
  | ({ readonly kind: 'writeDr'; readonly dr: number; readonly gpr: number } & InstructionExit)
  | ({ readonly kind: 'loadTable'; readonly table: 'gdt' | 'idt'; readonly base: bigint; readonly limit: number } & InstructionExit)
  | ({ readonly kind: 'loadSelector'; readonly register: 'ldt' | 'tr'; readonly selector: number } & InstructionExit)
  | ({ readonly kind: 'invlpg'; readonly gva: bigint } & InstructionExit)
  | ({ readonly kind: 'invpcid' | 'wbinvd' | 'invd' | 'rdpmc' | 'swapgs' | 'xsetbv' | 'monitor' | 'mwait' } & InstructionExit)
  /** These leave guest code for a plug-in that asks alone; RDTSC after the check of CR4.TSD. Since API 1.9. */
  | ({ readonly kind: 'rdtsc'; readonly withProcessor: boolean } & InstructionExit)
  | ({ readonly kind: 'pause' } & InstructionExit)
  /** #UD unless a plug-in answers: there is no system management mode. Since API 1.9. */
  | ({ readonly kind: 'rsm' } & InstructionExit)
  | ({ readonly kind: 'cli' | 'sti' } & InstructionExit)
  | ({ readonly kind: 'hlt' } & InstructionExit)
  | { readonly kind: 'interruptWindow' }
  | { readonly kind: 'budget' }
  | { readonly kind: 'shutdown'; readonly reason: 'tripleFault' };

export type ExitKind = Exit['kind'];

/** An exit of one kind. */
export type ExitOf<K extends ExitKind> = Extract<Exit, { kind: K }>;

/**
 * A first-level handler's answer.
 * - `pass`: not mine; ask the next plug-in, then the common handler, then native behaviour.
 * - `handled`: done; RIP has been left where execution goes on (instruction exits: stepped over if untouched).
 * - `common`: use the machine's common handler even at a CPL at which the CPU would fault.
 * - `fault`: raise this exception at the current instruction instead.
 */
export type ExitAnswer =
  | 'pass'
  | 'handled'
  | 'common'
  | { readonly fault: number; readonly errorCode?: number; readonly cr2?: bigint };

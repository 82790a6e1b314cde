/**
 * An exit is data: why a vCPU stopped executing guest code, and what a first-level handler needs
 * to decide. `instructionLength` lets a handler step over the instruction; for faults RIP is at
 * the faulting instruction (SDM vol. 3A, 6.5).
 */
interface InstructionExit {
  /** Length in bytes; RIP is still at the instruction. A `handled` answer steps over it unless the handler moved RIP. */
  readonly instructionLength: number;
}

// biome-ignore format: a table
export type Exit =
  /** An exception about to be delivered. `software`: INT3/INTO; RIP is then after the instruction. */
  | { readonly kind: 'exception'; readonly vector: number; readonly errorCode?: number; readonly cr2?: bigint; readonly software?: boolean }
  /** INT n. */
  | ({ readonly kind: 'softwareInterrupt'; readonly vector: number } & InstructionExit)
  | ({ readonly kind: 'syscall' } & InstructionExit)
  | ({ readonly kind: 'sysret'; readonly operandSize: 32 | 64 } & InstructionExit)
  | ({ readonly kind: 'sysenter' } & InstructionExit)
  | ({ readonly kind: 'sysexit'; readonly operandSize: 32 | 64 } & InstructionExit)
  | ({ readonly kind: 'iret'; readonly operandSize: 16 | 32 | 64 } & InstructionExit)
  | ({ readonly kind: 'hypercall'; readonly instruction: 'vmcall' | 'vmmcall' } & InstructionExit)
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

/**
 * Modules of paravirt operations: implementations for the slots of a guest kernel's paravirt table, which are put into it
 * while it runs. Since API 1.2.
 */
import type { ExitKind } from './exit.ts';
import type { GuestMemory, Machine } from './plugin.ts';
import type { Vcpu } from './vcpu.ts';

/** Kernels that a module is for; without a number any word size. */
export type OpsGuest = 'linux' | 'linux32' | 'linux64';

/** What every ops module says of itself. */
export interface OpsManifest {
  /** Lower-case word; a module of the same name is another version of it. */
  readonly name: string;
  /** The module's own version (semver). */
  readonly version: string;
  /** Range of API versions it works with (semver range): `^1.2`. */
  readonly api: string;
  readonly guest: OpsGuest;
}

/** Where a member of one of the kernel's structs lies. */
export interface KernelMember {
  /** From the start of the struct. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** One call of an operation that TypeScript carries out. */
export interface OpContext {
  /** `mmu.write_cr3`. */
  readonly slot: string;
  /** At the operation's entry: RSP points at the return address. */
  readonly vcpu: Vcpu;
  readonly memory: GuestMemory;
  readonly machine: Machine;
  /**
   * An integer argument by the kernel's convention: RDI, RSI, RDX, RCX, R8, R9 (System V AMD64 ABI, 3.2.3), or with 32
   * bits EAX, EDX, ECX, then the stack (regparm(3)).
   */
  arg(index: number): bigint;
  /**
   * A member of a struct, as the types that this kernel carries (BTF) lay it out; also one of a struct without a name in it.
   * `undefined`: the kernel carries no types, or these have no such struct or member. NOT IMPLEMENTED: bit-fields, for which
   * it is `undefined` too. Since API 1.5.
   */
  member(struct: string, name: string): KernelMember | undefined;
  /**
   * Guest-physical address of the operation's own memory, in whose `trap` this is: {@link CodeOp.dataBytes}. Since API 1.6.
   * @throws RangeError for an operation that has none
   */
  readonly data: number;
}

/**
 * What is to become of the call.
 * - a number: it returns that (RAX; for an operation without a result: nothing). Of a result of 64 bits in 32-bit code that is
 *   the lower half; the function leaves the upper one in EDX;
 * - `undefined`: it returns, and RAX is what the function has left in it;
 * - `previous`: what the slot had before goes on with the registers as they are and returns to the caller;
 * - `native`: the kernel's own implementation does;
 * - `{ previous }`: that is called, then the function with its result; what it answers is returned, or, if `undefined`, that
 *   result.
 */
export type OpAnswer =
  | bigint
  | undefined
  | 'previous'
  | 'native'
  | { readonly previous: (result: bigint, context: OpContext) => bigint | undefined };

/**
 * An operation in TypeScript. The caller's registers are kept but for RAX, so that it serves either calling convention. If
 * it throws, it is taken out of its slot, the call goes to what the slot had before, and the guest goes on.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a function that answers nothing need not say so
export type TypescriptOp = (context: OpContext) => OpAnswer | void;

/** Where machine code of an operation lies, and what it can reach there. Guest-virtual addresses. */
export interface CodePlace {
  readonly wordBytes: 4 | 8;
  /** Of the code's first byte. */
  readonly address: bigint;
  /** What the slot had before. */
  readonly previous: bigint;
  /** The kernel's own implementation. */
  readonly native: bigint;
  /** Leads to {@link CodeOp.trap}, by CALL or JMP; without one the same as {@link previous}. */
  readonly trap: bigint;
  /** The operation's own memory: {@link CodeOp.dataBytes}; 0 if it has asked for none. Since API 1.6. */
  readonly data: bigint;
  /** Places that guest and machine share: {@link GuestCells}. */
  readonly cells: Readonly<Record<keyof typeof GuestCells, bigint>>;
}

/**
 * Places in guest memory in which the machine keeps state for operations' code, by name with their size in bytes. They are
 * kept only while a module is loaded whose code has asked for them.
 * - `interruptsOff`: the opposite of RFLAGS.IF. While it is kept, every use of that flag goes by it: gates, IRET, CLI, STI,
 *   PUSHF, POPF and `Vcpu.eflags`. Instructions among them leave guest code then, whoever is asked about them.
 * - `interruptWaits`: 1: an interrupt waits for nothing but `interruptsOff`.
 * - `cr2`: CR2 as it was written last.
 */
export const GuestCells = { interruptsOff: 1, interruptWaits: 1, cr2: 8 } as const;

/** An operation in machine code. */
export interface CodeOp {
  /** Makes the code for a place; position-dependent. It follows the slot's calling convention. */
  code(place: CodePlace): Uint8Array;
  /** For what the code leaves to the host. */
  readonly trap?: TypescriptOp;
  /**
   * Exits of the kernel's own implementation that this operation is there to avoid. If not all of them leave guest code when
   * the module is loaded, since nobody is asked about them, the operation is left out: its slot stays as it is.
   */
  readonly avoids?: readonly ExitKind[];
  /**
   * Memory of the operation's own, at most 256 bytes, aligned to 16, which guest code may write: {@link CodePlace.data},
   * {@link OpContext.data}. Each time that its module is loaded all of it is 0, also under a task that was preempted in the code
   * before. Since API 1.6.
   */
  readonly dataBytes?: number;
}

export type Op = TypescriptOp | CodeOp;

/**
 * An ops module in TypeScript: the default export of its file. A slot that it does not name keeps what it has: it is
 * forgotten. `native`: the kernel's own implementation is to be there; `nop`: nothing is to be done; `unwanted`: it must
 * not be called under this interface, a call is reported and goes to what was there before.
 */
export interface TypescriptOps extends OpsManifest {
  /**
   * For kernels of several kinds: slots that a kernel does not have are passed over. Without it, and where it has none of them,
   * the module is refused (PV5001). Since API 1.3.
   */
  readonly whereThere?: boolean;
  /** By slot name, as `vm ops report` lists them. */
  readonly ops: Readonly<Record<string, Op | 'native' | 'nop' | 'unwanted'>>;
}

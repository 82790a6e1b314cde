/**
 * What the slots of a paravirt table are about. Linux's own division since 4.20 is cpu, irq, mmu and lock; before, time
 * and init were tables too.
 */
export const OPS_GROUPS = ['cpu', 'irq', 'mmu', 'lock', 'time', 'init', 'other'] as const;
export type OpsGroup = (typeof OPS_GROUPS)[number];

/** One function pointer: of the table, or of a static call beside it. */
export interface OpsSlot {
  /** Its place in the table, counted in pointers: what Linux calls the type of a patch site. Static calls count on behind the table. */
  readonly index: number;
  readonly heldIn: 'table' | 'staticCall';
  /** `irq.save_fl`, `mmu.lazy_mode.enter`; unique in a kernel. */
  readonly name: string;
  readonly group: OpsGroup;
  /** Where the name comes from: the kernel's types, the symbol of what it holds, or only the place in the table. */
  readonly namedBy: 'types' | 'symbol' | 'index';
  /** What it takes and gives, in C; `undefined`: the kernel's types do not say. */
  readonly prototype: string | undefined;
  /**
   * Which registers an implementation may change: those that the C ABI lets a function change, or none but the one
   * of its result (Linux's paravirt_callee_save).
   */
  readonly convention: 'c' | 'calleeSave' | 'unknown';
}

/**
 * A plug-in's word on a slot. `own`: its implementation. `native`: what the kernel does on bare hardware. `nop`: nothing
 * is to be done. `unwanted`: must not be called under this interface.
 */
export type OpChoice<Own> = { readonly kind: 'own'; readonly implementation: Own } | 'native' | 'nop' | 'unwanted';

/** A plug-in's table; a slot that it does not name is forgotten. */
export interface OpsTable<Own> {
  /** Whose table it is. */
  readonly name: string;
  readonly version: string;
  /** By slot name. */
  readonly ops: Readonly<Record<string, OpChoice<Own>>>;
}

export type OpState = 'own' | 'native' | 'nop' | 'unwanted' | 'forgotten';

/** `strict`: every slot of the table has to be named. `overlay`: those that are named change, all others stay as they are. */
export type InstallMode = 'strict' | 'overlay';

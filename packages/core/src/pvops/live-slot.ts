import type { OpsManifest } from '@polyvisor/plugin-api';
import type { KernelSlot } from './kernel-ops.ts';
import type { OpState } from './model.ts';
import type { LoadedOps } from './module.ts';

/** A slot of a running kernel. */
export interface LiveSlot {
  readonly slot: KernelSlot;
  /** Where the slot's gate block lies, and where it leads back to. */
  readonly gate: bigint;
  /** What the table held when ops first came, and the implementation in the kernel's file. */
  readonly previous: bigint;
  readonly native: bigint;
  owner: Loaded | undefined;
  state: OpState;
  /** Where sites lead if it has an owner, those of the kernel's own and those of its modules; as numbers for patching. */
  target: bigint;
  targetNumber: number;
  readonly gateNumber: number;
  /** The gate leads there by way of the host, which takes the time. */
  timed: boolean;
  /** What is in guest memory: where the gate and its way to the previous implementation lead, and what the table holds. */
  written: { readonly target: bigint; readonly previous: bigint; readonly inTable: bigint };
}

/** A module that is in. */
export interface Loaded {
  readonly manifest: OpsManifest;
  readonly kind: LoadedOps['kind'];
  readonly slots: readonly string[];
  readonly needless: readonly string[];
  /** Its code looks at cells that guest and machine share. */
  readonly sharesState: boolean;
  readonly failed: { readonly slot: string; readonly message: string }[];
}

/** What is in a slot at present. */
export interface SlotReport {
  readonly slot: KernelSlot;
  /**
   * Of a slot that a loaded module names, what the module makes of it. Else, if there are modules, `forgotten`; without any,
   * what the kernel has there: `own` if it is not the implementation of its file.
   */
  readonly state: OpState;
  /** The module that has it. */
  readonly module: string | undefined;
  /** Where its sites lead, and what that is called. */
  readonly target: bigint;
  readonly targetName: string | undefined;
  readonly sites: number;
}

/** What a slot is if no module says so. */
export function kernelState({ slot, previous, native }: LiveSlot): OpState {
  if (previous !== native) return 'own';
  const { kind } = slot.implementation;
  if (kind === 'trap') return 'unwanted';
  if (kind === 'none') return 'forgotten';
  return kind === 'nop' ? 'nop' : 'native';
}

import type { Op, OpsManifest } from '@polyvisor/plugin-api';

/** Memory for code, mapped in the kernel's half of every address space: executable, not writable by the guest. */
export interface TextPlace {
  readonly gva: bigint;
  readonly gpa: number;
  readonly sizeBytes: number;
}

/** An operation of either kind of module: TypeScript's, or the address of guest code. */
export type Implementation = Op | bigint;

/** A module that is in a running kernel. */
export interface LoadedOps {
  readonly manifest: OpsManifest;
  /** `guestTable`: functions that the guest has registered itself. */
  readonly kind: 'typescript' | 'guestCode' | 'guestTable';
  /** The slots that are its own, by name. */
  readonly slots: readonly string[];
  /** Slots of operations that are left out: what they would avoid does not leave guest code. */
  readonly needless: readonly string[];
  /** Operations that have failed and are out of their slots: PV code and what was wrong. */
  readonly failed: readonly { readonly slot: string; readonly message: string }[];
  /** Of guest code, its global variables that are numbers, as they are now. */
  readonly variables: Readonly<Record<string, bigint>>;
}

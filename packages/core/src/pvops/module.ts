import type { Op, OpsManifest } from '@polyvisor/plugin-api';
import type { InstallMode } from './model.ts';

/** Memory for code, mapped in the kernel's half of every address space: executable, not writable by the guest. */
export interface TextPlace {
  readonly gva: bigint;
  readonly gpa: number;
  readonly sizeBytes: number;
}

/** An operation of either kind of module: TypeScript's, or the address of guest code. */
export type Implementation = Op | bigint;

export interface LoadOptions {
  readonly mode?: InstallMode;
  /** A downgrade or a step to another major version is meant. */
  readonly force?: boolean;
  /** The caller knows that nobody is within a call site. */
  readonly settled?: boolean;
}

/** What a change of the ops did. */
export interface OpsChange {
  /** Sites that were written. */
  readonly sites: number;
  /** How long the guest stood still for it, by the host's clock, with the search for a task that is where it must not be. */
  readonly pauseNs: number;
  /** CPU time that its thread has used meanwhile: on a busy host the more telling of the two. */
  readonly pauseCpuNs: number;
}

/** What changing the ops needs of the host. */
export interface OpsHost {
  nowNs(): number;
  /** CPU time so far of the thread that runs the guest. */
  cpuNs(): number;
  report(message: string): void;
}

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

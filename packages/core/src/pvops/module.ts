import type { OpsManifest } from '@polyvisor/plugin-api';
import type { OpsSlot } from './model.ts';
import type { PatchSite } from './sites.ts';

/**
 * An ops module in guest code, linked: bytes that lie at a place which {@link GuestKernel.allocateText} gave and are written
 * there already.
 */
export interface GuestCodeOps extends OpsManifest {
  /** Where the image lies, and how long it is. */
  readonly address: bigint;
  readonly sizeBytes: number;
  /** By slot name: guest-virtual address of the implementation. */
  readonly entries: Readonly<Record<string, bigint>>;
}

/** Memory for code, mapped in the kernel's half of every address space: executable, not writable by the guest. */
export interface TextPlace {
  readonly gva: bigint;
  readonly gpa: number;
  readonly sizeBytes: number;
}

/** What a linker needs of a kernel that runs. Addresses are where things are now, wherever they were linked. */
export interface GuestKernel {
  readonly wordBytes: 4 | 8;
  /** The address of a symbol of exactly this name. */
  symbol(name: string): bigint | undefined;
  readonly slots: readonly OpsSlot[];
  readonly sites: readonly PatchSite[];
  /**
   * From memory that the guest does not know; within 2 GiB of its code, aligned to 16 bytes. Throws `PolyvisorError` PV5013
   * if there is none left.
   */
  allocateText(sizeBytes: number): TextPlace;
  /** Write to the kernel's memory, read-only pages included. Throws `PolyvisorError` PV5012 for what is not mapped. */
  write(gva: bigint, bytes: Uint8Array): void;
}

/** A module that is in a running kernel. */
export interface LoadedOps {
  readonly manifest: OpsManifest;
  readonly kind: 'typescript' | 'guestCode';
  /** The slots that are its own, by name. */
  readonly slots: readonly string[];
  /** Operations that have failed and are out of their slots: PV code and what was wrong. */
  readonly failed: readonly { readonly slot: string; readonly message: string }[];
}

import type { WordBytes } from './struct.ts';

/** Offsets into struct vcpu_info that are the same for both word sizes (public/xen.h). */
export const VcpuInfo = {
  UPCALL_PENDING: 0,
  UPCALL_MASK: 1,
  TIME: 32,
  SIZE_BYTES: 64,
} as const;

/** Where struct shared_info holds its 32 legacy vcpu_info slots, for both word sizes. */
export const SHARED_VCPU_INFO = 0;

/**
 * What depends on the word size in struct vcpu_info and struct shared_info (public/xen.h, public/arch-x86/xen.h,
 * xen-x86_32.h, xen-x86_64.h). Offsets in bytes; those of vcpu_info begin with `vcpu`.
 */
export interface SharedLayout {
  readonly wordBytes: WordBytes;
  /** A 2-level event port's selector bit is `port >> selectorShift`; a word has as many ports as bits. */
  readonly selectorShift: number;
  /** Ports of the 2-level ABI: a word of words. */
  readonly twoLevelPorts: number;
  readonly vcpuPendingSelector: number;
  readonly vcpuCr2: number;
  readonly eventsPending: number;
  readonly eventsMask: number;
  readonly wallclockVersion: number;
  readonly wallclockSeconds: number;
  readonly wallclockNanoseconds: number;
  readonly wallclockSecondsHigh: number;
}

export const SHARED_32: SharedLayout = {
  wordBytes: 4,
  selectorShift: 5,
  twoLevelPorts: 1024,
  vcpuPendingSelector: 4,
  vcpuCr2: 8,
  eventsPending: 2048,
  eventsMask: 2176,
  wallclockVersion: 2304,
  wallclockSeconds: 2308,
  wallclockNanoseconds: 2312,
  // The last field of arch_shared_info: six words after the common part, which has no room for it.
  wallclockSecondsHigh: 2340,
};

export const SHARED_64: SharedLayout = {
  wordBytes: 8,
  selectorShift: 6,
  twoLevelPorts: 4096,
  vcpuPendingSelector: 8,
  vcpuCr2: 16,
  eventsPending: 2048,
  eventsMask: 2560,
  wallclockVersion: 3072,
  wallclockSeconds: 3076,
  wallclockNanoseconds: 3080,
  wallclockSecondsHigh: 3084,
};

export function sharedLayout(wordBytes: WordBytes): SharedLayout {
  return wordBytes === 8 ? SHARED_64 : SHARED_32;
}

import type { GuestMemory } from '@polyvisor/plugin-api';
import { PAGE_BYTES } from '../layout.ts';

/** Who a machine frame belongs to. Values of {@link FrameTable.owner}. */
export const Owner = {
  FREE: 0,
  HYPERVISOR: 1,
  GUEST: 2,
  /** The hypervisor's, mappable by the guest read-write or read-only (shared_info, grant table). */
  SHARED_RW: 3,
  SHARED_RO: 4,
} as const;

/**
 * Use of a frame, mutually exclusive while counted; levels 1–4 are page tables of that level. L2_TOP is the L2 table of a
 * PAE guest's fourth gigabyte, which holds the hypervisor's hole.
 * Stored in bits 24–26 of {@link FrameTable.typeInfo}; the count is in bits 0–23.
 */
export const FrameType = { NONE: 0, L1: 1, L2: 2, L3: 3, L4: 4, DESCRIPTORS: 5, WRITABLE: 6, L2_TOP: 7 } as const;

export function isPageTable(type: number): boolean {
  return (type >= FrameType.L1 && type <= FrameType.L4) || type === FrameType.L2_TOP;
}

export const TYPE_SHIFT = 24;
export const TYPE_COUNT_MASK = 0x00ff_ffff;
/** The guest asked for the type to be kept (MMUEXT_PIN_*). */
export const TYPE_PINNED = 1 << 27;
/** Contents have been checked for this type. */
export const TYPE_VALIDATED = 1 << 28;

const NO_FRAME = 0;

/** In machine memory, for each frame: references and type, words each, and a byte for the owner. */
const RECORD_BYTES = 9;
/** Machine memory that the table of these frames takes. */
export const frameTableBytes = (frames: number): number => Math.ceil((frames * RECORD_BYTES) / PAGE_BYTES) * PAGE_BYTES;

/**
 * One record per machine frame: owner, references, type and type references, as a struct of arrays.
 * Frames live while referenced: `refs` counts the allocation itself and every mapping.
 * What generated code needs of it is in machine memory, in frames of the hypervisor's own, as on Xen.
 */
export class FrameTable {
  readonly count: number;
  /** Where in machine memory `refs`, `typeInfo` and `owner` begin. */
  readonly places: { readonly refs: number; readonly typeInfo: number; readonly owner: number };
  readonly owner: Uint8Array;
  readonly refs: Int32Array;
  readonly typeInfo: Int32Array;
  /** 1 while the allocation itself holds a reference (PGC_allocated in Xen's terms). */
  readonly allocated: Uint8Array;
  /** Value of the flush clock when the frame's last type reference went away. */
  readonly typeEndedAt: Int32Array;
  readonly #free: Int32Array;
  #freeCount = 0;

  /** Frame 0 is never handed out, so that 0 can mean "none"; low frames are handed out first. */
  constructor({ words, sizeBytes }: Pick<GuestMemory, 'words' | 'sizeBytes'>) {
    const count = Math.floor(sizeBytes / PAGE_BYTES);
    this.count = count;
    const refs = PAGE_BYTES;
    this.places = { refs, typeInfo: refs + count * 4, owner: refs + count * 8 };
    const from = words.byteOffset;
    this.refs = new Int32Array(words.buffer, from + this.places.refs, count).fill(0);
    this.typeInfo = new Int32Array(words.buffer, from + this.places.typeInfo, count).fill(0);
    this.owner = new Uint8Array(words.buffer, from + this.places.owner, count).fill(Owner.FREE);
    this.allocated = new Uint8Array(count);
    this.typeEndedAt = new Int32Array(count);
    this.#free = new Int32Array(count);
    for (let mfn = count - 1; mfn > NO_FRAME; mfn--) this.#free[this.#freeCount++] = mfn;
    this.owner[NO_FRAME] = Owner.HYPERVISOR;
    for (let taken = 0; taken < frameTableBytes(count); taken += PAGE_BYTES) this.take(Owner.HYPERVISOR);
  }

  get freeCount(): number {
    return this.#freeCount;
  }

  /** Hand out one frame, or `undefined`. Contents are whatever the last owner left. */
  take(owner: number): number | undefined {
    if (this.#freeCount === 0) return undefined;
    const mfn = this.#free[--this.#freeCount];
    this.#start(mfn, owner);
    return mfn;
  }

  /** Hand out `count` consecutive frames from the top of memory; only before any {@link take} of them. */
  takeTop(count: number, owner: number): number | undefined {
    if (count > this.#freeCount) return undefined;
    const first = this.count - count;
    for (let mfn = first; mfn < this.count; mfn++) if (this.owner[mfn] !== Owner.FREE) return undefined;
    const kept = this.#free.slice(0, this.#freeCount).filter((mfn) => mfn < first);
    this.#free.set(kept);
    this.#freeCount = kept.length;
    for (let mfn = first; mfn < this.count; mfn++) this.#start(mfn, owner);
    return first;
  }

  /** Hand out `count` (a power of two) consecutive frames, naturally aligned. */
  takeAligned(count: number, owner: number): number | undefined {
    for (let first = count; first + count <= this.count; first += count) {
      let free = 0;
      while (free < count && this.owner[first + free] === Owner.FREE) free++;
      if (free < count) continue;
      const kept = this.#free.slice(0, this.#freeCount).filter((mfn) => mfn < first || mfn >= first + count);
      this.#free.set(kept);
      this.#freeCount = kept.length;
      for (let mfn = first; mfn < first + count; mfn++) this.#start(mfn, owner);
      return first;
    }
    return undefined;
  }

  #start(mfn: number, owner: number): void {
    this.owner[mfn] = owner;
    this.refs[mfn] = 1;
    this.allocated[mfn] = 1;
    this.typeInfo[mfn] = 0;
  }

  /** Drop the allocation's own reference; the frame is free once nothing maps it. */
  release(mfn: number): void {
    if (this.allocated[mfn] === 0) return;
    this.allocated[mfn] = 0;
    this.put(mfn);
  }

  put(mfn: number): void {
    if (--this.refs[mfn] > 0) return;
    this.owner[mfn] = Owner.FREE;
    this.typeInfo[mfn] = 0;
    this.#free[this.#freeCount++] = mfn;
  }

  /** The guest may name this frame in a page-table entry or an operation. */
  isGuest(mfn: number): boolean {
    return mfn >= 0 && mfn < this.count && this.owner[mfn] >= Owner.GUEST && this.refs[mfn] > 0;
  }

  typeOf(mfn: number): number {
    return (this.typeInfo[mfn] >>> TYPE_SHIFT) & 7;
  }

  typeCount(mfn: number): number {
    return this.typeInfo[mfn] & TYPE_COUNT_MASK;
  }
}

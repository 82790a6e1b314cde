import type { GuestMemory } from '@polyvisor/plugin-api';
import { ENTRIES_PER_TABLE, FIRST_XEN_SLOT, LAST_XEN_SLOT } from '../layout.ts';
import {
  entryFrame,
  HI_GUEST_KERNEL,
  isSimilar,
  L1_DISALLOWED,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_GLOBAL,
  PTE_PRESENT,
  PTE_USER,
  PTE_WRITE,
  TABLE_DISALLOWED,
} from './entries.ts';
import { type FrameTable, FrameType, Owner, TYPE_COUNT_MASK, TYPE_SHIFT, TYPE_VALIDATED } from './frames.ts';

/** Results: 0, or a negative Xen errno as a plain number. */
export const OK = 0;
export const MM_EPERM = -1;
export const MM_EBUSY = -16;
export const MM_EINVAL = -22;

/** Descriptor-page check, provided by the CPU room. */
export type ValidateDescriptors = (mfn: number) => boolean;

/**
 * Page types with reference counts: the invariant that makes direct paging safe. A frame is at any time
 * a page table of one level, a descriptor page, or writable by the guest; entries are checked when a
 * frame becomes a page table and whenever one of its entries changes. NOT IMPLEMENTED: linear
 * (self-mapping) page tables and superpages; both are refused with -EINVAL, as by a Xen built without them.
 */
export class PageTables {
  readonly frames: FrameTable;
  readonly #words: Int32Array;
  readonly #validateDescriptors: ValidateDescriptors;
  readonly #installHole: (l4Mfn: number) => void;
  /** Called when a frame that may still be cached as writable becomes something else. */
  readonly #flushStale: (endedAt: number) => void;
  /** Moves on with every full TLB flush; see {@link FrameTable.typeEndedAt}. */
  flushClock = 1;

  constructor(
    memory: GuestMemory,
    frames: FrameTable,
    hooks: {
      validateDescriptors: ValidateDescriptors;
      installHole(l4Mfn: number): void;
      flushStale(endedAt: number): void;
    },
  ) {
    this.frames = frames;
    this.#words = memory.words;
    this.#validateDescriptors = hooks.validateDescriptors;
    this.#installHole = hooks.installHole;
    this.#flushStale = hooks.flushStale;
  }

  /** One general and one type reference; 0 or an errno. */
  getPageAndType(mfn: number, type: number): number {
    const { frames } = this;
    if (!frames.isGuest(mfn)) return MM_EINVAL;
    frames.refs[mfn]++;
    const result = this.getType(mfn, type);
    if (result !== OK) frames.put(mfn);
    return result;
  }

  putPageAndType(mfn: number): void {
    this.putType(mfn);
    this.frames.put(mfn);
  }

  /** Take a type reference; the first one checks the contents. The caller knows the frame to be the guest's. */
  getType(mfn: number, type: number): number {
    const { typeInfo, owner } = this.frames;
    const info = typeInfo[mfn];
    const count = info & TYPE_COUNT_MASK;
    const current = (info >>> TYPE_SHIFT) & 7;
    if (count !== 0) {
      if (current !== type || (info & TYPE_VALIDATED) === 0 || count === TYPE_COUNT_MASK) return MM_EINVAL;
      typeInfo[mfn] = info + 1;
      return OK;
    }
    if (owner[mfn] !== Owner.GUEST) return this.#getSharedType(mfn, type);
    if (current === FrameType.WRITABLE && type !== current) this.#flushStale(this.frames.typeEndedAt[mfn]);
    typeInfo[mfn] = (type << TYPE_SHIFT) | 1;
    const result = this.#validate(mfn, type);
    if (result === OK) typeInfo[mfn] |= TYPE_VALIDATED;
    else typeInfo[mfn] = 0;
    return result;
  }

  /** Frames of the hypervisor's can only be mapped, never become page tables. */
  #getSharedType(mfn: number, type: number): number {
    if (type !== FrameType.WRITABLE || this.frames.owner[mfn] !== Owner.SHARED_RW) return MM_EINVAL;
    this.frames.typeInfo[mfn] = (type << TYPE_SHIFT) | TYPE_VALIDATED | 1;
    return OK;
  }

  /** Drop a type reference; the last one of a page table drops everything it maps. */
  putType(mfn: number): void {
    const { typeInfo, typeEndedAt } = this.frames;
    const info = typeInfo[mfn];
    const type = (info >>> TYPE_SHIFT) & 7;
    if ((info & TYPE_COUNT_MASK) > 1) {
      typeInfo[mfn] = info - 1;
      return;
    }
    if (type <= FrameType.L4) {
      typeInfo[mfn] = info & ~TYPE_VALIDATED;
      this.#dropEntries(mfn, type, ENTRIES_PER_TABLE);
    }
    typeInfo[mfn] = type << TYPE_SHIFT;
    typeEndedAt[mfn] = this.flushClock;
  }

  #validate(mfn: number, type: number): number {
    if (type === FrameType.WRITABLE) return OK;
    if (type === FrameType.DESCRIPTORS) return this.#validateDescriptors(mfn) ? OK : MM_EINVAL;
    const result = type === FrameType.L1 ? this.#promoteL1(mfn) : this.#promoteTable(mfn, type);
    if (result === OK && type === FrameType.L4) this.#installHole(mfn);
    return result;
  }

  #promoteL1(mfn: number): number {
    const words = this.#words;
    const first = mfn * 1024;
    for (let slot = 0; slot < ENTRIES_PER_TABLE; slot++) {
      const at = first + slot * 2;
      const lo = words[at];
      if ((lo & PTE_PRESENT) === 0) continue;
      const hi = words[at + 1];
      const result = this.#getDataPage(lo, hi);
      if (result !== OK) {
        this.#dropEntries(mfn, FrameType.L1, slot);
        return result;
      }
      this.#storeAdjustedL1(at, lo, hi);
    }
    return OK;
  }

  #promoteTable(mfn: number, level: number): number {
    const words = this.#words;
    for (let slot = 0; slot < ENTRIES_PER_TABLE; slot++) {
      if (level === FrameType.L4 && isXenSlot(slot)) continue;
      const at = mfn * 1024 + slot * 2;
      const lo = words[at];
      if ((lo & PTE_PRESENT) === 0) continue;
      const result = this.#getTablePage(lo, words[at + 1], level);
      if (result !== OK) {
        this.#dropEntries(mfn, level, slot);
        return result;
      }
      words[at] = lo | adjustTable(level);
    }
    return OK;
  }

  #dropEntries(mfn: number, level: number, count: number): void {
    const words = this.#words;
    for (let slot = 0; slot < count; slot++) {
      if (level === FrameType.L4 && isXenSlot(slot)) continue;
      const at = mfn * 1024 + slot * 2;
      const lo = words[at];
      if ((lo & PTE_PRESENT) !== 0) this.#putTarget(level, lo, words[at + 1]);
    }
  }

  #putTarget(level: number, lo: number, hi: number): void {
    const target = entryFrame(lo, hi);
    if (level !== FrameType.L1 || (lo & PTE_WRITE) !== 0) this.putType(target);
    this.frames.put(target);
  }

  /** References for a present L1 entry (Xen's get_page_from_l1e). */
  #getDataPage(lo: number, hi: number): number {
    if ((lo & L1_DISALLOWED) !== 0) return MM_EINVAL;
    const target = entryFrame(lo, hi);
    const { frames } = this;
    if (target >= frames.count) return target === 0xff_ffff_ffff ? MM_EINVAL : MM_EPERM;
    if (!frames.isGuest(target)) return MM_EBUSY;
    if ((lo & PTE_WRITE) !== 0 && this.getType(target, FrameType.WRITABLE) !== OK) return MM_EBUSY;
    frames.refs[target]++;
    return OK;
  }

  /** References for a present entry of an L2–L4 table. */
  #getTablePage(lo: number, hi: number, level: number): number {
    if ((lo & TABLE_DISALLOWED) !== 0) return MM_EINVAL;
    return this.getPageAndType(entryFrame(lo, hi), level - 1);
  }

  /** PV64 kernels run at CPL 3, so every page is a user page; bit 52 remembers which ones the guest meant for itself. */
  #storeAdjustedL1(at: number, lo: number, hi: number): void {
    const newHi = (lo & PTE_USER) === 0 ? hi | HI_GUEST_KERNEL : hi;
    this.#words[at] = lo | PTE_USER | ((newHi & HI_GUEST_KERNEL) === 0 ? PTE_GLOBAL : 0);
    this.#words[at + 1] = newHi;
  }

  /**
   * Change one entry of a frame whose type is a page table: 0, or an errno and nothing changed.
   * `preserveAd`: keep Accessed and Dirty of the old entry (MMU_PT_UPDATE_PRESERVE_AD).
   */
  update(mfn: number, slot: number, lo: number, hi: number, preserveAd: boolean): number {
    const level = this.frames.typeOf(mfn);
    return level === FrameType.L1
      ? this.#updateL1(mfn * 1024 + slot * 2, lo, hi, preserveAd)
      : this.#updateTable(mfn * 1024 + slot * 2, slot, level, lo, hi, preserveAd);
  }

  #updateL1(at: number, lo: number, hi: number, preserveAd: boolean): number {
    const words = this.#words;
    const oldLo = words[at];
    const oldHi = words[at + 1];
    const kept = preserveAd ? oldLo & (PTE_ACCESSED | PTE_DIRTY) : 0;
    if ((lo & PTE_PRESENT) === 0) {
      words[at] = lo | kept;
      words[at + 1] = hi;
    } else {
      if ((lo & L1_DISALLOWED) !== 0) return MM_EINVAL;
      if (isSimilar(oldLo, oldHi, lo, hi)) {
        this.#storeAdjustedL1(at, lo | kept, hi);
        return OK;
      }
      const result = this.#getDataPage(lo, hi);
      if (result !== OK) return result;
      this.#storeAdjustedL1(at, lo | kept, hi);
    }
    if ((oldLo & PTE_PRESENT) !== 0) this.#putTarget(FrameType.L1, oldLo, oldHi);
    return OK;
  }

  #updateTable(at: number, slot: number, level: number, lo: number, hi: number, preserveAd: boolean): number {
    if (level === FrameType.L4 && isXenSlot(slot)) return MM_EINVAL;
    const words = this.#words;
    const oldLo = words[at];
    const oldHi = words[at + 1];
    const kept = preserveAd ? oldLo & (PTE_ACCESSED | PTE_DIRTY) : 0;
    const present = (lo & PTE_PRESENT) !== 0;
    const adjusted = present ? lo | kept | adjustTable(level) : lo | kept;
    if (present && (lo & TABLE_DISALLOWED) !== 0) return MM_EINVAL;
    const similar = present && isSimilar(oldLo, oldHi, lo, hi);
    if (present && !similar) {
      const result = this.#getTablePage(lo, hi, level);
      if (result !== OK) return result;
    }
    words[at] = adjusted;
    words[at + 1] = hi;
    if (!similar && (oldLo & PTE_PRESENT) !== 0) this.#putTarget(level, oldLo, oldHi);
    return OK;
  }
}

function isXenSlot(slot: number): boolean {
  return slot >= FIRST_XEN_SLOT && slot <= LAST_XEN_SLOT;
}

/** Bits Xen adds to every present entry above L1; L4 entries also count as accessed. */
function adjustTable(level: number): number {
  return level === FrameType.L4 ? PTE_USER | PTE_ACCESSED : PTE_USER;
}

import type { GuestMemory } from '@polyvisor/plugin-api';
import { FIRST_PAE_XEN_SLOT, type PvModel } from '../abi/model.ts';
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
import {
  type FrameTable,
  FrameType,
  isPageTable,
  Owner,
  TYPE_COUNT_MASK,
  TYPE_PINNED,
  TYPE_SHIFT,
  TYPE_VALIDATED,
} from './frames.ts';

/** Results: 0, or a negative Xen errno as a plain number. */
export const OK = 0;
export const MM_EPERM = -1;
export const MM_EBUSY = -16;
export const MM_EINVAL = -22;

/** A PAE L3 table has four entries; the last one leads to the table with the hypervisor's hole. */
const PAE_L3_ENTRIES = 4;
const PAE_TOP_SLOT = 3;
/** What else a PAE L3 entry may not have: execute-disable and the bits that software may use elsewhere. */
const PAE_L3_DISALLOWED_HI = 0xfff0_0000;

/** Taken back when the table stops being one, so that the guest finds what it wrote. */
const PAE_L3_ADDED = PTE_USER | PTE_WRITE | PTE_ACCESSED;

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
  readonly #pae: boolean;
  /** Called with the table that holds the hypervisor's slots: an L4, or a PAE guest's topmost L2. */
  readonly #installHole: (mfn: number) => void;
  /** Called when a frame that may still be cached as writable becomes something else. */
  readonly #flushStale: (endedAt: number) => void;
  /** Moves on with every full TLB flush; see {@link FrameTable.typeEndedAt}. */
  flushClock = 1;

  constructor(
    memory: GuestMemory,
    frames: FrameTable,
    model: PvModel,
    hooks: {
      validateDescriptors: ValidateDescriptors;
      installHole(mfn: number): void;
      flushStale(endedAt: number): void;
    },
  ) {
    this.frames = frames;
    this.#pae = model.levels === 3;
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
    if (isPageTable(type)) {
      typeInfo[mfn] = info & ~TYPE_VALIDATED;
      this.#dropEntries(mfn, type, ENTRIES_PER_TABLE);
    }
    typeInfo[mfn] = type << TYPE_SHIFT;
    typeEndedAt[mfn] = this.flushClock;
  }

  #validate(mfn: number, type: number): number {
    if (type === FrameType.WRITABLE) return OK;
    if (type === FrameType.DESCRIPTORS) return this.#validateDescriptors(mfn) ? OK : MM_EINVAL;
    if (type === FrameType.L1) return this.#promoteL1(mfn);
    if (this.#pae && type === FrameType.L4) return MM_EINVAL;
    const result = this.#pae && type === FrameType.L3 ? this.#promotePaeRoot(mfn) : this.#promoteTable(mfn, type);
    if (result === OK && (type === FrameType.L4 || type === FrameType.L2_TOP)) this.#installHole(mfn);
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

  /**
   * A PAE guest fills in four entries of a page of which the processor, in compatibility mode, could see them all: the
   * others are cleared. The last of the four must be there, and its table hang nowhere else: it gets the
   * hypervisor's slots (Xen's promote_l3_table and create_pae_xen_mappings).
   */
  #promotePaeRoot(mfn: number): number {
    const words = this.#words;
    words.fill(0, mfn * 1024 + PAE_L3_ENTRIES * 2, (mfn + 1) * 1024);
    const top = mfn * 1024 + PAE_TOP_SLOT * 2;
    if ((words[top] & PTE_PRESENT) === 0) return MM_EINVAL;
    const result = this.#promoteTable(mfn, FrameType.L3);
    if (result !== OK) return result;
    const topInfo = this.frames.typeInfo[entryFrame(words[top], words[top + 1])];
    if ((topInfo & TYPE_COUNT_MASK) === 1 && (topInfo & TYPE_PINNED) === 0) return OK;
    this.#dropEntries(mfn, FrameType.L3, PAE_L3_ENTRIES);
    return MM_EINVAL;
  }

  #promoteTable(mfn: number, type: number): number {
    const words = this.#words;
    for (let slot = 0; slot < ENTRIES_PER_TABLE; slot++) {
      if (isXenSlot(type, slot)) continue;
      const at = mfn * 1024 + slot * 2;
      const lo = words[at];
      if ((lo & PTE_PRESENT) === 0) continue;
      const result = this.#getTablePage(lo, words[at + 1], type, slot);
      if (result !== OK) {
        this.#dropEntries(mfn, type, slot);
        return result;
      }
      words[at] = lo | this.#tableBits(type);
    }
    return OK;
  }

  #dropEntries(mfn: number, type: number, count: number): void {
    const words = this.#words;
    const added = this.#pae && type === FrameType.L3 ? PAE_L3_ADDED : 0;
    for (let slot = 0; slot < count; slot++) {
      if (isXenSlot(type, slot)) continue;
      const at = mfn * 1024 + slot * 2;
      const lo = words[at];
      if ((lo & PTE_PRESENT) === 0) continue;
      words[at] = lo & ~added;
      this.#putTarget(type, lo, words[at + 1]);
    }
  }

  #putTarget(type: number, lo: number, hi: number): void {
    const target = entryFrame(lo, hi);
    if (type !== FrameType.L1 || (lo & PTE_WRITE) !== 0) this.putType(target);
    this.frames.put(target);
  }

  /** The type of the tables that entries of this one lead to. */
  #childType(type: number, slot: number): number {
    if (type === FrameType.L2_TOP) return FrameType.L1;
    return this.#pae && type === FrameType.L3 && slot === PAE_TOP_SLOT ? FrameType.L2_TOP : type - 1;
  }

  /** Bits that every present entry above L1 gets: PV64 kernels run at CPL 3, and PAE L3 entries have no rights of their own. */
  #tableBits(type: number): number {
    if (this.#pae) return type === FrameType.L3 ? PTE_USER | PTE_WRITE : 0;
    return type === FrameType.L4 ? PTE_USER | PTE_ACCESSED : PTE_USER;
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
  #getTablePage(lo: number, hi: number, type: number, slot: number): number {
    if (this.#hasDisallowed(lo, hi, type)) return MM_EINVAL;
    return this.getPageAndType(entryFrame(lo, hi), this.#childType(type, slot));
  }

  #hasDisallowed(lo: number, hi: number, type: number): boolean {
    if ((lo & TABLE_DISALLOWED) !== 0) return true;
    return this.#pae && type === FrameType.L3 && (hi & PAE_L3_DISALLOWED_HI) !== 0;
  }

  /** PAE entries stand as the guest gave them. PV64 kernels run at CPL 3, so every page is a user page; bit 52 remembers which ones the guest meant for itself. */
  #storeAdjustedL1(at: number, lo: number, hi: number): void {
    if (this.#pae) {
      this.#words[at] = lo;
      this.#words[at + 1] = hi;
      return;
    }
    const newHi = (lo & PTE_USER) === 0 ? hi | HI_GUEST_KERNEL : hi;
    this.#words[at] = lo | PTE_USER | ((newHi & HI_GUEST_KERNEL) === 0 ? PTE_GLOBAL : 0);
    this.#words[at + 1] = newHi;
  }

  /**
   * Change one entry of a frame whose type is a page table: 0, or an errno and nothing changed.
   * `preserveAd`: keep Accessed and Dirty of the old entry (MMU_PT_UPDATE_PRESERVE_AD).
   */
  update(mfn: number, slot: number, lo: number, hi: number, preserveAd: boolean): number {
    const type = this.frames.typeOf(mfn);
    return type === FrameType.L1
      ? this.#updateL1(mfn * 1024 + slot * 2, lo, hi, preserveAd)
      : this.#updateTable(mfn * 1024 + slot * 2, slot, type, lo, hi, preserveAd);
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

  /** Put an L1 entry, at an index of memory's words, in the place of another, whose page is let go, and leave an empty one. */
  moveL1(from: number, to: number): void {
    const words = this.#words;
    const [oldLo, oldHi] = [words[to], words[to + 1]];
    words[to] = words[from];
    words[to + 1] = words[from + 1];
    words[from] = 0;
    words[from + 1] = 0;
    if ((oldLo & PTE_PRESENT) !== 0) this.#putTarget(FrameType.L1, oldLo, oldHi);
  }

  #updateTable(at: number, slot: number, type: number, lo: number, hi: number, preserveAd: boolean): number {
    if (isXenSlot(type, slot)) return type === FrameType.L4 ? MM_EINVAL : MM_EPERM;
    // The entry over the hole stays, and there is none behind it.
    if (this.#pae && type === FrameType.L3 && slot >= PAE_TOP_SLOT) return MM_EINVAL;
    const words = this.#words;
    const oldLo = words[at];
    const oldHi = words[at + 1];
    const kept = preserveAd ? oldLo & (PTE_ACCESSED | PTE_DIRTY) : 0;
    const present = (lo & PTE_PRESENT) !== 0;
    const adjusted = present ? lo | kept | this.#tableBits(type) : lo | kept;
    if (present && this.#hasDisallowed(lo, hi, type)) return MM_EINVAL;
    const similar = present && isSimilar(oldLo, oldHi, lo, hi);
    if (present && !similar) {
      const result = this.#getTablePage(lo, hi, type, slot);
      if (result !== OK) return result;
    }
    words[at] = adjusted;
    words[at + 1] = hi;
    if (!similar && (oldLo & PTE_PRESENT) !== 0) this.#putTarget(type, oldLo, oldHi);
    return OK;
  }
}

function isXenSlot(type: number, slot: number): boolean {
  if (type === FrameType.L2_TOP) return slot >= FIRST_PAE_XEN_SLOT;
  return type === FrameType.L4 && slot >= FIRST_XEN_SLOT && slot <= LAST_XEN_SLOT;
}

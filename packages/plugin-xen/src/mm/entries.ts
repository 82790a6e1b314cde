/** Page-table entry bits as 32-bit halves (SDM vol. 3A, 4.5). Entries are handled as lo/hi numbers, never as bigint. */
export const PTE_PRESENT = 1 << 0;
export const PTE_WRITE = 1 << 1;
export const PTE_USER = 1 << 2;
export const PTE_ACCESSED = 1 << 5;
export const PTE_DIRTY = 1 << 6;
export const PTE_GLOBAL = 1 << 8;
/** In the high half: bit 52, by which Xen remembers that the guest had left U/S clear. */
export const HI_GUEST_KERNEL = 1 << 20;

/** Bits a guest may not set: PWT, PCD and PAT in L1 entries; also PS and G above. */
export const L1_DISALLOWED = 0x098;
export const TABLE_DISALLOWED = 0x198;

/** What a guest may change in a present entry without the target being looked at again: U A D G, AVL, and bits 52–63. */
export const FAST_LO = PTE_USER | PTE_ACCESSED | PTE_DIRTY | PTE_GLOBAL | 0xe00;
export const FAST_HI = 0xfff0_0000;

/** Frame number of an entry: bits 12–51. */
export function entryFrame(lo: number, hi: number): number {
  return (hi & 0x000f_ffff) * 0x10_0000 + (lo >>> 12);
}

/** Both present, and alike in everything that needs validation. */
export function isSimilar(oldLo: number, oldHi: number, newLo: number, newHi: number): boolean {
  return (oldLo & PTE_PRESENT) !== 0 && ((oldLo ^ newLo) & ~FAST_LO) === 0 && ((oldHi ^ newHi) & ~FAST_HI) === 0;
}

/** Levels of page tables, in the flags of all MMU calls (Linux 2.6.32, arch/x86/include/asm/vmi.h). */
export const Level = { PT: 1, PD: 2, PDP: 4, PML4: 8, MASK: 15 } as const;

/** Flags of AllocatePage and ReleasePage. */
export const PageFlag = { PAE: 0x10, CLONE: 0x20, ZEROED: 0x40 } as const;

/** Flags of SetPxE and UpdatePxE, which share bits with those above. */
export const UpdateFlag = { CURRENT_AS: 0x10, DEFER: 0x20, VA_MASK: 0xfffff000 } as const;

/** Flags of FlushTLB. */
export const FlushFlag = { TLB: 1, GLOBAL: 2 } as const;

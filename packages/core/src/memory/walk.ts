/** Bits of the MMU_FLAGS slot: what a page walk depends on besides CR3. */
export const MmuFlag = {
  /** CR0.PG. */
  PAGING: 1,
  /** CR0.WP. */
  WRITE_PROTECT: 2,
  /** IA32_EFER.NXE, where entries have an XD bit (not in 32-bit paging). */
  NO_EXECUTE: 4,
  /** CR4.SMEP. */
  SMEP: 8,
  /** CR4.SMAP and RFLAGS.AC clear. */
  SMAP: 16,
  /** CPL 3. */
  USER: 32,
  /** Only look: accessed and dirty bits stay as they are. */
  PROBE: 64,
  /** 4-level paging (IA32_EFER.LMA); without it and without PAE: 32-bit paging (SDM vol. 3A, 4.1.1). */
  FOUR_LEVEL: 128,
  /** PAE paging: the four PDPTEs are in registers. */
  PAE: 256,
  /** CR4.PSE: 4-MiB pages of 32-bit paging. */
  PSE: 512,
  /** What the tables answer, and where they are, is translated again. */
  SECOND_LEVEL: 1024,
} as const;

export const WalkAccess = { read: 0, write: 1, execute: 2 } as const;
/** As an access that the second level is asked for: an entry of the page tables. */
export const TABLE_ACCESS = 3;
/** The same, where an accessed or dirty bit is to be set in it. */
export const TABLE_WRITE_ACCESS = 4;
/** In FAULT_VECTOR: no exception, but an access that the second level of translation refuses; FAULT_ADDRESS is the guest-physical one. */
export const SECOND_LEVEL_FAULT = 0x100;

/** Page-fault error code bits (SDM vol. 3A, 4.7). */
export const PageFaultCode = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

/** Paging-structure entry bits (SDM vol. 3A, 4.5.4). */
export const Pte = { present: 1, write: 2, user: 4, accessed: 0x20, dirty: 0x40, large: 0x80, global: 0x100 } as const;

/** Reserved bits of a PDPTE of PAE paging: MOV to CR3 raises #GP(0) for them (SDM vol. 3A, table 4-8; 40 address bits). */
export const PDPTE_RESERVED = 0xffffff00000001e6n;

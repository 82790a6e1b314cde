/** Address-space constants (public/arch-x86/xen-x86_64.h); what PV32 guests see is in abi/model.ts. */
export const PAGE_BYTES = 4096;
export const ENTRIES_PER_TABLE = 512;

/** The L4 slots of the hypervisor's hole, first and last. */
export const FIRST_XEN_SLOT = 256;
export const LAST_XEN_SLOT = 271;

/** Machine-to-physical table: read-only, slot 256. */
export const M2P_SLOT = 256;

/** Per-domain mappings, slot 260: 32 pages for each vCPU, 16 of GDT and 16 of LDT. */
export const PER_DOMAIN_SLOT = 260;
export const PER_DOMAIN_VIRT_START = 0xffff_8200_0000_0000n;
export const DESCRIPTOR_PAGES_PER_VCPU = 32;
export const LDT_FIRST_PAGE = 16;

/** Selectors of the flat segments that Xen keeps in every GDT. */
export const FLAT_RING3_CS32 = 0xe023;
/** Those of a PV32 kernel; its user mode has FLAT_RING3_CS 0xe02b and FLAT_RING3_SS 0xe033. */
export const FLAT_RING1_CS = 0xe019;
export const FLAT_RING1_SS = 0xe021;
/** FLAT_RING3_SS and FLAT_RING3_CS64 are the kernel's too. */
export const FLAT_KERNEL_SS = 0xe02b;
export const FLAT_KERNEL_CS = 0xe033;

/** Guests own GDT entries below this one; the page holding it is the hypervisor's. */
export const FIRST_RESERVED_GDT_ENTRY = 0xe000 >> 3;
export const FIRST_RESERVED_GDT_PAGE = FIRST_RESERVED_GDT_ENTRY / 512;
export const LAST_RESERVED_GDT_BYTE = 0xefff;

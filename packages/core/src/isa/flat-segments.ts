/** Flat segments as SYSCALL and its like load them (AMD APM vol. 3, SYSCALL), at CPL 0; the others have their DPL in it. */

/** Access rights in the form of cpu/state.ts. */
export const FlatRights = { CODE64: 0xa09b, CODE32: 0xc09b, DATA: 0xc093 } as const;
/** Where the DPL stands in access rights and in a descriptor. */
export const RIGHTS_DPL_BIT = 5;
export const RIGHTS_UNUSABLE = 1 << 16;
const DESCRIPTOR_DPL_BIT = 45n;
/** Descriptors that say the same (SDM vol. 3A, 3.4.5): base 0, limit 4 GiB, accessed. */
export const FlatDescriptor = { CODE64: 0x00af9b000000ffffn, DATA: 0x00cf93000000ffffn } as const;
/** Descriptors of the highest level, CPL 3. */
export const DESCRIPTOR_DPL = 3n << DESCRIPTOR_DPL_BIT;

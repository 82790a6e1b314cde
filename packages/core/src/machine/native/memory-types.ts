/**
 * MTRRs and PAT (SDM vol. 3A, 11.11 and 11.12). They are kept and checked, and change nothing: this machine has no caches, so
 * that all memory is as coherent as write-back memory is.
 */
export const Mtrr = { CAPABILITY: 0xfe, VARIABLE_FIRST: 0x200, DEFAULT_TYPE: 0x2ff } as const;
const VARIABLE_RANGES = 8;
/** Eight variable ranges, fixed ranges, write-combining (11.11.1). */
export const MTRR_CAPABILITY = 0x508n;
/** IA32_MTRR_FIX64K_00000, FIX16K_80000 and A0000, FIX4K_C0000 to F8000. */
const FIXED: ReadonlySet<number> = new Set([0x250, 0x258, 0x259, ...Array.from({ length: 8 }, (_, i) => 0x268 + i)]);

const MemoryType = { UC: 0, WC: 1, WT: 4, WP: 5, WB: 6, UC_MINUS: 7 } as const;
const MTRR_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6]);
const PAT_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6, 7]);
/** Bits 39:12 of an address, and what else a base, a mask and the default type hold. */
const ADDRESS_BITS = 0xfffffff000n;
const TYPE_BITS = 0xffn;
const MASK_VALID = 1n << 11n;
/** IA32_MTRR_DEF_TYPE.FE and E. */
const DEFAULT_ENABLES = 3n << 10n;

export function isMtrr(index: number): boolean {
  const variable = index >= Mtrr.VARIABLE_FIRST && index < Mtrr.VARIABLE_FIRST + 2 * VARIABLE_RANGES;
  return variable || index === Mtrr.DEFAULT_TYPE || FIXED.has(index);
}

const allOf = (value: bigint, types: ReadonlySet<number>) =>
  Array.from({ length: 8 }, (_, i) => types.has(Number((value >> BigInt(8 * i)) & 0xffn))).every(Boolean);

/** Whether a write raises #GP(0): a type that is not there, or a reserved bit. */
export function mtrrRefused(index: number, value: bigint): boolean {
  if (FIXED.has(index)) return !allOf(value, MTRR_TYPES);
  if (index !== Mtrr.DEFAULT_TYPE && index & 1) return (value & ~(ADDRESS_BITS | MASK_VALID)) !== 0n;
  const others = index === Mtrr.DEFAULT_TYPE ? DEFAULT_ENABLES : ADDRESS_BITS;
  return (value & ~(others | TYPE_BITS)) !== 0n || !MTRR_TYPES.has(Number(value & TYPE_BITS));
}
export const patRefused = (value: bigint): boolean => !allOf(value, PAT_TYPES);

/**
 * What firmware sets up: write-back, but for the legacy window and one range of devices.
 * @param devices start and size of the range, both powers of two
 */
export function firmwareMtrrs(devices: { first: number; sizeBytes: number }): Map<number, bigint> {
  const every = (type: number) => BigInt(type) * 0x0101010101010101n;
  const settings = new Map<number, bigint>();
  for (const index of FIXED) settings.set(index, every(index === 0x259 ? MemoryType.UC : MemoryType.WB));
  settings.set(Mtrr.VARIABLE_FIRST, BigInt(devices.first) | BigInt(MemoryType.UC));
  settings.set(Mtrr.VARIABLE_FIRST + 1, (ADDRESS_BITS & -BigInt(devices.sizeBytes)) | MASK_VALID);
  settings.set(Mtrr.DEFAULT_TYPE, DEFAULT_ENABLES | BigInt(MemoryType.WB));
  return settings;
}

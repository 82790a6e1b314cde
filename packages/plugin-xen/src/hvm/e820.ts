import type { MemoryRegion } from '@polyvisor/plugin-api';

/** Address range types (ACPI 6.3, table 15-6), which XENMEM_memory_map and hvm_start_info use too. */
const TYPE = { ram: 1, reserved: 2, acpi: 3 } as const;

export interface E820Entry {
  readonly first: number;
  readonly sizeBytes: number;
  readonly type: number;
}

export function e820Entries(map: readonly MemoryRegion[]): E820Entry[] {
  return map.map(({ first, sizeBytes, kind }) => ({ first, sizeBytes, type: TYPE[kind] }));
}

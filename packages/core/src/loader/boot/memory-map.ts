import type { MemoryRegion } from '@polyvisor/plugin-api';

export type { MemoryRegion } from '@polyvisor/plugin-api';

/** Sorted by address; no two overlap. */
export type MemoryMap = readonly MemoryRegion[];

/** Address range types of INT 15h, AX = E820h (ACPI 6.3, table 15-6). */
const E820_TYPE = { ram: 1, reserved: 2, acpi: 3 } as const;
export const E820_ENTRY_BYTES = 20;

/** As INT 15h, AX = E820h gives it: base, length, type. */
export function e820Table(map: MemoryMap): Uint8Array {
  const view = new DataView(new ArrayBuffer(map.length * E820_ENTRY_BYTES));
  map.forEach(({ first, sizeBytes, kind }, i) => {
    view.setBigUint64(i * E820_ENTRY_BYTES, BigInt(first), true);
    view.setBigUint64(i * E820_ENTRY_BYTES + 8, BigInt(sizeBytes), true);
    view.setUint32(i * E820_ENTRY_BYTES + 16, E820_TYPE[kind], true);
  });
  return new Uint8Array(view.buffer);
}

/** The RAM region that holds an address, if one does. */
export function ramAround(map: MemoryMap, address: number): MemoryRegion | undefined {
  return map.find(({ first, sizeBytes, kind }) => kind === 'ram' && address >= first && address < first + sizeBytes);
}

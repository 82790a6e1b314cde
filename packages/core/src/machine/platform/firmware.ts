import type { GuestMemory, MemoryRegion } from '@polyvisor/plugin-api';
import type { AcpiPlatform } from '../../devices/acpi/platform.ts';
import { acpiTables } from '../../devices/acpi/tables.ts';
import type { MemoryMap } from '../../loader/boot/memory-map.ts';
import { FIRMWARE, HIGH_MEMORY, LOW_MEMORY_END, PCI_MEMORY } from './layout.ts';

/**
 * The map that firmware tells of `sizeBytes` of memory from address 0 on. What is there above them, up to `ramBytes`, is
 * not the guest's.
 */
export function memoryMapOf(sizeBytes: number, ramBytes = sizeBytes): MemoryMap {
  const map: MemoryRegion[] = [{ first: 0, sizeBytes: Math.min(sizeBytes, LOW_MEMORY_END), kind: 'ram' }];
  if (sizeBytes > FIRMWARE.first) map.push({ ...FIRMWARE, kind: 'reserved' });
  if (sizeBytes > HIGH_MEMORY) map.push({ first: HIGH_MEMORY, sizeBytes: sizeBytes - HIGH_MEMORY, kind: 'ram' });
  if (ramBytes > sizeBytes) map.push({ first: sizeBytes, sizeBytes: ramBytes - sizeBytes, kind: 'reserved' });
  return map;
}

/** What the MTRRs call uncached: from PCI's window to 4 GiB. */
export const MTRR_DEVICES = { first: PCI_MEMORY.first, sizeBytes: 2 ** 32 - PCI_MEMORY.first } as const;

/** Put the ACPI tables where the memory map reserves room for them. Answers the RSDP's address. */
export function placeAcpiTables(platform: AcpiPlatform, memory: GuestMemory): number {
  const { rsdpAddress, bytes } = acpiTables(platform, FIRMWARE.first);
  if (bytes.length > FIRMWARE.sizeBytes) throw new RangeError(`ACPI tables of ${bytes.length} bytes`);
  memory.writeBytes(FIRMWARE.first, bytes);
  return rsdpAddress;
}

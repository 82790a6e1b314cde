/** Lists of MSRs that VM entries and VM exits load and store (SDM vol. 3C, 24.7.2, 26.4 and 27.4). */
import type { GuestMemory } from '@polyvisor/plugin-api';

/** An entry: index of 32 bits, 32 bits that must be zero, value of 64 bits. */
const EntryPart = { INDEX: 0, RESERVED: 4, VALUE: 8 } as const;
const ENTRY_BYTES = 16;
/** As IA32_VMX_MISC recommends with 0 in bits 27:25. What is beyond is not loaded or stored. */
const MOST_ENTRIES = 512;

/** FS.base, GS.base and IA32_SMM_MONITOR_CTL, which fields of the VMCS and SMM have. */
const NEVER_LOADED: ReadonlySet<number> = new Set([0xc000_0100, 0xc000_0101, 0x9b]);
const isX2apic = (index: number): boolean => index >>> 8 === 8;

export interface MsrAccess {
  read(index: number): bigint | undefined;
  write(index: number, value: bigint): boolean;
}

const isBeyond = (memory: GuestMemory, address: number) => address + ENTRY_BYTES > memory.sizeBytes;

/** The number of the entry, counted from 1, that cannot be loaded; those before have been. */
export function loadMsrs(memory: GuestMemory, address: bigint, count: number, msrs: MsrAccess): number | undefined {
  for (let i = 0; i < count; i++) {
    const at = Number(address) + i * ENTRY_BYTES;
    if (i === MOST_ENTRIES || isBeyond(memory, at)) return i + 1;
    const index = memory.read32(at + EntryPart.INDEX) >>> 0;
    if (NEVER_LOADED.has(index) || isX2apic(index) || memory.read32(at + EntryPart.RESERVED) !== 0) return i + 1;
    if (!msrs.write(index, memory.read64(at + EntryPart.VALUE))) return i + 1;
  }
  return undefined;
}

/** `false`: one of them cannot be stored. */
export function storeMsrs(memory: GuestMemory, address: bigint, count: number, msrs: MsrAccess): boolean {
  for (let i = 0; i < count; i++) {
    const at = Number(address) + i * ENTRY_BYTES;
    if (i === MOST_ENTRIES || isBeyond(memory, at)) return false;
    const index = memory.read32(at + EntryPart.INDEX) >>> 0;
    const value = isX2apic(index) || memory.read32(at + EntryPart.RESERVED) !== 0 ? undefined : msrs.read(index);
    if (value === undefined) return false;
    memory.write64(at + EntryPart.VALUE, value);
  }
  return true;
}

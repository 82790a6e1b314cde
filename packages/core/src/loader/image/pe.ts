import { ByteReader } from './byte-reader.ts';

/** Microsoft PE/COFF Specification, "MS-DOS Stub", "COFF File Header", "Optional Header". */
const MZ = 0x5a4d;
const LFANEW = 0x3c;
const PE_SIGNATURE = 0x4550;
const COFF = { machine: 4, optionalHeader: 24 } as const;
const ADDRESS_OF_ENTRY_POINT = 16;

const MACHINES: Readonly<Record<number, string>> = { 332: 'i386', 34404: 'x86-64' };

export interface PeHeader {
  /** What it is for, in words. */
  readonly machine: string;
  /** Relative to where the image is loaded. */
  readonly entryRva: number;
}

/** The PE header of an EFI application, or why there is none. */
export function readPeHeader(bytes: Uint8Array): PeHeader | { readonly missing: string } {
  const reader = new ByteReader(bytes);
  const inside = (offset: number, sizeBytes: number) => offset + sizeBytes <= reader.sizeBytes;
  if (!inside(LFANEW, 4) || reader.u16(0, 'MZ') !== MZ) return { missing: 'no MZ header at offset 0x0' };
  const at = reader.u32(LFANEW, 'e_lfanew');
  const entryAt = at + COFF.optionalHeader + ADDRESS_OF_ENTRY_POINT;
  if (!inside(entryAt, 4) || reader.u32(at, 'PE signature') !== PE_SIGNATURE) {
    return { missing: `no PE signature at offset 0x${at.toString(16)}` };
  }
  const machine = reader.u16(at + COFF.machine, 'PE machine');
  return { machine: MACHINES[machine] ?? `machine ${machine}`, entryRva: reader.u32(entryAt, 'PE entry point') };
}

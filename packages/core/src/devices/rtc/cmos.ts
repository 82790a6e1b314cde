import { RAM_BYTES } from './spec.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/**
 * Configuration bytes (IBM PC/AT technical reference, "CMOS RAM address map"; from 0x34 on as the firmware of virtual
 * PCs reads them: SeaBIOS, src/hw/rtc.h).
 */
const Cmos = {
  EQUIPMENT: 0x14,
  BASE_KIB: 0x15,
  EXTENDED_KIB: 0x17,
  CHECKSUM_FIRST: 0x10,
  CHECKSUM_LAST: 0x2d,
  CHECKSUM: 0x2e,
  EXTENDED_KIB_FOUND: 0x30,
  ABOVE_16M_64K: 0x34,
  ABOVE_4G_64K: 0x5b,
} as const;
const EQUIPMENT_FPU = 0x02;

export interface MemorySizes {
  /** RAM from gpa 0 up, bytes; at most 4 GiB. */
  readonly below4GBytes: number;
  /** RAM from 4 GiB up. */
  readonly above4GBytes: number;
}

/** CMOS RAM as a PC's firmware leaves it. */
export function firmwareCmos({ below4GBytes, above4GBytes }: MemorySizes): number[] {
  const ram = new Array<number>(RAM_BYTES).fill(0);
  const store = (at: number, value: number, sizeBytes = 2) => {
    for (let byte = 0; byte < sizeBytes; byte++) ram[at + byte] = Math.floor(value / 256 ** byte) & 0xff;
  };
  const beyond = (startBytes: number, unitBytes: number) =>
    Math.min(0xffff, Math.max(0, Math.floor((Math.min(below4GBytes, 4 * GIB) - startBytes) / unitBytes)));
  ram[Cmos.EQUIPMENT] = EQUIPMENT_FPU;
  store(Cmos.BASE_KIB, Math.min(640, Math.floor(below4GBytes / KIB)));
  for (const at of [Cmos.EXTENDED_KIB, Cmos.EXTENDED_KIB_FOUND]) store(at, beyond(MIB, KIB));
  store(Cmos.ABOVE_16M_64K, beyond(16 * MIB, 64 * KIB));
  store(Cmos.ABOVE_4G_64K, Math.floor(above4GBytes / (64 * KIB)), 3);
  const sum = ram.slice(Cmos.CHECKSUM_FIRST, Cmos.CHECKSUM_LAST + 1).reduce((total, byte) => total + byte, 0);
  // High byte first, unlike all others.
  ram[Cmos.CHECKSUM] = (sum >> 8) & 0xff;
  ram[Cmos.CHECKSUM + 1] = sum & 0xff;
  return ram;
}

/** Which ports and MSRs a guest's accesses exit for (AMD APM vol. 2, 15.10 and 15.11). */
import type { ExitOf, GuestMemory } from '@polyvisor/plugin-api';
import { bitsAt } from '../permission-bits.ts';

const PAGE_BYTES = 4096;
/** A bit each for 65,536 ports and for three more, which an access to the last touches; it has three pages to itself. */
export const IOPM_BYTES = 2 * PAGE_BYTES + 1;
export const MSRPM_BYTES = 2 * PAGE_BYTES;

/** The low 12 bits of a map's address are ignored. */
const pageOf = (basePa: number): number => basePa - (basePa % PAGE_BYTES);

/** Whether an access to ports exits: any of its bytes has its bit set in the I/O permissions map (15.10.1). */
export function interceptsPort(memory: GuestMemory, iopmBasePa: number, port: number, sizeBytes: 1 | 2 | 4): boolean {
  return bitsAt(memory, pageOf(iopmBasePa), port, (1 << sizeBytes) - 1) !== 0;
}

/** First MSR and first byte in the map of the three ranges of 8,192 MSRs (table 15-6 of 15.11). */
const MSR_RANGES = [
  { firstMsr: 0x0000_0000, firstByte: 0x0000 },
  { firstMsr: 0xc000_0000, firstByte: 0x0800 },
  { firstMsr: 0xc001_0000, firstByte: 0x1000 },
] as const;
const MSRS_PER_RANGE = 0x2000;

/** Whether RDMSR or WRMSR exits by the MSR permissions map (15.11); an MSR outside of its ranges always does. */
export function interceptsMsr(
  memory: GuestMemory,
  msrpmBasePa: number,
  msr: number,
  access: 'read' | 'write',
): boolean {
  for (const { firstMsr, firstByte } of MSR_RANGES) {
    const index = (msr >>> 0) - firstMsr;
    if (index < 0 || index >= MSRS_PER_RANGE) continue;
    return bitsAt(memory, pageOf(msrpmBasePa), firstByte * 8 + index * 2 + (access === 'write' ? 1 : 0), 1) !== 0;
  }
  return true;
}

/** Bits of EXITINFO1 of an IOIO exit (15.10.2, figure 15-2). */
const Ioio = { TYPE_IN: 1, STR: 1 << 2, REP: 1 << 3, SZ8: 1 << 4, A16: 1 << 7, SEG_SHIFT: 10, PORT_SHIFT: 16 } as const;

/** EXITINFO1 of an IOIO exit, unsigned. SEG is that of a string instruction, else 0 (15.10.2). */
export function ioioExitInfo1(exit: Omit<ExitOf<'io'>, 'kind' | 'instructionLength'>): number {
  const { port, sizeBytes, direction, string, rep, addressSize, segment } = exit;
  let info = (port << Ioio.PORT_SHIFT) | (Ioio.SZ8 * sizeBytes) | ((Ioio.A16 * addressSize) >>> 4);
  if (direction === 'in') info |= Ioio.TYPE_IN;
  if (string) info |= Ioio.STR | (segment << Ioio.SEG_SHIFT);
  if (rep) info |= Ioio.REP;
  return info >>> 0;
}

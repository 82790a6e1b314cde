import { Flag } from '../../isa/flags.ts';
import { E820_ENTRY_BYTES, e820Table, type MemoryMap, ramAround } from '../../loader/boot/memory-map.ts';
import { paragraphSegment } from '../native/segments.ts';
import { HIGH_MEMORY } from '../platform/layout.ts';
import { type BiosCall, type BiosHost, Register, type ServiceAnswer } from './call.ts';
import { CONFIGURATION_OFFSET, ROM_SEGMENT } from './rom.ts';

const ES = 0;
/** "SMAP": what identifies caller and answer of E820h. */
const SMAP = 0x534d4150;
const UNSUPPORTED = 0x86;
const MIB = 1 << 20;
/** E801h counts KiB up to 16 MiB, and pieces of 64 KiB above. */
const SIXTEEN_MIB = 16 * MIB;
const PIECE_BYTES = 1 << 16;
/** What fits into AX of AH = 88h. */
const MOST_KIB = 0xffff;
/** AX = 2403h: the gate can be reached through the keyboard controller and port 92h. */
const A20_WAYS = 3;

/**
 * INT 15h: how much memory there is, the A20 gate (Phoenix, "System BIOS for IBM PCs", and ACPI 6.3, 15.1 for E820h), and the table of
 * AH = C0h. All else, APM, SpeedStep and the notice of the target mode (AX = EC00h) among it, is AH = 86h and CF: not there.
 */
export function systemService(call: BiosCall, host: BiosHost): ServiceAnswer {
  const service = WHOLE_WORD[call.word(Register.AX)] ?? BY_AH[call.high(Register.AX)];
  const done = service?.(call, host) ?? false;
  if (!done) call.setHigh(Register.AX, UNSUPPORTED);
  call.setFlag(Flag.CF, !done);
  return undefined;
}

type SystemService = (call: BiosCall, host: BiosHost) => boolean;

const WHOLE_WORD: Readonly<Record<number, SystemService>> = {
  59424: memoryMapEntry,
  59393: (call, { memoryMap }) => {
    const bytes = extendedBytes(memoryMap);
    const below = Math.min(bytes, SIXTEEN_MIB - HIGH_MEMORY) >>> 10;
    const above = Math.floor(Math.max(0, bytes - (SIXTEEN_MIB - HIGH_MEMORY)) / PIECE_BYTES);
    for (const register of [Register.AX, Register.CX]) call.setWord(register, below);
    for (const register of [Register.BX, Register.DX]) call.setWord(register, Math.min(above, 0xffff));
    return true;
  },
  // Addresses always have all their bits.
  9217: (call) => {
    call.setHigh(Register.AX, 0);
    return true;
  },
  9218: (call) => {
    call.setWord(Register.AX, 1);
    return true;
  },
  9219: (call) => {
    call.setHigh(Register.AX, 0);
    call.setWord(Register.BX, A20_WAYS);
    return true;
  },
};

const BY_AH: Readonly<Record<number, SystemService>> = {
  136: (call, { memoryMap }) => {
    call.setWord(Register.AX, Math.min(MOST_KIB, Math.floor(extendedBytes(memoryMap) / 1024)));
    return true;
  },
  192: (call) => {
    call.vcpu.setSegment(ES, paragraphSegment(call.vcpu, ES, ROM_SEGMENT));
    call.setWord(Register.BX, CONFIGURATION_OFFSET);
    call.setHigh(Register.AX, 0);
    return true;
  },
};

/** RAM from 1 MiB on, in one piece. */
function extendedBytes(map: MemoryMap): number {
  const ram = ramAround(map, HIGH_MEMORY);
  return ram ? ram.first + ram.sizeBytes - HIGH_MEMORY : 0;
}

/** EBX counts the entries; it is 0 for the first, and again after the last. */
function memoryMapEntry(call: BiosCall, { memoryMap }: BiosHost): boolean {
  const index = call.dword(Register.BX);
  if (call.dword(Register.DX) !== SMAP || call.dword(Register.CX) < E820_ENTRY_BYTES || index >= memoryMap.length) {
    return false;
  }
  const entry = e820Table([memoryMap[index]]);
  const written = call.vcpu.write(call.vcpu.segment(ES).base + BigInt(call.word(Register.DI)), entry);
  if (!written.ok) return false;
  call.setDword(Register.AX, SMAP);
  call.setDword(Register.CX, E820_ENTRY_BYTES);
  call.setDword(Register.BX, index + 1 < memoryMap.length ? index + 1 : 0);
  return true;
}

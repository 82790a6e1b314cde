import { type BlockBackend, type BootRequest, Gpr, type GuestMemory, type Vcpu } from '@polyvisor/plugin-api';
import { LoaderField, readSetupHeader, SETUP_HEADER_AT, type SetupHeader } from '../image/setup-header.ts';
import { commandLineTooLong, doesNotFit } from './boot-error.ts';
import { enterFlatLongMode, FLAT_LONG_MODE_END } from './flat-long-mode.ts';
import { enterFlatProtectedMode } from './flat-protected-mode.ts';
import { e820Table, type MemoryMap, ramAround } from './memory-map.ts';
import type { Range } from './placement.ts';

/** Fields of the zero page beside the setup header (Linux, Documentation/arch/x86/zero-page.rst). */
const ZeroPage = { acpiRsdpAddress: 0x70, e820Entries: 0x1e8, e820Table: 0x2d0, sizeBytes: 4096 } as const;
const E820_MOST_ENTRIES = 128;
const ZERO_PAGE_AT = FLAT_LONG_MODE_END + 0x1000;
const COMMAND_LINE_AT = ZERO_PAGE_AT + ZeroPage.sizeBytes;
/** Where what firmware and BIOS keep begins; the command line must end before it. */
const COMMAND_LINE_END = 0x90000;
/** Offset of startup_64 in the protected-mode code ("64-bit Boot Protocol"). */
export const ENTRY_64 = 0x200;
/** type_of_loader: one that has no number assigned. */
export const LOADER_UNDEFINED = 0xff;
const PAGE = 4096;

/** What a boot protocol is given of the machine. */
export interface BootSurroundings {
  readonly memory: GuestMemory;
  readonly vcpu: Vcpu;
  readonly memoryMap: MemoryMap;
  /** In the order in which firmware would look for something to start. */
  readonly disks: readonly BlockBackend[];
  /** Guest-physical address of ACPI's RSDP, if there are tables. */
  readonly rsdpAddress?: number;
}

/**
 * The 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst): the protected-mode code as it is in the file at
 * pref_address, zero page in RSI. The kernel unpacks itself.
 * @throws PolyvisorError PV2013, PV2014 for what does not fit
 */
export function bootLinux64(request: BootRequest, surroundings: BootSurroundings): void {
  const { memory, vcpu, memoryMap } = surroundings;
  const header = readSetupHeader(request.image.file);
  const at = Number(header.prefAddress);
  placeCode(header, at, Math.max(header.initSizeBytes, header.code.length), surroundings);
  const initrdAt = placeInitrd(request.initrd, header, memoryMap, at + header.initSizeBytes, memory);
  writeZeroPage(request, header, initrdAt, surroundings);
  enterFlatLongMode(memory, vcpu);
  vcpu.gpr[Gpr.RSI] = BigInt(ZERO_PAGE_AT);
  vcpu.rip = BigInt(at + ENTRY_64);
}

/**
 * The 32-bit boot protocol (the same, "32-bit Boot Protocol"): the code where code32_start says, zero page in ESI,
 * EBX, EBP and EDI 0. A relocatable kernel moves itself to where it prefers to be, and that has to be RAM, too.
 * @throws PolyvisorError PV2013, PV2014 for what does not fit
 */
export function bootLinux32(request: BootRequest, surroundings: BootSurroundings): void {
  const { memory, vcpu } = surroundings;
  const header = readSetupHeader(request.image.file);
  writeZeroPage(request, header, placeLinux32(request, header, surroundings), surroundings);
  enterFlatProtectedMode(memory, vcpu);
  vcpu.gpr[Gpr.RSI] = BigInt(ZERO_PAGE_AT);
  vcpu.rip = BigInt(header.code32Start);
}

/** The protected-mode code at code32_start, and the initrd behind all that it needs. */
export function placeLinux32(request: BootRequest, header: SetupHeader, surroundings: BootSurroundings): Placed {
  const { memory, memoryMap } = surroundings;
  const at = header.code32Start;
  const runsAt = Math.max(at, Number(header.prefAddress));
  const end = Math.max(at + header.code.length, runsAt + header.initSizeBytes);
  placeCode(header, at, end - at, surroundings);
  return placeInitrd(request.initrd, header, memoryMap, end, memory);
}

/** A zero page for a kernel without a setup header, whose limits are those of the newest. Answers its address. */
export function writeBareZeroPage(request: BootRequest, kernelEnd: number, to: BootSurroundings): number {
  const header = { bytes: BARE_HEADER, initrdAddressMax: 0x7fffffff, commandLineSizeBytes: 2047 };
  writeZeroPage(request, header, placeInitrd(request.initrd, header, to.memoryMap, kernelEnd, to.memory), to);
  return ZERO_PAGE_AT;
}

/** boot_flag, a jump, HdrS and protocol 2.15, at their places from 0x1f1 on; LOADED_HIGH in loadflags. */
const BARE_HEADER = (() => {
  const bytes = new Uint8Array(0x26c - SETUP_HEADER_AT);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x1fe - SETUP_HEADER_AT, 0xaa55, true);
  view.setUint32(0x202 - SETUP_HEADER_AT, 0x53726448, true);
  view.setUint16(0x206 - SETUP_HEADER_AT, 0x20f, true);
  view.setUint8(0x211 - SETUP_HEADER_AT, 1);
  return bytes;
})();

/** What of a setup header a zero page needs. */
type Limits = Pick<SetupHeader, 'bytes' | 'initrdAddressMax' | 'commandLineSizeBytes'>;

/** Where the initrd was placed: gpa and size. */
type Placed = { readonly at: number; readonly sizeBytes: number } | undefined;

function writeZeroPage(request: BootRequest, header: Limits, initrd: Placed, to: BootSurroundings): void {
  const zeroPage = new DataView(new ArrayBuffer(ZeroPage.sizeBytes));
  new Uint8Array(zeroPage.buffer).set(header.bytes, SETUP_HEADER_AT);
  zeroPage.setUint8(LoaderField.typeOfLoader, LOADER_UNDEFINED);
  writeCommandLine(request.commandLine, header, to.memory, { first: COMMAND_LINE_AT, end: COMMAND_LINE_END });
  zeroPage.setUint32(LoaderField.commandLinePointer, COMMAND_LINE_AT, true);
  if (initrd) {
    zeroPage.setUint32(LoaderField.ramdiskImage, initrd.at, true);
    zeroPage.setUint32(LoaderField.ramdiskSize, initrd.sizeBytes, true);
  }
  const regions = to.memoryMap.slice(0, E820_MOST_ENTRIES);
  zeroPage.setUint8(ZeroPage.e820Entries, regions.length);
  new Uint8Array(zeroPage.buffer).set(e820Table(regions), ZeroPage.e820Table);
  zeroPage.setBigUint64(ZeroPage.acpiRsdpAddress, BigInt(to.rsdpAddress ?? 0), true);
  to.memory.writeBytes(ZERO_PAGE_AT, new Uint8Array(zeroPage.buffer));
}

/** The protected-mode code at `at`, where `needed` bytes in one piece of RAM must be. */
function placeCode(header: SetupHeader, at: number, needed: number, { memory, memoryMap }: BootSurroundings): void {
  const ram = ramAround(memoryMap, at);
  if (!ram || at + needed > ram.first + ram.sizeBytes) {
    throw doesNotFit('the kernel', needed, `at 0x${at.toString(16)} in the guest's memory`);
  }
  memory.writeBytes(at, header.code);
}

/** As high as RAM and the kernel's limit allow. */
function placeInitrd(
  initrd: Uint8Array | undefined,
  header: Limits,
  map: MemoryMap,
  kernelEnd: number,
  memory: GuestMemory,
): Placed {
  if (!initrd) return undefined;
  const ram = ramAround(map, kernelEnd - 1);
  const ramEnd = ram ? ram.first + ram.sizeBytes : 0;
  const end = Math.min(ramEnd, header.initrdAddressMax + 1);
  const at = Math.floor((end - initrd.length) / PAGE) * PAGE;
  if (at < kernelEnd) {
    const limit = end < ramEnd ? `the kernel's limit 0x${end.toString(16)}` : "the end of the guest's memory";
    const where = `between the kernel's end at 0x${kernelEnd.toString(16)} and ${limit}`;
    throw doesNotFit('the initrd', initrd.length, where);
  }
  memory.writeBytes(at, initrd);
  return { at, sizeBytes: initrd.length };
}

/** With its NUL, within the room that there is. @throws PolyvisorError PV2014 */
export function writeCommandLine(text: string, header: Limits, memory: GuestMemory, room: Range): void {
  const bytes = new TextEncoder().encode(`${text}\0`);
  const most = Math.min(header.commandLineSizeBytes, room.end - room.first - 1);
  if (bytes.length - 1 > most) throw commandLineTooLong(bytes.length - 1, most);
  memory.writeBytes(room.first, bytes);
}

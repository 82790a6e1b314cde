/**
 * Start of day as lguest's launcher and host made it: boot_params at 0, the command line behind it, the kernel where it wants
 * to be, the initrd at the top of memory, page tables below it, and the kernel entered at level 1 with paging on (Linux
 * 2.6.32, Documentation/lguest/lguest.c and drivers/lguest/page_tables.c, setup_pagetables).
 */
import { type BootRequest, type ElfImage, Gpr, PolyvisorError, SegmentIndex } from '@polyvisor/plugin-api';
import type { LguestGuest } from './guest.ts';
import { reservedBytes } from './paging.ts';
import { GUEST_PL, KERNEL_CS, KERNEL_DS } from './segments.ts';
import { readSetup, SETUP_HEADER_AT } from './setupHeader.ts';

const PAGE_BYTES = 4096;
const PT_LOAD = 1;
/** struct boot_params; what is not the setup header is in zero-page.rst. */
const Boot = {
  e820Entries: 0x1e8,
  protocol: 0x206,
  typeOfLoader: 0x210,
  loadFlags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  commandLinePointer: 0x228,
  hardwareSubarch: 0x23c,
  e820Table: 0x2d0,
  BYTES: PAGE_BYTES,
} as const;
const PROTOCOL = 0x207;
const LOADER_UNDEFINED = 0xff;
const KEEP_SEGMENTS = 0x40;
const SUBARCH_LGUEST = 1;
const E820_RAM = 1;
const COMMAND_LINE_AT = Boot.BYTES;
const MOST_COMMAND_LINE_BYTES = 2047;
/** Present, writable, user: level 1 is the supervisor's for paging. */
const ENTRY_FLAGS = 7;
const PRESENT = 1;
const CR0 = 0x8001_0033n; // PG WP NE ET MP PE
const CR4 = 0x600n; // OSFXSR OSXMMEXCPT
const CR4_PAE = 0x20n;
const EFLAGS = 0x202; // IF
const DATA_REGISTERS = [SegmentIndex.ES, SegmentIndex.SS, SegmentIndex.DS];
const UNUSABLE = 0x10000;
const IMAGE_EXIT_CODE = 3;

function refuse(code: string, message: string, fix: string): never {
  throw new PolyvisorError(code, message, fix, IMAGE_EXIT_CODE);
}

/** Places everything and sets the registers. @throws PolyvisorError PV7001 to PV7003 */
export function startGuest(guest: LguestGuest, request: BootRequest): void {
  const { elf } = request.image;
  if (!elf) refuse('PV7001', `${request.image.name}: no ELF image`, 'give another kernel');
  const memoryBytes = Math.floor(request.memoryBytes / PAGE_BYTES) * PAGE_BYTES;
  const initrdBytes = request.initrd?.length ?? 0;
  const initrdAt = memoryBytes - Math.ceil(initrdBytes / PAGE_BYTES) * PAGE_BYTES;
  const tables = planTables(guest, memoryBytes, initrdAt, pageOffset(elf));
  placeKernel(guest, request, elf, tables.firstGpa);
  if (request.initrd) guest.machine.memory.writeBytes(initrdAt, request.initrd);
  writeBootParameters(guest, request, { memoryBytes, initrdAt, initrdBytes });
  writeTables(guest, tables);
  enter(guest, request, tables.root);
}

/** Where the kernel has its memory mapped; it says so by where its segments are linked and where they are loaded. */
function pageOffset(elf: ElfImage): number {
  const first = elf.programHeaders.find(({ type }) => type === PT_LOAD);
  return first ? Number(BigInt.asUintN(32, first.vaddr - first.paddr)) : 0;
}

function placeKernel({ machine }: LguestGuest, { image }: BootRequest, elf: ElfImage, limit: number): void {
  for (const { type, paddr, offset, fileSizeBytes, memorySizeBytes } of elf.programHeaders) {
    if (type !== PT_LOAD) continue;
    const at = Number(paddr);
    const bytes = elf.bytes.subarray(offset, offset + fileSizeBytes);
    if (bytes.length < fileSizeBytes || fileSizeBytes > memorySizeBytes) {
      refuse('PV7001', `${image.name}: a segment is cut short`, 'give another kernel');
    }
    const end = at + memorySizeBytes;
    if (end > limit) {
      const where = `to 0x${end.toString(16)}, and initrd and page tables begin at 0x${limit.toString(16)}`;
      refuse('PV7002', `${image.name} does not fit: it reaches ${where}`, 'give the guest more --memory');
    }
    machine.memory.fill(at, memorySizeBytes, 0);
    machine.memory.writeBytes(at, bytes);
  }
}

function writeBootParameters(
  { machine }: LguestGuest,
  { image, commandLine, initrd }: BootRequest,
  { memoryBytes, initrdAt, initrdBytes }: { memoryBytes: number; initrdAt: number; initrdBytes: number },
): void {
  const boot = new DataView(new ArrayBuffer(Boot.BYTES));
  const bytes = new Uint8Array(boot.buffer);
  if (image.format === 'bzimage') bytes.set(readSetup(image.file).bytes, SETUP_HEADER_AT);
  boot.setUint8(Boot.e820Entries, 1);
  boot.setBigUint64(Boot.e820Table + 8, BigInt(memoryBytes), true);
  boot.setUint32(Boot.e820Table + 16, E820_RAM, true);
  boot.setUint16(Boot.protocol, PROTOCOL, true);
  boot.setUint8(Boot.typeOfLoader, LOADER_UNDEFINED);
  boot.setUint8(Boot.loadFlags, boot.getUint8(Boot.loadFlags) | KEEP_SEGMENTS);
  boot.setUint32(Boot.hardwareSubarch, SUBARCH_LGUEST, true);
  boot.setUint32(Boot.commandLinePointer, COMMAND_LINE_AT, true);
  if (initrd) {
    boot.setUint32(Boot.ramdiskImage, initrdAt, true);
    boot.setUint32(Boot.ramdiskSize, initrdBytes, true);
  }
  const text = new TextEncoder().encode(`${commandLine}\0`);
  if (text.length - 1 > MOST_COMMAND_LINE_BYTES) {
    refuse('PV7003', `a command line of ${text.length - 1} bytes`, `give at most ${MOST_COMMAND_LINE_BYTES}`);
  }
  machine.memory.writeBytes(0, bytes);
  machine.memory.writeBytes(COMMAND_LINE_AT, text);
}

interface Tables {
  readonly root: number;
  /** Middle table of PAE; all of it is one page. */
  readonly middle: number;
  readonly leaves: number;
  readonly pages: number;
  readonly firstGpa: number;
  /** Where the memory is mapped besides at 0. */
  readonly offset: number;
}

/** The first tables: all of memory at 0 and at the kernel's own place for it, as far as there is room below the switcher. */
function planTables(guest: LguestGuest, memoryBytes: number, endGpa: number, offset: number): Tables {
  const { pae } = guest.paging;
  const perTable = pae ? 512 : 1024;
  const room = Math.min(2 ** 32 - reservedBytes(guest.paging) - offset, pae ? 2 ** 30 : 2 ** 32);
  const pages = Math.floor(Math.min(memoryBytes, room) / PAGE_BYTES);
  const root = endGpa - PAGE_BYTES;
  const leaves = root - Math.ceil(pages / perTable) * PAGE_BYTES;
  const middle = pae ? leaves - PAGE_BYTES : leaves;
  if (middle <= COMMAND_LINE_AT + PAGE_BYTES) {
    refuse('PV7002', `no room for page tables below 0x${endGpa.toString(16)}`, 'give the guest more --memory');
  }
  return { root, middle, leaves, pages, firstGpa: middle, offset };
}

function writeTables({ machine: { memory }, paging }: LguestGuest, tables: Tables): void {
  const { root, middle, leaves, pages, offset } = tables;
  const entryBytes = paging.pae ? 8 : 4;
  memory.fill(middle, root + PAGE_BYTES - middle, 0);
  for (let page = 0; page < pages; page++) memory.write32(leaves + page * entryBytes, page * PAGE_BYTES + ENTRY_FLAGS);
  const count = Math.ceil((pages * entryBytes) / PAGE_BYTES);
  if (paging.pae) {
    for (let i = 0; i < count; i++) memory.write32(middle + i * 8, leaves + i * PAGE_BYTES + ENTRY_FLAGS);
    for (const index of [0, offset >>> 30]) memory.write32(root + index * 8, middle + PRESENT);
    return;
  }
  for (const first of [0, offset >>> 22]) {
    for (let i = 0; i < count; i++) memory.write32(root + (first + i) * 4, leaves + i * PAGE_BYTES + ENTRY_FLAGS);
  }
}

function enter({ cpu, gdt, paging }: LguestGuest, { entry }: BootRequest, root: number): void {
  gdt.lend(cpu);
  cpu.efer = 0n;
  cpu.cr4 = paging.pae ? CR4 | CR4_PAE : CR4;
  cpu.cr3 = BigInt(root);
  cpu.cr0 = CR0;
  // PAE's upper entries are loaded with CR3 once paging is on.
  cpu.cr3 = BigInt(root);
  cpu.setSegment(SegmentIndex.CS, gdt.segment(KERNEL_CS));
  for (const register of DATA_REGISTERS) cpu.setSegment(register, gdt.segment(KERNEL_DS));
  const none = { selector: 0, base: 0n, limit: 0, accessRights: UNUSABLE };
  for (const register of [SegmentIndex.FS, SegmentIndex.GS]) cpu.setSegment(register, none);
  cpu.cpl = GUEST_PL;
  // ESI: boot_params, which is at 0; all other registers are 0 as well.
  cpu.gpr.fill(0n, 0, Gpr.R8);
  cpu.eflags = EFLAGS;
  cpu.rip = BigInt.asUintN(32, entry.address);
}

import {
  type BootModule,
  type BootRequest,
  type ElfImage,
  type ElfProgramHeader,
  Gpr,
  type MemoryRegion,
  PolyvisorError,
  type Segment,
  SegmentIndex,
  type Vcpu,
} from '@polyvisor/plugin-api';
import { IMAGE_EXIT_CODE } from '../builder/plan.ts';
import { PAGE_BYTES } from '../layout.ts';
import { readImageNotes } from '../notes/imageNotes.ts';
import type { ImageNotes } from '../notes/types.ts';
import type { HvmDomain } from './hvmDomain.ts';
import { encodeHvmStartInfo } from './startInfo.ts';

const PT_LOAD = 1;
const LIMIT = 2 ** 32;
/** PHYS32_RELOC's defaults for what it leaves out (public/elfnote.h). */
const DEFAULT_ALIGN = 0x20_0000;
const CR0_PE = 1n;
const RFLAGS_RESET = 2n;

/** A 32-bit code or data segment from 0 to 4 GiB, and a TSS of the least size (docs/misc/pvh.pandoc). */
const CODE: Segment = { selector: 0, base: 0n, limit: 0xffff_ffff, accessRights: 0xc09b };
const DATA: Segment = { selector: 0, base: 0n, limit: 0xffff_ffff, accessRights: 0xc093 };
const TASK: Segment = { selector: 0, base: 0n, limit: 0x67, accessRights: 0x8b };

/** Where a kernel goes: its range as linked, and how far it is moved. */
interface Placement {
  readonly first: number;
  readonly end: number;
  readonly delta: number;
  readonly ram: MemoryRegion;
}

/**
 * Build a PVH guest (docs/misc/pvh.pandoc): the ELF's segments at their physical addresses, or moved as PHYS32_RELOC allows;
 * behind them hvm_start_info, then the modules, of which the first is the initrd if there is one; vCPU 0 at PHYS32_ENTRY.
 * Answers the address of hvm_start_info.
 * @throws PolyvisorError PV4013 to PV4015 for images that cannot be placed
 */
export function startPvh(domain: HvmDomain, request: BootRequest): number {
  const { elf } = request.image;
  const notes = elf && readImageNotes(elf);
  if (elf === undefined || notes?.phys32Entry === undefined) {
    throw new PolyvisorError(
      'PV4013',
      `${request.image.name} has no PVH entry`,
      'choose another --entry',
      IMAGE_EXIT_CODE,
    );
  }
  const { memoryMap, rsdpAddress } = domain.machine.firmware();
  const kernel = place(elf, notes, memoryMap);
  loadSegments(domain, elf, kernel.delta);
  // Right behind the kernel, where the mappings that it makes for itself first still reach.
  const infoAt = roundUp(kernel.end + kernel.delta);
  placeInformation(domain, request, {
    infoAt,
    ramEnd: kernel.ram.first + kernel.ram.sizeBytes,
    memoryMap,
    rsdpAddress,
  });
  enter(domain.vcpus[0].cpu, Number(notes.phys32Entry) + kernel.delta, infoAt);
  return infoAt;
}

interface InformationPlace {
  readonly infoAt: number;
  readonly ramEnd: number;
  readonly memoryMap: readonly MemoryRegion[];
  readonly rsdpAddress: number | undefined;
}

function placeInformation({ memory }: HvmDomain, request: BootRequest, to: InformationPlace): void {
  const given = modulesOf(request);
  const encode = (places: readonly number[]) => {
    const modules = given.map(({ bytes, commandLine }, i) => {
      return { gpa: places[i], sizeBytes: bytes.length, commandLine: utf8(commandLine) };
    });
    const { infoAt, memoryMap, rsdpAddress = 0 } = to;
    return encodeHvmStartInfo({
      ...{ gpa: infoAt, commandLine: utf8(request.commandLine), modules, memoryMap, rsdpGpa: rsdpAddress },
    });
  };
  let end = to.infoAt + encode(given.map(() => 0)).length;
  const places = given.map(({ bytes }) => {
    const at = roundUp(end);
    end = at + bytes.length;
    return at;
  });
  if (end > to.ramEnd) throw doesNotFit('the kernel with its modules', end - to.ramEnd);
  memory.writeBytes(to.infoAt, encode(places));
  for (const [i, { bytes }] of given.entries()) memory.writeBytes(places[i], bytes);
}

const utf8 = (text: string) => new TextEncoder().encode(text);

/** The list as the guest gets it: kernels take its first entry for their initrd. */
function modulesOf({ initrd, modules = [] }: BootRequest): readonly BootModule[] {
  return initrd ? [{ bytes: initrd, commandLine: '' }, ...modules] : modules;
}

function roundUp(value: number, align = PAGE_BYTES): number {
  return Math.ceil(value / align) * align;
}

function loadable(elf: ElfImage): ElfProgramHeader[] {
  return elf.programHeaders.filter(({ type, memorySizeBytes }) => type === PT_LOAD && memorySizeBytes > 0);
}

function place(elf: ElfImage, notes: ImageNotes, map: readonly MemoryRegion[]): Placement {
  const segments = loadable(elf);
  const first = Math.min(...segments.map(({ paddr }) => Number(paddr)));
  const end = Math.max(...segments.map(({ paddr, memorySizeBytes }) => Number(paddr) + memorySizeBytes));
  const entry = Number(notes.phys32Entry);
  if (segments.length === 0 || end > LIMIT || entry < first || entry >= end) {
    throw new PolyvisorError(
      'PV4014',
      'PHYS32_ENTRY lies in no loadable segment below 4 GiB',
      'the image is broken',
      IMAGE_EXIT_CODE,
    );
  }
  for (const ram of map) {
    if (ram.kind === 'ram' && first >= ram.first && end <= ram.first + ram.sizeBytes)
      return { first, end, delta: 0, ram };
  }
  const moved = notes.phys32Reloc && relocate(first, end, notes.phys32Reloc, map);
  if (moved === undefined) throw doesNotFit('the kernel', end - first);
  return moved;
}

/** The lowest place that the note allows. */
function relocate(
  first: number,
  end: number,
  { align, min, max }: NonNullable<ImageNotes['phys32Reloc']>,
  map: readonly MemoryRegion[],
): Placement | undefined {
  const step = align || DEFAULT_ALIGN;
  for (const ram of map) {
    const at = roundUp(Math.max(ram.first, min ?? 0), step);
    const last = at + (end - first) - 1;
    const isWithin = last < ram.first + ram.sizeBytes && last <= (max ?? LIMIT - 1);
    if (ram.kind === 'ram' && isWithin) return { first, end, delta: at - first, ram };
  }
  return undefined;
}

function loadSegments({ memory }: HvmDomain, elf: ElfImage, delta: number): void {
  for (const { offset, fileSizeBytes, memorySizeBytes, paddr } of loadable(elf)) {
    const sizeBytes = Math.min(fileSizeBytes, memorySizeBytes);
    if (offset < 0 || offset + sizeBytes > elf.bytes.length) {
      throw new PolyvisorError(
        'PV4015',
        'a loadable segment lies outside the file',
        'the image is truncated',
        IMAGE_EXIT_CODE,
      );
    }
    const gpa = Number(paddr) + delta;
    memory.writeBytes(gpa, elf.bytes.subarray(offset, offset + sizeBytes));
    memory.fill(gpa + sizeBytes, memorySizeBytes - sizeBytes, 0);
  }
}

function doesNotFit(what: string, sizeBytes: number): PolyvisorError {
  const mebibytes = Math.ceil(sizeBytes / 2 ** 20);
  return new PolyvisorError(
    'PV4016',
    `${what} does not fit into the guest's memory: ${mebibytes} MiB too much, or in no place that it can be at`,
    'give the guest more memory with --memory',
    IMAGE_EXIT_CODE,
  );
}

/** The state that docs/misc/pvh.pandoc lays down; CR0.ET is always set on processors with an FPU of their own. */
function enter(cpu: Vcpu, entry: number, infoAt: number): void {
  cpu.efer = 0n;
  cpu.cr4 = 0n;
  cpu.cr0 = CR0_PE;
  cpu.setSegment(SegmentIndex.CS, CODE);
  for (const index of [SegmentIndex.DS, SegmentIndex.ES, SegmentIndex.SS, SegmentIndex.FS, SegmentIndex.GS]) {
    cpu.setSegment(index, DATA);
  }
  cpu.tables.tr = TASK;
  cpu.cpl = 0;
  cpu.rflags = RFLAGS_RESET;
  cpu.gpr.fill(0n);
  cpu.gpr[Gpr.RBX] = BigInt(infoAt);
  cpu.rip = BigInt(entry);
}

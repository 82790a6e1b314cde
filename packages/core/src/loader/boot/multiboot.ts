import { type BootModule, type BootRequest, Gpr, type GuestMemory } from '@polyvisor/plugin-api';
import { unsupportedImage } from '../image/image-error.ts';
import { findMultibootHeaderOf, multibootRequests } from '../image/multiboot.ts';
import { doesNotFit } from './boot-error.ts';
import { enterFlatProtectedMode } from './flat-protected-mode.ts';
import type { BootSurroundings } from './linux.ts';
import { type MemoryMap, ramAround } from './memory-map.ts';
import { type InformationParts, multiboot1Information, multiboot2Information } from './multiboot-information.ts';
import { elfPieces, type Piece, type PlacedModule, place, type Range } from './placement.ts';

/** What EAX holds at the entry (0.6.96, 3.2; 2.0, 3.3). */
const MAGIC = { 1: 0x2badb002n, 2: 0x36d76289n } as const;
/** Conventional memory that the information may take. */
const LOW = { first: 0x10000, end: 0x90000 } as const;
const HIGH_MEMORY = 0x100000;
const KIB = 1024;
const PAGE = 4096;

/**
 * Multiboot 0.6.96, or Multiboot2 2.0: image and modules in memory, 32-bit protected mode, information in EBX.
 * NOT IMPLEMENTED: ELF section headers and video modes in the information.
 * @throws PolyvisorError PV2001 if segments overlap, PV2002 for what the header requires and nobody gives, PV2013
 */
export function bootMultiboot(version: 1 | 2, request: BootRequest, surroundings: BootSurroundings): void {
  const { memory, vcpu, memoryMap } = surroundings;
  // First: the image may lie where the descriptor table is, and the table is free to go (3.2, GDTR).
  enterFlatProtectedMode(memory, vcpu);
  const taken = place(imagePieces(version, request), memory, memoryMap);
  const modules = placeModules(request.modules ?? initrdModule(request), taken, surroundings);
  const parts = informationParts(request, modules, surroundings);
  const build = version === 1 ? multiboot1Information : multiboot2Information;
  const sizeBytes = build(0, parts).length;
  const at = freeLow(sizeBytes, taken);
  memory.writeBytes(at, build(at, parts));
  vcpu.gpr[Gpr.RAX] = MAGIC[version];
  vcpu.gpr[Gpr.RBX] = BigInt(at);
  vcpu.rip = request.entry.address;
}

/** An initrd where nobody named modules is the first and only one. */
function initrdModule({ initrd }: BootRequest): readonly BootModule[] {
  return initrd ? [{ bytes: initrd, commandLine: 'initrd' }] : [];
}

function imagePieces(version: 1 | 2, { image }: BootRequest): Piece[] {
  const header = findMultibootHeaderOf(version, image.file);
  const requests = header && multibootRequests(image.file, header);
  if (requests && requests.required.length > 0) {
    const wants = requests.required.join(', ');
    throw unsupportedImage(`the multiboot header requires ${wants}`, 'give an image that does without');
  }
  const addresses = requests?.addresses;
  if (!addresses) return image.elf ? elfPieces(image.elf) : [];
  const { fileOffset, loadAt, loadSizeBytes, memorySizeBytes } = addresses;
  const bytes = image.file.subarray(fileOffset, fileOffset + loadSizeBytes);
  return [{ at: loadAt, bytes, memorySizeBytes, what: 'the multiboot image' }];
}

/** On page boundaries behind the image, in the order given. */
function placeModules(modules: readonly BootModule[], taken: readonly Range[], to: BootSurroundings): PlacedModule[] {
  let next = Math.max(HIGH_MEMORY, ...taken.map(({ end }) => end));
  return modules.map(({ bytes, commandLine }, index) => {
    const first = Math.ceil(next / PAGE) * PAGE;
    const ram = ramAround(to.memoryMap, first);
    if (!ram || first + bytes.length > ram.first + ram.sizeBytes) {
      throw doesNotFit(`module ${index + 1}`, bytes.length, `behind the image at 0x${first.toString(16)}`);
    }
    to.memory.writeBytes(first, bytes);
    next = first + bytes.length;
    return { first, end: next, commandLine };
  });
}

function informationParts(request: BootRequest, modules: PlacedModule[], to: BootSurroundings): InformationParts {
  return {
    commandLine: request.commandLine,
    modules,
    memoryMap: to.memoryMap,
    ...memoryKib(to.memoryMap),
    ...(to.rsdpAddress !== undefined && { rsdp: rsdpBytes(to.memory, to.rsdpAddress) }),
  };
}

/** Memory from 0 and from 1 MiB on, up to the first hole (0.6.96, 3.3, mem_lower and mem_upper). */
function memoryKib(map: MemoryMap): { lowerKib: number; upperKib: number } {
  const kib = (address: number) => Math.floor((ramAround(map, address)?.sizeBytes ?? 0) / KIB);
  return { lowerKib: kib(0), upperKib: kib(HIGH_MEMORY) };
}

/** The RSDP of ACPI 2.0 and later (ACPI 6.3, table 5-27): its length is at offset 20. */
function rsdpBytes(memory: GuestMemory, at: number): Uint8Array {
  return memory.readBytes(at, memory.read32(at + 20));
}

function freeLow(sizeBytes: number, taken: readonly Range[]): number {
  for (let at: number = LOW.first; at + sizeBytes <= LOW.end; at += PAGE) {
    if (taken.every(({ first, end }) => at + sizeBytes <= first || at >= end)) return at;
  }
  throw doesNotFit('the multiboot information', sizeBytes, 'into conventional memory beside the image');
}

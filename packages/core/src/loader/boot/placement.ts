import type { ElfImage, GuestMemory } from '@polyvisor/plugin-api';
import { SegmentType } from '../image/elf-constants.ts';
import { damagedImage, hex } from '../image/image-error.ts';
import { doesNotFit } from './boot-error.ts';
import { type MemoryMap, ramAround } from './memory-map.ts';

/** Guest-physical memory that something takes, `end` excluded. */
export interface Range {
  readonly first: number;
  readonly end: number;
}

/** A module in memory. */
export interface PlacedModule extends Range {
  readonly commandLine: string;
}

/** Bytes for an address, and zeros behind them up to `memorySizeBytes`. */
export interface Piece {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly memorySizeBytes: number;
  /** For messages. */
  readonly what: string;
}

/** The loadable segments of an ELF image at their physical addresses. */
export function elfPieces(elf: ElfImage): Piece[] {
  return elf.programHeaders.flatMap((header, index): Piece[] => {
    if (header.type !== SegmentType.PT_LOAD || header.memorySizeBytes === 0) return [];
    const bytes = elf.bytes.subarray(header.offset, header.offset + header.fileSizeBytes);
    return [{ at: Number(header.paddr), bytes, memorySizeBytes: header.memorySizeBytes, what: `ELF segment ${index}` }];
  });
}

/**
 * Places pieces, all in RAM and none over another.
 * @throws PolyvisorError PV2001 if two overlap, PV2013 if one is not in RAM
 */
export function place(pieces: readonly Piece[], memory: GuestMemory, map: MemoryMap): Range[] {
  const sorted = [...pieces].sort((a, b) => a.at - b.at);
  sorted.forEach(({ at, memorySizeBytes, what }, index) => {
    const ram = ramAround(map, at);
    if (!ram || at + memorySizeBytes > ram.first + ram.sizeBytes) {
      throw doesNotFit(what, memorySizeBytes, `at ${hex(at)} in the guest's memory`);
    }
    const next = sorted[index + 1];
    if (next && next.at < at + memorySizeBytes) {
      throw damagedImage(
        `${what} at ${hex(at)} of ${memorySizeBytes} bytes and ${next.what} at ${hex(next.at)} overlap`,
      );
    }
  });
  return sorted.map(({ at, bytes, memorySizeBytes }) => {
    memory.writeBytes(at, bytes);
    memory.fill(at + bytes.length, memorySizeBytes - bytes.length, 0);
    return { first: at, end: at + memorySizeBytes };
  });
}

/** Where in physical memory an ELF image's entry point is: e_entry is a virtual address where the two differ. */
export function physicalEntry(elf: ElfImage): bigint | undefined {
  const loadable = elf.programHeaders.filter(({ type }) => type === SegmentType.PT_LOAD);
  const within = (start: bigint, sizeBytes: number) => elf.entry >= start && elf.entry < start + BigInt(sizeBytes);
  const virtual = loadable.find(({ vaddr, memorySizeBytes }) => within(vaddr, memorySizeBytes));
  if (virtual) return elf.entry - virtual.vaddr + virtual.paddr;
  return loadable.some(({ paddr, memorySizeBytes }) => within(paddr, memorySizeBytes)) ? elf.entry : undefined;
}

/** A page of 32-bit paging with CR4.PSE (SDM vol. 3A, 4.3). */
export const LARGE_PAGE_BYTES = 0x400000;

/**
 * How far above its physical addresses a 32-bit image is linked, the same for all of it and whole large pages; `undefined`:
 * that cannot be said.
 */
export function virtualOffset(elf: ElfImage): number | undefined {
  const loadable = elf.programHeaders.filter(({ type }) => type === SegmentType.PT_LOAD);
  const offsets = new Set(loadable.map(({ vaddr, paddr }) => Number(vaddr - paddr)));
  const [offset = 0] = offsets;
  return offsets.size > 1 || offset < 0 || offset % LARGE_PAGE_BYTES !== 0 ? undefined : offset;
}

import { type Entry, type GuestImage, type PlatformDefinition, PolyvisorError } from '@polyvisor/plugin-api';
import { EngineMemory } from '../engine/memory.ts';
import { CORE } from '../loader/boot/doors.ts';
import { SegmentType } from '../loader/image/elf-constants.ts';

const PAGE = 4096;
/** Beyond what any memory map tells: a large page for code that is put into a running guest. */
const HIDDEN_BYTES = 2 << 20;

/** Where memory that the guest does not know begins, behind all of its own; of no size without {@link PlatformDefinition.roomForOps}. */
export function hiddenMemoryOf(platform: PlatformDefinition): { readonly gpa: number; readonly sizeBytes: number } {
  const knownBytes = Math.ceil((platform.memoryBytes + platform.overheadBytes) / PAGE) * PAGE;
  if (!platform.roomForOps) return { gpa: knownBytes, sizeBytes: 0 };
  return { gpa: Math.ceil(knownBytes / HIDDEN_BYTES) * HIDDEN_BYTES, sizeBytes: HIDDEN_BYTES };
}

/** The most a WebAssembly memory holds, less what the engine itself needs. */
export function allocate(ramBytes: number): EngineMemory {
  try {
    return new EngineMemory(ramBytes);
  } catch (error) {
    const mebibytes = Math.round(ramBytes / 2 ** 20);
    throw new PolyvisorError(
      'PV2011',
      `cannot allocate ${mebibytes} MiB of guest memory: ${(error as Error).message}`,
      'ask for less with --memory',
      3,
    );
  }
}

/**
 * The part of guest memory that an image says it is to be copied to, as far as there is such memory. A hint: boot protocols
 * may move it. Empty for what unpacks itself, and where the image does not say.
 */
export function placeOf(image: GuestImage, entry: Entry, ram: Uint8Array): Uint8Array {
  const unpacksItself = image.format === 'bzimage' && entry.plugin === CORE;
  const segments = unpacksItself ? [] : (image.elf?.programHeaders ?? []);
  const loaded = segments.filter(({ type, memorySizeBytes }) => type === SegmentType.PT_LOAD && memorySizeBytes > 0);
  if (loaded.length === 0) return ram.subarray(0, 0);
  const first = Math.min(...loaded.map(({ paddr }) => Number(paddr)));
  const end = Math.max(...loaded.map(({ paddr, memorySizeBytes }) => Number(paddr) + memorySizeBytes));
  return ram.subarray(first, end);
}

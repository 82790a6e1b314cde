import { type PlatformDefinition, PolyvisorError } from '@polyvisor/plugin-api';
import { EngineMemory } from '../engine/memory.ts';

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

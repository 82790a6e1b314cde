import { PolyvisorError } from '@polyvisor/plugin-api';
import { EngineMemory } from '../engine/memory.ts';

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

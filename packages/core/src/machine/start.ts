import { type Entry, type EntrySearch, PolyvisorError } from '@polyvisor/plugin-api';
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

/** The asked-for door, or the one with the highest priority. @throws PolyvisorError that lists what there is */
export function chooseEntry({ entries, missing }: EntrySearch, imageName: string, wanted: string | undefined): Entry {
  const candidates = entries.filter((entry) => wanted === undefined || entry.name === wanted);
  if (candidates.length > 0) return candidates.reduce((best, entry) => (entry.priority > best.priority ? entry : best));
  const reasons = missing
    .filter((door) => wanted === undefined || door.name === wanted)
    .map((door) => `${door.abi}: ${door.reason}`);
  const has = entries.length > 0 ? `; it has ${entries.map((entry) => entry.name).join(', ')}` : '';
  const why = reasons.length > 0 ? reasons.join('; ') : 'neither the machine nor a loaded plug-in starts such an image';
  const fix =
    entries.length > 0
      ? 'choose another --entry'
      : 'give another kernel, or load the plug-in that starts it with --plugin';
  throw new PolyvisorError(
    'PV2012',
    `no ${wanted ?? ''} door into ${imageName} (${why}${has})`.replace('  ', ' '),
    fix,
    3,
  );
}

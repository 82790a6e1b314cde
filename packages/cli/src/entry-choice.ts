import { type Entry, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import { ExitCode } from './exit-codes.ts';

interface EntryFinder {
  findEntries(image: GuestImage): { readonly entries: readonly Entry[]; readonly missing: readonly { name: string; abi: string; reason: string }[] };
}

/**
 * The door that will be used: the one asked for, else the one of highest priority. Throws PV2006,
 * which says why each door that could have been there is not.
 */
export function chooseEntry(image: GuestImage, finder: EntryFinder, wanted: string | undefined): Entry {
  const { entries, missing } = finder.findEntries(image);
  const candidates = wanted === undefined ? entries : entries.filter((entry) => entry.name === wanted);
  const best = [...candidates].sort((a, b) => b.priority - a.priority)[0];
  if (best) return best;
  const reasons = missing
    .filter((door) => wanted === undefined || door.name === wanted)
    .map((door) => `${door.abi}: ${door.reason}`)
    .join('; ');
  const offered = entries.map((entry) => entry.name).join(', ');
  throw new PolyvisorError(
    'PV2006',
    `${image.name} offers no entry${wanted === undefined ? '' : ` "${wanted}"`}${reasons === '' ? '' : ` (${reasons})`}`,
    offered === '' ? 'load another plug-in, or give another image' : `use --entry with one of ${offered}`,
    ExitCode.IMAGE,
  );
}

export function describeEntry(entry: Entry): string {
  return `entry ${entry.name}: ${entry.abi} at 0x${entry.address.toString(16)}, found in ${entry.foundIn}`;
}

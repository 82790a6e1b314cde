import { type Entry, type EntrySearch, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import { CORE, findNativeDoors } from '../loader/boot/doors.ts';
import { STARTABLE } from '../loader/boot/index.ts';
import { IMAGE_EXIT_CODE } from '../loader/image/image-error.ts';
import type { PluginCalls } from '../ports/plugin-calls.ts';

/** What `--entry` calls the best door that needs no plug-in. */
const NATIVE = 'native';

type Finders = Pick<PluginCalls, 'findEntries'>;

/** Every door of an image: those that the loaded plug-ins' finders know, then the native ones. */
export function findDoors(image: GuestImage, plugins: Finders): Required<EntrySearch> {
  const searches = [plugins.findEntries(image), findNativeDoors(image, STARTABLE)];
  return {
    entries: searches.flatMap((search) => search.entries),
    closed: searches.flatMap((search) => search.closed ?? []),
    missing: searches.flatMap((search) => search.missing),
  };
}

/** Whether `--entry wanted` means this door: by its name, or `native` for each that needs no plug-in. */
function isWanted(wanted: string | undefined, door: { readonly name: string; readonly plugin?: string }): boolean {
  return wanted === undefined || door.name === wanted || (wanted === NATIVE && door.plugin === CORE);
}

/** The asked-for door, or the one with the highest priority. @throws PolyvisorError PV2012 that lists what there is */
export function chooseEntry(image: GuestImage, plugins: Finders, wanted: string | undefined): Entry {
  const { entries } = findDoors(image, plugins);
  const candidates = entries.filter((entry) => isWanted(wanted, entry));
  if (candidates.length > 0) return candidates.reduce((best, entry) => (entry.priority > best.priority ? entry : best));
  throw noDoor(image, plugins, wanted);
}

type NoEntry = { readonly name: string; readonly abi: string; readonly reason: string };

/** Why there is no such door. If none is asked for, what the loaded plug-ins say is what matters. */
function reasonsAgainst(image: GuestImage, plugins: Finders, wanted: string | undefined): NoEntry[] {
  const native = findNativeDoors(image, STARTABLE);
  const ofPlugins = plugins.findEntries(image);
  const all = ({ closed = [], missing }: EntrySearch): NoEntry[] => [...closed, ...missing];
  const startable: ReadonlySet<string> = STARTABLE;
  const openHere = all(native).filter(({ name }) => startable.has(name));
  if (wanted === NATIVE) return openHere;
  if (wanted === undefined) return [...all(ofPlugins), ...openHere];
  return [...all(ofPlugins), ...all(native)].filter(({ name }) => name === wanted);
}

function noDoor(image: GuestImage, plugins: Finders, wanted: string | undefined): PolyvisorError {
  const doors = findDoors(image, plugins);
  const reasons = reasonsAgainst(image, plugins, wanted);
  const why = reasons.map(({ abi, reason }) => `${abi}: ${reason}`);
  if (why.length === 0) why.push('nothing that is loaded starts such an image');
  const has = doors.entries.map((entry) => entry.name);
  if (has.length > 0) why.push(`it has ${has.join(', ')}`);
  const fix =
    has.length > 0
      ? 'choose another --entry'
      : 'give another kernel, or load the plug-in that starts it with --plugin; `vm entries` lists its doors';
  const which = wanted === undefined ? '' : `${wanted} `;
  return new PolyvisorError('PV2012', `no ${which}door into ${image.name} (${why.join('; ')})`, fix, IMAGE_EXIT_CODE);
}

import { type Entry, type EntrySearch, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import { CORE, findNativeDoors, ONLY_IF_NAMED } from '../loader/boot/doors.ts';
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
function isWanted(wanted: string | undefined, door: Entry): boolean {
  if (door.name === wanted) return true;
  if (door.priority === ONLY_IF_NAMED) return false;
  return wanted === undefined || (wanted === NATIVE && door.plugin === CORE);
}

/** The asked-for door, or the one with the highest priority. @throws PolyvisorError PV2012 that lists what there is */
export function chooseEntry(image: GuestImage, plugins: Finders, wanted: string | undefined): Entry {
  const { entries } = findDoors(image, plugins);
  const candidates = entries.filter((entry) => isWanted(wanted, entry));
  if (candidates.length > 0) return candidates.reduce((best, entry) => (entry.priority > best.priority ? entry : best));
  throw noDoor(image.name, entries, reasonsAgainst(image, plugins, wanted), wanted);
}

type NoEntry = { readonly name: string; readonly abi: string; readonly reason: string };

/** Why there is no such door. If none is asked for, it matters what the loaded plug-ins and the machine could open. */
function reasonsAgainst(image: GuestImage, plugins: Finders, wanted: string | undefined): NoEntry[] {
  const not = ({ closed = [], missing }: EntrySearch): NoEntry[] => [...closed, ...missing];
  const native = not(findNativeDoors(image, STARTABLE));
  const openElsewhere = native.filter(({ name }) => (STARTABLE as ReadonlySet<string>).has(name));
  if (wanted === NATIVE) return openElsewhere;
  const ofPlugins = not(plugins.findEntries(image));
  if (wanted === undefined) return [...ofPlugins, ...openElsewhere];
  return [...ofPlugins, ...native].filter(({ name }) => name === wanted);
}

function noDoor(
  imageName: string,
  entries: readonly Entry[],
  reasons: readonly NoEntry[],
  wanted: string | undefined,
): PolyvisorError {
  const why = reasons.map(({ abi, reason }) => `${abi}: ${reason}`);
  if (why.length === 0) why.push('nothing that is loaded starts such an image');
  const has = entries.map((entry) => entry.name);
  if (has.length > 0) why.push(`it has ${has.join(', ')}`);
  const fix =
    has.length > 0
      ? `take ${has.length === 1 ? 'it' : 'one of them'} with --entry, or load the plug-in that starts the image with --plugin`
      : 'give another kernel, or load the plug-in that starts it with --plugin; `vm entries` lists its doors';
  const which = wanted === undefined ? '' : `${wanted} `;
  return new PolyvisorError('PV2012', `no ${which}door into ${imageName} (${why.join('; ')})`, fix, IMAGE_EXIT_CODE);
}

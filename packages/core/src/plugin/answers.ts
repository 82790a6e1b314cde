import type { ClosedDoor, Entry, EntrySearch, ExitAnswer } from '@polyvisor/plugin-api';
import { PluginFailure } from './codes.ts';

/** Whose tap, in which hook. */
export interface TapPlace {
  readonly plugin: string;
  readonly hook: string;
  readonly tap: string;
}

const maxVector = 255;

/** `undefined` lets a bail hook go on: the tap passed. @throws PV1015 on an answer the machine does not know */
export function checkedExitAnswer(place: TapPlace, answer: ExitAnswer, rip: bigint): ExitAnswer | undefined {
  if (answer === 'pass') return undefined;
  if (answer === 'handled' || answer === 'common' || isFault(answer)) return answer;
  throw new PluginFailure(
    'PV1015',
    { ...place, rip },
    `answered ${describe(answer)} instead of pass, handled, common or a fault`,
  );
}

function isFault(answer: unknown): boolean {
  if (typeof answer !== 'object' || answer === null) return false;
  const { fault, errorCode, cr2 } = answer as Record<string, unknown>;
  return (
    Number.isInteger(fault) &&
    (fault as number) >= 0 &&
    (fault as number) <= maxVector &&
    (errorCode === undefined || Number.isInteger(errorCode)) &&
    (cr2 === undefined || typeof cr2 === 'bigint')
  );
}

/** Of a hook in which `true` means that this plug-in has done it. @throws PV1015 */
export function checkedTrue(place: TapPlace, answer: unknown): true | undefined {
  if (answer === true || answer === undefined) return answer;
  throw new PluginFailure('PV1015', place, `answered ${describe(answer)} instead of true or nothing`);
}

/** The search with the plug-in's own name in every door. @throws PV1015 */
export function checkedSearch(place: TapPlace, search: EntrySearch): EntrySearch {
  const wrong = (what: string) => new PluginFailure('PV1015', place, `answered ${what}`);
  if (!Array.isArray(search?.entries) || !Array.isArray(search.missing)) throw wrong('no { entries, missing }');
  const entries = search.entries.map((entry) => {
    if (!isEntry(entry)) throw wrong('an entry without name, address, place or priority');
    return { ...entry, plugin: place.plugin };
  });
  const { closed = [], missing } = search;
  if (!Array.isArray(closed) || !closed.every(isClosedDoor)) {
    throw wrong('a closed door without name, address, place or reason');
  }
  return { entries, closed: closed.map((door) => ({ ...door, plugin: place.plugin })), missing };
}

function isEntry(entry: Partial<Entry> | undefined): entry is Entry {
  return isDoor(entry) && Number.isFinite(entry?.priority);
}

function isClosedDoor(door: Partial<ClosedDoor> | undefined): door is ClosedDoor {
  return isDoor(door) && typeof door?.reason === 'string';
}

function isDoor(door: Partial<Entry | ClosedDoor> | undefined): boolean {
  return (
    typeof door?.name === 'string' &&
    typeof door.abi === 'string' &&
    typeof door.address === 'bigint' &&
    typeof door.foundIn === 'string'
  );
}

/** Long enough for a person; a VM's client is sent them all. */
const MOST_USES = 32;
const LONGEST_USE = 200;

/** What a plug-in says is in use, in words. @throws PV1015 */
export function checkedUses(place: TapPlace, answer: unknown): readonly string[] {
  if (Array.isArray(answer) && answer.length <= MOST_USES && answer.every(isUse)) return [...answer];
  throw new PluginFailure('PV1015', place, `answered ${describe(answer)} instead of a few short lines`);
}
function isUse(use: unknown): boolean {
  return typeof use === 'string' && use.length > 0 && use.length <= LONGEST_USE && !/[\r\n]/.test(use);
}

/** Hooks are synchronous: a promise would be waited for by nobody. @throws PV1015 */
export function checkedNothing(place: TapPlace, answer: unknown): void {
  if (answer === undefined) return;
  if (typeof (answer as { then?: unknown } | null)?.then === 'function') {
    throw new PluginFailure('PV1015', place, 'answered a promise, but hooks are synchronous');
  }
}

function describe(answer: unknown): string {
  try {
    return typeof answer === 'object' ? JSON.stringify(answer).slice(0, 80) : String(answer).slice(0, 80);
  } catch {
    return `a ${typeof answer}`;
  }
}

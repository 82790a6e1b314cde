import { setImmediate as afterOthers } from 'node:timers/promises';
import { regionName, uncallableFunctions } from '@polyvisor/core';
import { type CodeRecord, openRecords, type RecordPlace } from './code-file.ts';
import { type NativeModules, openNativeModules } from './native-modules.ts';
import { readUsed } from './used-file.ts';

/** What a thread is to load, and what it has loaded. */
export interface Ahead {
  readonly file: string;
  /** An i32 for each of the first records of the file, of its {@link digestWord} from when V8 has the module. */
  readonly loaded: SharedArrayBuffer;
}
const MAX_RECORDS = 1 << 14;

export const startAhead = (file: string): Ahead => ({ file, loaded: new SharedArrayBuffer(MAX_RECORDS * 4) });

/** A module that V8 has to have: who asks it for the same bytes then, in whatever thread, is given the same code. */
interface Held {
  readonly module: WebAssembly.Module;
  /** Names of its regions' functions, where not all of them have good code. */
  readonly functions: readonly string[];
}
const held: Held[] = [];

/**
 * Take the machine code of a file into use, in a thread that has nothing else to do: the thread that runs the guest then finds it
 * there. What the last run used, in that order; all, if that is not known. Answers how many modules that was.
 */
export async function loadAhead({ file, loaded }: Ahead): Promise<number> {
  const natives = openNativeModules();
  const reader = natives && (await openRecords(file));
  if (!reader) return 0;
  const before = held.length;
  const words = new Int32Array(loaded);
  try {
    for (const place of inOrder(reader.places, await readUsed(file))) {
      const record = reader.read(place);
      const module = record && moduleOf(record, natives);
      if (module) {
        held.push({ module, functions: functionsToImprove(record) });
        if (place.number < words.length) Atomics.store(words, place.number, digestWord(record));
      }
      await afterOthers();
    }
  } finally {
    reader.close();
  }
  return held.length - before;
}

/** Functions that have run seldom have no machine code in the file, and want compiling as much as the others. */
function moduleOf(record: CodeRecord, natives: NativeModules): WebAssembly.Module | undefined {
  const native = record.native();
  return native ? natives.deserialize(native, record.bytes) : new WebAssembly.Module(record.bytes as BufferSource);
}

function functionsToImprove({ regions, goodFunctions }: CodeRecord): string[] {
  if (!regions || goodFunctions === regions.size) return [];
  const numbers = [...Array(regions.size).keys()];
  return numbers.filter((number) => regions.start(number)).map(regionName);
}

/**
 * Have V8 make good code of what has none: functions that were made when the last run was nearly over, waited for V8 when it was, or have not
 * run for long in any run. Else the thread that runs the guest has to make quick code of each, and runs that until V8 has seen enough of
 * it. `memory`: of the machine. Answers how many functions that was.
 */
export async function improveAhead(memory: WebAssembly.Memory): Promise<number> {
  const natives = openNativeModules();
  if (!natives) return 0;
  const functionsOf = uncallableFunctions(memory);
  let improved = 0;
  for (const { module, functions } of held) {
    if (functions.length === 0) continue;
    const exports = functionsOf(module);
    for (const name of functions) {
      if (natives.isGood(exports[name])) continue;
      natives.makeGood(exports[name]);
      improved++;
      await afterOthers();
    }
  }
  return improved;
}

/** Of several records of the same bytes the last one stands for the others. */
function inOrder(places: readonly RecordPlace[], used: readonly string[]): readonly RecordPlace[] {
  if (used.length === 0) return places;
  const byDigest = new Map(places.map((place) => [place.digest, place]));
  return used.flatMap((digest) => byDigest.get(digest) ?? []);
}

/** The thread has found a record of this number to be as it was written, and loaded it. */
export function isLoaded({ loaded }: Ahead, number: number, record: CodeRecord): boolean {
  return number * 4 < loaded.byteLength && Atomics.load(new Int32Array(loaded), number) === digestWord(record);
}

/** Tells records of the same number apart, should the file have been replaced between two readers; never 0. */
const digestWord = ({ digest }: CodeRecord): number => Number.parseInt(digest.slice(0, 7), 16) + 1;

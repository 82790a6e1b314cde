import { setImmediate as afterOthers } from 'node:timers/promises';
import { type CodeRecord, readCodeFile } from './code-file.ts';
import { openNativeModules } from './native-modules.ts';

/** What a thread is to load, and what it has loaded. */
export interface Ahead {
  readonly file: string;
  /** An i32 for each of the first records of the file, of its {@link digestWord} from when V8 has the module. */
  readonly loaded: SharedArrayBuffer;
}
const MAX_RECORDS = 1 << 14;

export const startAhead = (file: string): Ahead => ({ file, loaded: new SharedArrayBuffer(MAX_RECORDS * 4) });

/** Modules that V8 has to have: who asks it for the same bytes then, in whatever thread, is given the same code. */
const held: WebAssembly.Module[] = [];

/**
 * Take the machine code of a file into use, in a thread that has nothing else to do: the thread that runs the guest then finds it
 * there. Answers how many modules that was.
 */
export async function loadAhead({ file, loaded }: Ahead): Promise<number> {
  const natives = openNativeModules();
  if (!natives) return 0;
  const before = held.length;
  const { records } = await readCodeFile(file);
  const words = new Int32Array(loaded);
  for (const [number, record] of records.entries()) {
    const native = record.native();
    const module = native && natives.deserialize(native, record.bytes);
    if (module) {
      held.push(module);
      if (number < words.length) Atomics.store(words, number, digestWord(record));
    }
    await afterOthers();
  }
  return held.length - before;
}

/** The thread has found a record of this number to be as it was written, and loaded it. */
export function isLoaded({ loaded }: Ahead, number: number, record: CodeRecord): boolean {
  return number * 4 < loaded.byteLength && Atomics.load(new Int32Array(loaded), number) === digestWord(record);
}

/** Tells records of the same number apart, should the file have been replaced between two readers; never 0. */
const digestWord = ({ digest }: CodeRecord): number => Number.parseInt(digest.slice(0, 7), 16) + 1;

import { setImmediate as afterOthers } from 'node:timers/promises';
import { readCodeFile } from './code-file.ts';
import { openNativeModules } from './native-modules.ts';

/** Modules that V8 has to have: who asks it for the same bytes then, in whatever thread, is given the same code. */
const held: WebAssembly.Module[] = [];

/**
 * Take the machine code of a file into use, in a thread that has nothing else to do: the thread that runs the guest then finds it
 * there. Answers how many modules that was.
 */
export async function loadAhead(file: string): Promise<number> {
  const natives = openNativeModules();
  if (!natives) return 0;
  const before = held.length;
  const { records } = await readCodeFile(file);
  for (const record of records) {
    const native = record.native();
    const module = native && natives.deserialize(native, record.bytes);
    if (module) held.push(module);
    await afterOthers();
  }
  return held.length - before;
}

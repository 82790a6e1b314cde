// The compiled program (compiled.mjs) with V8's cache of compiled code: the parser has nothing to do but for functions that
// have never run (docs/decisions/0038).
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { cachedDataVersionTag } from 'node:v8';
import vm from 'node:vm';

/**
 * `entries`: name of an entry -> function that answers its module. `keepCode`: call it when what the program does under
 * this name has been done, so that code for it is at hand the next time; it costs a few hundredths of a second if there was none yet.
 */
export function loadProgram(folder, nameOfUse) {
  const file = path.join(folder, 'program.cjs');
  // Another version of V8, or other flags, refuse the code.
  const codeFile = path.join(folder, `${nameOfUse}-${cachedDataVersionTag().toString(16)}.code`);
  const cachedData = readIfThere(codeFile);
  // Latin-1, as the compiler writes other characters as escapes.
  const script = new vm.Script(readFileSync(file, 'latin1'), {
    filename: file,
    ...(cachedData && { cachedData }),
  });
  const module = { exports: {} };
  script.runInThisContext()(module, module.exports, createRequire(file), (name) => import(name));
  const keepCode = () => {
    if (cachedData && !script.cachedDataRejected) return;
    replace(codeFile, () => script.createCachedData());
  };
  return { entries: module.exports.entries, keepCode };
}

function readIfThere(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/** As a whole or not at all; a folder that cannot be written only costs time. */
function replace(file, bytes) {
  try {
    const unfinished = `${file}.${process.pid}`;
    writeFileSync(unfinished, bytes());
    renameSync(unfinished, file);
  } catch {}
}

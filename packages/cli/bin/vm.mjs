#!/usr/bin/env node
import module from 'node:module';
import { pathToFileURL } from 'node:url';
import { compiledFolder, entries, thread } from './compiled.mjs';
import { loadProgram } from './program.mjs';
import { tuneV8 } from './v8-flags.mjs';

tuneV8();
const args = process.argv.slice(2);
const folder = await compiledFolder();
// Each command needs code of its own.
const program = folder && loadProgram(folder, /^[a-z]+$/.exec(args[0])?.[0] ?? 'vm');
let readsTypescript = false;

/** From here on Node reads TypeScript: a user's plug-ins, and our sources where they are not compiled. */
async function readTypescript() {
  if (readsTypescript) return;
  readsTypescript = true;
  (await import('tsx/esm/api')).register();
  module.register('./typescript-modules.mjs', import.meta.url, { data: { compiled: program ? await shared() : {} } });
}

/** URL of each source that others import -> the module that stands for it, in the one copy that there is of it. */
async function shared() {
  globalThis.polyvisorModules = {};
  const found = {};
  for (const [url, name] of Object.entries(entries)) {
    if (!url.endsWith('/src/index.ts')) continue;
    const names = Object.keys((globalThis.polyvisorModules[name] = await program.entries[name]()));
    const exported = names.map((key) => `export ${key === 'default' ? 'default' : `const ${key} =`} the.${key};`);
    found[url] = `const the = globalThis.polyvisorModules['${name}'];\n${exported.join('\n')}\n`;
  }
  return found;
}

/** A module by its URL, in the one copy that there is of it. */
async function importFile(url) {
  if (program && url in entries) return program.entries[entries[url]]();
  await readTypescript();
  return import(url);
}

/** What is started to run an entry in a thread of its own. */
const threadFile = (url) =>
  folder && entries[url] === thread ? pathToFileURL(`${folder}/${thread}.mjs`).href : undefined;

const main = new URL('../src/main.ts', import.meta.url).href;
await (await importFile(main)).start(args, { importFile, threadFile, keepCode: program?.keepCode });

#!/usr/bin/env node
import module from 'node:module';
import { compiledEntries } from './compiled.mjs';

const main = new URL('../src/main.ts', import.meta.url).href;
const compiled = (await compiledEntries()) ?? {};
let readsTypescript = false;

/** From here on Node reads TypeScript: a user's plug-ins, and our sources where they are not compiled. */
async function readTypescript() {
  if (readsTypescript) return;
  readsTypescript = true;
  (await import('tsx/esm/api')).register();
  module.register('./typescript-modules.mjs', import.meta.url, { data: { compiled } });
}

/** A module by its URL, in the one copy that there is of it. */
async function importFile(url) {
  if (!(url in compiled)) await readTypescript();
  return import(compiled[url] ?? url);
}

await (await importFile(main)).start(process.argv.slice(2), importFile, (url) => compiled[url]);

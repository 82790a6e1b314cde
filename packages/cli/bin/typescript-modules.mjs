// Hooks of Node's module loader (Node.js documentation, Modules: Customization hooks), for files of a user's own: a .ts file
// in a folder whose package.json says no `type`, or that has none, is an ECMAScript module; and what it imports from us is
// the copy that runs.
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

let compiled = {};

/** `data.compiled`: URL of a source -> text of the module that stands for it. */
export function initialize(data) {
  compiled = data.compiled;
}

export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  if (found.url in compiled) return { url: found.url, format: 'module' };
  if (found.format !== 'commonjs' || !isTypescript(found.url) || isCalledCommonJs(found.url)) return found;
  return { ...found, format: 'module' };
}

export async function load(url, context, next) {
  return url in compiled ? { format: 'module', source: compiled[url], shortCircuit: true } : next(url, context);
}

const isTypescript = (url) => url.startsWith('file:') && new URL(url).pathname.endsWith('.ts');

/** What the nearest package.json says. */
function isCalledCommonJs(url) {
  for (let folder = path.dirname(fileURLToPath(url)); ; folder = path.dirname(folder)) {
    const manifest = path.join(folder, 'package.json');
    if (existsSync(manifest)) return JSON.parse(readFileSync(manifest, 'utf8')).type === 'commonjs';
    if (folder === path.dirname(folder)) return false;
  }
}

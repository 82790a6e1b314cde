// A hook of Node's module loader (Node.js documentation, Modules: Customization hooks), for files of a user's own: a .ts file
// in a folder whose package.json says no `type`, or that has none, is an ECMAScript module.
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  if (found.format !== 'commonjs' || !isTypescript(found.url) || isCalledCommonJs(found.url)) return found;
  return { ...found, format: 'module' };
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

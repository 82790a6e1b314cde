import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ModuleImporter } from '@polyvisor/core';
import { importFile } from './import-file.ts';

/** Conditions of a package's `exports` that hold here (Node.js documentation, Packages, Conditional exports). */
const conditions = ['node', 'import', 'module-sync', 'default'];
const here = path.dirname(fileURLToPath(import.meta.url));

/**
 * Loads plug-ins in Node: paths from the working folder; packages from `vm`'s own `node_modules`
 * (the plug-ins that come with it), then from the working folder's and those above it.
 */
export function nodeModuleImporter(workingFolder = process.cwd()): ModuleImporter {
  return {
    async importModule(specifier, kind) {
      const file =
        kind === 'path' ? fileOfPath(specifier, workingFolder) : fileOfPackage(specifier, [here, workingFolder]);
      // One real path for one file: loaded twice it would be two modules.
      return file === undefined ? undefined : importFile(pathToFileURL(realpathSync(file)).href);
    },
  };
}

function fileOfPath(specifier: string, workingFolder: string): string | undefined {
  const given = specifier.startsWith('file:') ? fileURLToPath(specifier) : specifier;
  const file = path.resolve(workingFolder, given);
  return existsSync(file) && statSync(file).isFile() ? file : undefined;
}

function fileOfPackage(name: string, folders: readonly string[]): string | undefined {
  for (const folder of folders) {
    for (const above of foldersUpwards(folder)) {
      const packageFolder = path.join(above, 'node_modules', name);
      const manifestFile = path.join(packageFolder, 'package.json');
      if (existsSync(manifestFile)) return path.join(packageFolder, entryOf(readFileSync(manifestFile, 'utf8')));
    }
  }
  return undefined;
}

function* foldersUpwards(from: string): Generator<string> {
  let folder = path.resolve(from);
  while (true) {
    yield folder;
    const above = path.dirname(folder);
    if (above === folder) return;
    folder = above;
  }
}

/** The module that importing the package by its bare name loads. */
function entryOf(manifestText: string): string {
  const { exports, main } = JSON.parse(manifestText) as { exports?: unknown; main?: unknown };
  return targetOf(exports) ?? (typeof main === 'string' ? main : 'index.js');
}

function targetOf(exports: unknown): string | undefined {
  if (typeof exports === 'string') return exports;
  if (typeof exports !== 'object' || exports === null) return undefined;
  const table = exports as Record<string, unknown>;
  if ('.' in table) return targetOf(table['.']);
  for (const [condition, target] of Object.entries(table)) {
    const found = conditions.includes(condition) ? targetOf(target) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

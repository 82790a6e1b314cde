import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadPlugins, PluginRegistry } from '@polyvisor/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeModuleImporter } from './plugin-import.ts';

const source = `export default { name: 'word', version: '1.0.0', api: '^1.0', apply() {} };`;
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'plugin-import-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write(name: string, text: string): string {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

async function load(reference: string): Promise<string> {
  const [{ name, where }] = await loadPlugins(new PluginRegistry(), [reference], nodeModuleImporter(folder));
  return `${name} from ${where}`;
}

describe('plug-ins in Node', () => {
  it('come from a path, relative, absolute or as a URL', async () => {
    const file = write('word.mjs', source);
    expect(await load('./word.mjs')).toBe('word from ./word.mjs');
    expect(await load(file)).toBe(`word from ${file}`);
    expect(await load(pathToFileURL(file).href)).toMatch('word from file:');
  });

  it.each([
    ['a plain exports', { exports: './lib.mjs' }],
    ['an import condition', { exports: { '.': { types: './lib.d.ts', import: './lib.mjs', require: './lib.cjs' } } }],
    ['main', { main: 'lib.mjs' }],
  ])('come from a package with %s', async (_name, manifest) => {
    write('node_modules/polyvisor-plugin-word/package.json', JSON.stringify(manifest));
    write('node_modules/polyvisor-plugin-word/lib.mjs', source);
    expect(await load('word')).toBe('word from polyvisor-plugin-word');
  });

  it('are refused when there is none, or when it does not load', async () => {
    write('broken.mjs', 'export default {');
    await expect(load('./none.mjs')).rejects.toMatchObject({ code: 'PV1001' });
    await expect(load('fs')).rejects.toMatchObject({ code: 'PV1001' });
    await expect(load('./broken.mjs')).rejects.toMatchObject({ code: 'PV1002' });
  });
});

import type { Plugin } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ModuleImporter } from '../ports/module-importer.ts';
import { loadPlugins } from './load.ts';
import { candidatesOf, parsePluginReference } from './reference.ts';
import { PluginRegistry } from './registry.ts';

const word: Plugin = { name: 'word', version: '1.0.0', api: '^1.0', options: { a: 'first', b: 'second' }, apply() {} };

/** Modules by specifier; a function is called to throw. */
function importerOf(modules: Readonly<Record<string, unknown>>): ModuleImporter & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async importModule(specifier, kind) {
      asked.push(`${kind} ${specifier}`);
      const module = modules[specifier];
      return typeof module === 'function' ? module() : module;
    },
  };
}

describe('a reference', () => {
  it('is a name with options', () => {
    expect(parsePluginReference('xen')).toEqual({ reference: 'xen', options: {} });
    expect(parsePluginReference('./a.ts=key:value,url:x:y=z,empty:')).toEqual({
      reference: './a.ts',
      options: { key: 'value', url: 'x:y=z', empty: '' },
    });
  });

  it('has options without a value, too', () => {
    expect(parsePluginReference('xen=one,two:2').options).toEqual({ one: '', two: '2' });
  });

  it.each(['', '=a:b', 'xen=', 'xen=A', 'xen=:b', 'xen=a:1,a:2', 'xen=a:1,'])('refuses %j', (text) => {
    expect(() => parsePluginReference(text)).toThrow(expect.objectContaining({ code: 'PV1016' }));
  });

  it('means a name, a package or a path', () => {
    const specifiers = (text: string) => candidatesOf(text).map(({ kind, specifier }) => `${kind} ${specifier}`);
    expect(specifiers('xen')).toEqual(['package @polyvisor/plugin-xen', 'package polyvisor-plugin-xen', 'package xen']);
    expect(specifiers('@me/word')).toEqual(['package @me/word']);
    expect(specifiers('./word.ts')).toEqual(['path ./word.ts']);
    expect(specifiers('/abs/word')).toEqual(['path /abs/word']);
    expect(specifiers('word.mjs')).toEqual(['path word.mjs']);
    expect(specifiers('No Such')).toEqual([]);
  });

  it('never fails without a code', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        candidatesOf(text);
        try {
          parsePluginReference(text);
        } catch (error) {
          expect(error).toMatchObject({ code: 'PV1016' });
        }
      }),
      { seed: 3, numRuns: 300 },
    );
  });
});

describe('loading', () => {
  it('takes the first candidate that is there, and hands the options on', async () => {
    const registry = new PluginRegistry();
    let options: unknown;
    const plugin = {
      ...word,
      apply: (host: { options: unknown }) => {
        options = host.options;
      },
    };
    const importer = importerOf({ 'polyvisor-plugin-word': { default: plugin } });
    const loaded = await loadPlugins(registry, ['word=a:1'], importer);
    expect(loaded).toEqual([{ name: 'word', version: '1.0.0', where: 'polyvisor-plugin-word' }]);
    expect(importer.asked).toEqual(['package @polyvisor/plugin-word', 'package polyvisor-plugin-word']);
    expect(options).toEqual({ a: '1' });
  });

  it.each([
    ['nope', {}, 'PV1001', /no plug-in "nope" \(looked for @polyvisor\/plugin-nope, polyvisor-plugin-nope, nope\)/],
    ['No Such', {}, 'PV1001', /this is no name, package or path/],
    ['./a.ts', { './a.ts': {} }, 'PV1003', /\.\/a\.ts is not a plug-in: the default export is missing/],
    ['./a.ts', { './a.ts': null }, 'PV1003', /missing/],
    [
      './a.ts',
      {
        './a.ts': () => {
          throw new SyntaxError('Unexpected token');
        },
      },
      'PV1002',
      /failed while it was loaded: Unexpected token/,
    ],
    ['./a.ts=c:1', { './a.ts': { default: word } }, 'PV1008', /no option c/],
  ] as [string, Record<string, unknown>, string, RegExp][])('refuses %s %o', async (text, modules, code, message) => {
    const loading = loadPlugins(new PluginRegistry(), [text], importerOf(modules));
    await expect(loading).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

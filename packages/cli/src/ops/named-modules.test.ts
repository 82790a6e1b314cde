import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { allowedModule, namedModule } from './named-modules.ts';

const root = mkdtempSync(path.join(tmpdir(), 'polyvisor-named-'));
afterAll(() => rmSync(root, { recursive: true }));
const directory = path.join(root, 'allowed');
mkdirSync(directory);
for (const file of ['one.ts', 'two.o', 'twice.ts', 'twice.o', 'text.txt', '../outside.ts'])
  writeFileSync(path.join(directory, file), '');
symlinkSync('../outside.ts', path.join(directory, 'linked.ts'));
symlinkSync('one.ts', path.join(directory, 'alias.mts'));

const bytesOf = (text: string) => Buffer.from(text, 'latin1');

describe('a file of a boot list', () => {
  it.each(['pvops-module one', 'pvops-module one\n', 'pvops-module one\r\n'])(
    'that is %j asks for a module',
    (text) => {
      expect(namedModule(bytesOf(text))).toBe('one');
    },
  );

  it.each([
    ['', 'pvops-module', 'pvops-module ../one', 'pvops-module one.ts', 'pvops-module /one', 'pvops-module one\n\n'],
    [' pvops-module one', 'pvops-module  one', 'pvops-module one two', 'pvops-module one\0', '\x7fELF'],
  ])('of anything else is the guest’s', (...texts) => {
    for (const text of texts) expect(namedModule(bytesOf(text))).toBeUndefined();
  });

  it('never asks for anything but a name', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('../a', '.', '..', 'a/b', 'a\0b'),
    );
    fc.assert(
      fc.property(text, (name) => {
        const found = namedModule(bytesOf(`pvops-module ${name}`));
        if (found !== undefined) expect(found).toMatch(/^[A-Za-z0-9][A-Za-z0-9_-]*$/);
      }),
    );
  });
});

describe('a module that is asked for', () => {
  it('is the file of that name, of either kind', async () => {
    expect(await allowedModule('one', 'list', directory)).toBe(path.join(directory, 'one.ts'));
    expect(await allowedModule('two', 'list', directory)).toBe(path.join(directory, 'two.o'));
    expect(await allowedModule('alias', 'list', directory)).toBe(path.join(directory, 'one.ts'));
  });

  it.each([
    ['where none may be named', 'one', undefined, /list asks for the ops module one: none may be named/],
    ['that is not there', 'nosuch', directory, /nosuch: .* has none/],
    ['of which there are two', 'twice', directory, /has twice\.ts and twice\.o/],
    ['that leads elsewhere', 'linked', directory, /linked\.ts leads out of/],
  ])('is refused %s', async (_why, name, where, message) => {
    const refused = { code: 'PV5030', exitCode: 2, message: expect.stringMatching(message) };
    await expect(allowedModule(name, 'list', where)).rejects.toMatchObject(refused);
  });

  it('is refused where the directory cannot be read', async () => {
    await expect(allowedModule('one', 'list', path.join(root, 'nosuch'))).rejects.toMatchObject({ code: 'PV3002' });
  });
});

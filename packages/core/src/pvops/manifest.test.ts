import type { OpsManifest } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import {
  checkModule,
  type ModuleSurroundings,
  parseManifestText,
  readManifest,
  readTypescriptOps,
} from './manifest.ts';

const manifest: OpsManifest = { name: 'mine', version: '1.2.0', api: '^1.1', guest: 'linux' };
const coded = (code: string, ...words: string[]) =>
  expect.objectContaining({ code, message: expect.stringMatching(words.join('.*')) });

describe('a manifest', () => {
  it('is read from lines', () => {
    const text = 'name=mine\nversion = 1.2.0\n\napi=^1.1\nguest=linux\0\0';
    expect(readManifest(parseManifestText(text, 'mine.o'), 'mine.o')).toEqual(manifest);
  });

  it.each<[string, unknown, string]>([
    ['nothing', undefined, 'Object'],
    ['a name in capitals', { ...manifest, name: 'Mine' }, 'name'],
    ['a version that is no semver', { ...manifest, version: '1' }, 'version'],
    ['an API that is no range', { ...manifest, api: 'new' }, 'api'],
    ['a guest that is not known', { ...manifest, guest: 'plan9' }, 'guest'],
    ['a field too many', { ...manifest, more: '' }, 'more'],
  ])('with %s is refused', (_what, raw, word) => {
    expect(() => readManifest(raw, 'mine.o')).toThrow(coded('PV5020', 'mine.o', word));
  });

  it.each(['no equals sign', 'name=a\nname=b'])('with the lines %j is refused', (text) => {
    expect(() => parseManifestText(text, 'mine.o')).toThrow(coded('PV5020', 'mine.o'));
  });
});

describe('a module in TypeScript', () => {
  const ops = { 'mmu.write_cr3': () => undefined };
  it('is taken as it is', () => {
    const module = { ...manifest, ops };
    expect(readTypescriptOps(module, 'mine.ts')).toBe(module);
  });
  it.each<[string, unknown]>([
    ['no default export', undefined],
    ['no slots', { ...manifest, ops: {} }],
    ['a slot that is no function', { ...manifest, ops: { 'mmu.write_cr3': 1 } }],
    ['code that is no function', { ...manifest, ops: { 'mmu.write_cr3': { code: 'nop' } } }],
  ])('with %s is refused', (_what, raw) => {
    expect(() => readTypescriptOps(raw, 'mine.ts')).toThrow(coded('PV5020', 'mine.ts'));
  });
});

describe('before a module is loaded', () => {
  const slots = ['mmu.write_cr3'];
  const check = (changes: Partial<OpsManifest>, surroundings: Partial<ModuleSurroundings> = {}) =>
    checkModule({ ...manifest, ...changes }, slots, {
      wordBytes: 8,
      loaded: [],
      apiVersions: ['1.5.0'],
      ...surroundings,
    });
  const loaded = (version: string) => [{ manifest: { ...manifest, version }, slots }];

  it('its API, its guest and its slots are looked at, and named', () => {
    expect(() => check({})).not.toThrow();
    expect(() => check({ guest: 'linux64' })).not.toThrow();
    expect(() => check({ api: '^2.0' })).toThrow(coded('PV5021', 'mine 1.2.0', 'mmu.write_cr3', '\\^2.0', '1.5.0'));
    expect(() => check({ guest: 'linux32' })).toThrow(coded('PV5022', 'mine 1.2.0', 'mmu.write_cr3', 'linux64'));
    const other = { manifest: { ...manifest, name: 'other' }, slots: ['irq.save_fl', 'mmu.write_cr3'] };
    expect(() => check({}, { loaded: [other] })).toThrow(
      coded('PV5024', 'mine 1.2.0', 'other 1.2.0', 'both claim mmu.write_cr3'),
    );
  });

  it.each([
    ['an upgrade', '1.1.9', true],
    ['the same version', '1.2.0', true],
    ['a downgrade', '1.2.1', false],
    ['a step from an older major version', '0.9.0', false],
    ['a step back to an older major version', '2.0.0', false],
  ])('%s from %s: %s', (_what, from, allowed) => {
    if (allowed) expect(() => check({}, { loaded: loaded(from) })).not.toThrow();
    else
      expect(() => check({}, { loaded: loaded(from) })).toThrow(coded('PV5028', 'mine 1.2.0', 'mmu.write_cr3', from));
    expect(() => check({}, { loaded: loaded(from), force: true })).not.toThrow();
  });

  it('one of several versions of the API is enough; one that is gone is named, with what there is instead', () => {
    const both = { apiVersions: ['1.5.0', '2.0.0'] };
    for (const api of ['^1.1', '^2.0']) expect(() => check({ api }, both)).not.toThrow();
    expect(() => check({ api: '^3.0' }, both)).toThrow(coded('PV5021', '\\^3.0', '1.5.0 and 2.0.0'));
    expect(() => check({ api: '^1.1' }, { apiVersions: ['2.0.0'] })).toThrow(
      coded('PV5021', 'mine 1.2.0', 'mmu.write_cr3', '\\^1.1', '2.0.0'),
    );
  });
});

import { describe, expect, it } from 'vitest';
import { parseCommandLine } from './command-line.ts';
import {
  parseCompileThread,
  parseConsole,
  parseCpus,
  parseExits,
  parseMemory,
  parseProfile,
  parseTier,
  parseTimeout,
  parseTrace,
} from './option-values.ts';

it('vCPUs are a whole number from 1 to 8', () => {
  expect(['1', '2', '8'].map(parseCpus)).toEqual([1, 2, 8]);
  for (const text of ['0', '9', '-1', '1.5', 'two', ''])
    expect(() => parseCpus(text), text).toThrow(expect.objectContaining({ code: 'PV3001', exitCode: 2 }));
});

it('memory is a number with a unit, in whole pages', () => {
  expect(parseMemory('512M')).toBe(512 * 2 ** 20);
  expect(parseMemory('1.5G')).toBe(1.5 * 2 ** 30);
  expect(parseMemory('65537K')).toBe(65536 * 1024);
  for (const text of ['512', '', 'M', '-1M', '0M', '4G', '1e3M', '99999999999999G']) {
    expect(() => parseMemory(text), text).toThrow(expect.objectContaining({ code: 'PV3001', exitCode: 2 }));
  }
});

it('console is none, stdio or a file', () => {
  expect(parseConsole('none')).toEqual({ kind: 'none' });
  expect(parseConsole('file:a:b')).toEqual({ kind: 'file', path: 'a:b' });
  for (const text of ['', 'file:', 'tty'])
    expect(() => parseConsole(text)).toThrow(expect.objectContaining({ code: 'PV3001' }));
});

it('trace names channels and perhaps a file', () => {
  expect(parseTrace('exits')).toEqual({ channels: ['exits'], file: undefined });
  expect(parseTrace('hypercalls,events:x.jsonl')).toEqual({ channels: ['hypercalls', 'events'], file: 'x.jsonl' });
  for (const text of ['', 'exits,', 'all', 'exits:'])
    expect(() => parseTrace(text)).toThrow(expect.objectContaining({ code: 'PV3001' }));
});

it('timeout is a positive number of seconds', () => {
  expect(parseTimeout('0.5')).toBe(0.5);
  for (const text of ['', '0', '-1', 'x', '1e9', 'Infinity']) {
    expect(() => parseTimeout(text)).toThrow(expect.objectContaining({ code: 'PV3001' }));
  }
});

it('profile names a file', () => {
  expect(parseProfile('boot.json')).toBe('boot.json');
  expect(() => parseProfile('')).toThrow(expect.objectContaining({ code: 'PV3001' }));
});

it('--exits is asked, privileged or all', () => {
  const choices = ['asked', 'privileged', 'all'];
  expect(choices.map(parseExits)).toEqual(choices);
  expect(() => parseExits('none')).toThrow(expect.objectContaining({ code: 'PV3001' }));
});

it('--compile-thread is auto, on or off', () => {
  expect(['auto', 'on', 'off'].map(parseCompileThread)).toEqual(['auto', 'on', 'off']);
  expect(() => parseCompileThread('yes')).toThrow(expect.objectContaining({ code: 'PV3001' }));
});

describe('--tier', () => {
  it.each([
    ['0', { kind: 'interpret' }],
    ['1', { kind: 'compile' }],
    ['both', { kind: 'both', threshold: undefined }],
    ['both:77', { kind: 'both', threshold: 77 }],
  ])('%s', (text, choice) => {
    expect(parseTier(text)).toEqual(choice);
  });
  it.each(['', '2', 'both:', 'both:0', 'both:-1', 'both:1e3', 'BOTH'])('refuses "%s"', (text) => {
    expect(() => parseTier(text)).toThrow(/--tier/);
  });
});

it('`vm run` has defaults, and collects plug-ins', () => {
  const request = parseCommandLine(['run']);
  expect(request).toEqual({
    kind: 'run',
    options: {
      image: 'demo',
      plugins: undefined,
      entryName: undefined,
      append: undefined,
      initrdPath: undefined,
      bootModules: [],
      modules: [],
      moduleDirectory: undefined,
      chips: [],
      memoryBytes: 512 * 2 ** 20,
      vcpus: 1,
      console: { kind: 'stdio' },
      trace: undefined,
      timeoutSeconds: undefined,
      expect: undefined,
      stats: false,
      profilePath: undefined,
      functionsPath: undefined,
      reboot: true,
      clock: 'wall',
      control: true,
      name: undefined,
      tier: { kind: 'both', threshold: undefined },
      compileThread: 'auto',
      codeCache: true,
      exits: 'asked',
      disks: [],
      net: { kind: 'none' },
      shares: [],
    },
  });
  const plugins = (...args: string[]) => {
    const parsed = parseCommandLine(['run', 'x', ...args]);
    return parsed.kind === 'run' ? parsed.options.plugins : undefined;
  };
  expect(plugins('--plugin', 'xen', '--plugin', './own.ts=a:b')).toEqual(['xen', './own.ts=a:b']);
  expect(plugins('--plugin', 'none')).toEqual([]);
});

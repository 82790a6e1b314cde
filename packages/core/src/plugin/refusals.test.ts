import { type Claim, type Plugin, PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pluginCodes } from './codes.ts';
import { PluginRegistry } from './registry.ts';

function plugin(fields: Partial<Plugin> = {}): Plugin {
  return { name: 'one', version: '1.2.3', api: '^1.0', apply() {}, ...fields };
}

function claiming(name: string, ...claims: Claim[]): Plugin {
  return plugin({
    name,
    apply(host) {
      for (const claim of claims) host.claim(claim);
    },
  });
}

/** What loading the plug-ins in order is refused with; options are given to the last one. */
function refusalOf(raw: readonly unknown[], options: Record<string, string> = {}): PolyvisorError {
  const registry = new PluginRegistry();
  const last = raw.length - 1;
  raw.slice(0, last).forEach((each, index) => {
    registry.load(each, { where: `module ${index}` });
  });
  try {
    registry.load(raw[last], { where: 'last.ts', options });
  } catch (error) {
    expect(error).toBeInstanceOf(PolyvisorError);
    return error as PolyvisorError;
  }
  throw new Error('was not refused');
}

const shapes: [string, unknown, RegExp][] = [
  ['nothing', undefined, /default export is missing/],
  ['null', null, /null/],
  ['a function', () => {}, /a function/],
  ['no name', { ...plugin(), name: undefined }, /name/],
  ['an upper-case name', plugin({ name: 'One' }), /name/],
  ['a version that is none', plugin({ version: 'latest' }), /version/],
  ['an api that is none', plugin({ api: 'soon' }), /api/],
  ['no apply', { ...plugin(), apply: 1 }, /apply/],
  ['requires as a list', plugin({ requires: ['two'] as never }), /requires has to be an object/],
  ['a range that is none', plugin({ requires: { two: 'x.y' } }), /requires\.two/],
  ['an option without help', plugin({ options: { a: 1 as never } }), /options\.a/],
  [
    'a getter that throws',
    {
      get name() {
        throw new Error('boo');
      },
    },
    /cannot be read \(boo\)/,
  ],
];

describe('shape', () => {
  it.each(shapes)('refuses %s', (_name, raw, message) => {
    const error = refusalOf([raw]);
    expect(error.code).toBe('PV1003');
    expect(error.message).toMatch(message);
    expect(error.oneLine).toContain('last.ts');
  });

  it('refuses whatever it is given with a code, and never loads it', () => {
    const field = fc.oneof(fc.anything(), fc.constantFrom('xen', '1.0.0', '^1.0'));
    const record = fc.record(
      { name: field, version: field, api: field, requires: field, conflicts: field, options: field },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(fc.anything({ withNullPrototype: true }), record), (raw) => {
        expect(refusalOf([raw]).code).toBe('PV1003');
      }),
      { seed: 7, numRuns: 500 },
    );
  });

  it('reads each field once: what is checked is what is used', () => {
    let reads = 0;
    const registry = new PluginRegistry();
    const raw = {
      ...plugin(),
      get name() {
        return reads++ === 0 ? 'one' : 'other';
      },
    };
    expect(registry.load(raw, { where: 'x' }).name).toBe('one');
    expect(reads).toBe(1);
  });
});

describe('checks before apply', () => {
  it('refuses another API, and says which one this is', () => {
    const error = refusalOf([plugin({ api: '^2.0' })]);
    expect(error.code).toBe('PV1004');
    expect(error.message).toMatch(/needs plug-in API \^2\.0, this is 1\.\d+\.\d+/);
  });

  it('refuses a second plug-in of one name', () => {
    expect(refusalOf([plugin(), plugin({ version: '2.0.0' })]).code).toBe('PV1011');
  });

  it('refuses missing and outdated requirements', () => {
    const needs = plugin({ name: 'two', requires: { one: '^2.0' } });
    expect(refusalOf([needs])).toMatchObject({ code: 'PV1005', fix: 'load it first: --plugin one' });
    expect(refusalOf([plugin(), needs])).toMatchObject({ code: 'PV1006' });
  });

  it('refuses conflicts whichever side declares them', () => {
    const against = plugin({ name: 'two', conflicts: { one: '>=1' } });
    expect(refusalOf([plugin(), against])).toMatchObject({ code: 'PV1007' });
    const error = refusalOf([against, plugin()]);
    expect(error).toMatchObject({ code: 'PV1007', fix: 'leave out two or one' });
  });

  it('refuses unknown options and tells the known ones', () => {
    const error = refusalOf([plugin({ options: { depth: 'how deep' } })], { deep: '1' });
    expect(error).toMatchObject({ code: 'PV1008', fix: 'it knows depth (how deep)' });
  });

  it('keeps the order shape, API, requires, conflicts, options, claims', () => {
    const all = { api: '^2.0', requires: { none: '*' }, conflicts: { one: '*' } };
    const claim: Claim = { kind: 'ident', ident: 1 };
    const codes = [
      { ...all, name: 'Two' },
      { ...all },
      { ...all, api: '^1.0' },
      { ...all, api: '^1.0', requires: {} },
      { api: '^1.0' },
    ].map((fields) => refusalOf([claiming('one', claim), { ...claiming('two', claim), ...fields }], { odd: '1' }).code);
    expect(codes).toEqual(['PV1003', 'PV1004', 'PV1005', 'PV1007', 'PV1008']);
    expect(refusalOf([claiming('one', claim), claiming('two', claim)]).code).toBe('PV1009');
  });
});

const doubleClaims: [Claim, Claim, RegExp][] = [
  [
    { kind: 'cpuid', first: 0x40000000, last: 0x400000ff },
    { kind: 'cpuid', first: 0x40000010, last: 0x40000010 },
    /cpuid/,
  ],
  [{ kind: 'msr', first: 0x40000000, last: 0x40000000 }, { kind: 'msr', first: 0, last: 0xffffffff }, /msr 0x40000000/],
  [{ kind: 'port', first: 0xe9, last: 0xe9 }, { kind: 'port', first: 0xe0, last: 0xe9 }, /port 0xe0–0xe9/],
  [
    { kind: 'hypercall', abi: 'word', first: 0, last: 10 },
    { kind: 'hypercall', abi: 'word', first: 10, last: 20 },
    /hypercall of word/,
  ],
  [{ kind: 'ident', ident: 5 }, { kind: 'ident', ident: 5 }, /ident 0x5/],
  [{ kind: 'entryRegister', register: 'esi' }, { kind: 'entryRegister', register: 'rsi' }, /entry register rsi/],
];

const malformed: unknown[] = [
  undefined,
  null,
  'port',
  { kind: 'irq', first: 1, last: 2 },
  { kind: 'port', first: 2, last: 1 },
  { kind: 'port', first: 0, last: 0x10000 },
  { kind: 'msr', first: -1, last: 4 },
  { kind: 'msr', first: 0.5, last: 4 },
  { kind: 'cpuid', first: '1', last: '2' },
  { kind: 'hypercall', first: 1, last: 2 },
  { kind: 'ident', ident: 2 ** 32 },
  { kind: 'entryRegister', register: 'cr0' },
];

describe('claims', () => {
  it.each(doubleClaims)('refuses a double claim of %o and names both', (first, second, message) => {
    const error = refusalOf([claiming('one', first), claiming('two', second)]);
    expect(error).toMatchObject({ code: 'PV1009', fix: 'leave out two or one' });
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/plug-ins two and one/);
  });

  it('keeps spaces apart: MSRs from leaves, one ABI from another', () => {
    const registry = new PluginRegistry();
    const range = { first: 0x10, last: 0x20 };
    registry.load(claiming('one', { kind: 'msr', ...range }, { kind: 'hypercall', abi: 'a', ...range }), {
      where: 'x',
    });
    registry.load(claiming('two', { kind: 'cpuid', ...range }, { kind: 'hypercall', abi: 'b', ...range }), {
      where: 'y',
    });
    expect(registry.claims).toEqual([
      { plugin: 'one', claim: 'msr 0x10–0x20' },
      { plugin: 'one', claim: 'hypercall of a 0x10–0x20' },
      { plugin: 'two', claim: 'cpuid 0x10–0x20' },
      { plugin: 'two', claim: 'hypercall of b 0x10–0x20' },
    ]);
  });

  it.each(malformed)('refuses the malformed claim %j', (claim) => {
    expect(refusalOf([claiming('one', claim as Claim)]).code).toBe('PV1010');
  });

  it('refuses exactly those ranges that overlap', () => {
    const range = fc.tuple(fc.nat(60), fc.nat(20)).map(([first, size]) => ({ first, last: first + size }));
    fc.assert(
      fc.property(range, range, (a, b) => {
        const registry = new PluginRegistry();
        registry.load(claiming('one', { kind: 'port', ...a }), { where: 'x' });
        const second = () => registry.load(claiming('two', { kind: 'port', ...b }), { where: 'y' });
        const shared = Array.from({ length: 81 }, (_, port) => port).some(
          (port) => port >= a.first && port <= a.last && port >= b.first && port <= b.last,
        );
        if (shared) expect(second).toThrow(/both claim port/);
        else expect(second).not.toThrow();
      }),
      { seed: 11 },
    );
  });

  it('leaves nothing of a refused plug-in behind', () => {
    const registry = new PluginRegistry();
    registry.load(claiming('one', { kind: 'ident', ident: 1 }), { where: 'x' });
    const bad = plugin({
      name: 'two',
      apply(host) {
        host.hooks.exit.for('hlt').tap('two', () => 'handled');
        host.claim({ kind: 'port', first: 1, last: 1 });
        host.claim({ kind: 'ident', ident: 1 });
      },
    });
    expect(() => registry.load(bad, { where: 'y' })).toThrow(PolyvisorError);
    expect(registry.calls.has('exit', 'hlt')).toBe(false);
    expect(registry.claims).toHaveLength(1);
    expect(registry.plugins.map(({ name }) => name)).toEqual(['one']);
    registry.load(claiming('two', { kind: 'port', first: 1, last: 1 }), { where: 'z' });
  });
});

describe('files', () => {
  const reading = plugin({ apply: (host) => void host.readFile('a.rom') });

  it('are read for a plug-in where there are any', () => {
    let read: Uint8Array | undefined;
    const registry = new PluginRegistry({ files: { readFile: () => Uint8Array.of(1, 2) } });
    registry.load(plugin({ apply: (host) => void (read = host.readFile('a.rom')) }), { where: 'x' });
    expect(read).toEqual(Uint8Array.of(1, 2));
  });

  it('that cannot be read are refused with the reason', () => {
    const readFile = () => {
      throw new Error('no such file');
    };
    for (const [files, reason] of [
      [{ readFile }, 'no such file'],
      [undefined, 'there are no files here'],
    ] as const) {
      const registry = new PluginRegistry(files && { files });
      expect(() => registry.load(reading, { where: 'x' })).toThrow(
        expect.objectContaining({ code: 'PV1018', message: expect.stringContaining(`a.rom: ${reason}`) }),
      );
    }
  });
});

describe('apply', () => {
  const failing: [string, () => unknown, RegExp][] = [
    [
      'throws',
      () => {
        throw new Error('no\nstack');
      },
      /one failed in apply: no$/,
    ],
    [
      'throws what is no error',
      () => {
        throw { toString: () => Number.NaN.toFixed(999) };
      },
      /cannot be shown/,
    ],
    ['answers a promise', () => Promise.reject(new Error('late')), /synchronous/],
  ];
  it.each(failing)('is refused when it %s', (_name, apply, message) => {
    const error = refusalOf([plugin({ apply: apply as Plugin['apply'] })]);
    expect(error.code).toBe('PV1012');
    expect(error.message).toMatch(message);
  });

  it('passes on a coded refusal of the plug-in itself', () => {
    const own = plugin({
      apply() {
        throw new PolyvisorError('WORD01', 'the moon is wrong', 'wait', 9);
      },
    });
    expect(refusalOf([own])).toMatchObject({ code: 'WORD01', exitCode: 9 });
  });

  it('refuses a tap that is not a function', () => {
    const own = plugin({ apply: (host) => host.hooks.shutdown.tap('one', 5 as never) });
    expect(refusalOf([own]).code).toBe('PV1017');
  });
});

it('gives every code a meaning and a fix of one line', () => {
  for (const row of Object.values(pluginCodes)) {
    expect(row.meaning).toMatch(/^[^\n]+$/);
    expect(row.fix).toMatch(/^[^\n]+$/);
  }
});

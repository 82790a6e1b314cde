import { PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OpsSlot } from './model.ts';
import {
  checkOpsObject,
  isOpsObject,
  type LinkGuest,
  linkOpsObject,
  objectFor,
  readOpsObject,
} from './object-module.ts';
import { buildKernel } from './testing/kernel-fixture.ts';
import { buildModule, CODE, type ModuleOptions } from './testing/module-fixture.ts';

const SLOT: OpsSlot = {
  index: 7,
  name: 'mmu.write_cr3',
  heldIn: 'table',
  group: 'mmu',
  namedBy: 'types',
  prototype: undefined,
  convention: 'c',
};
const guest = (wordBytes: 4 | 8): LinkGuest => ({
  wordBytes,
  slots: [SLOT],
  symbol: () => 0xffffffff81000000n,
  previous: () => 0n,
});
const refusing = (options: ModuleOptions) => () => readOpsObject(buildModule(options), 'fixture.o');

describe.each([64, 32] as const)('an object of %i bits', (width) => {
  it('says what it is and which slots it is for', () => {
    const bytes = buildModule({ width, ops: { 'mmu.write_cr3': 'op', 'irq.save_fl': 'op' } });
    expect(isOpsObject(bytes)).toBe(true);
    expect(readOpsObject(bytes, 'fixture.o')).toMatchObject({
      manifest: { name: 'fixture', version: '1.0.0', api: '^1.0', guest: 'linux' },
      wordBytes: width / 8,
      slots: ['mmu.write_cr3', 'irq.save_fl'],
    });
  });

  it('is refused by a guest of the other word size', () => {
    const module = readOpsObject(buildModule({ width }), 'fixture.o');
    expect(() => checkOpsObject(module, guest(width === 64 ? 4 : 8))).toThrow(
      expect.objectContaining({ code: 'PV5023', message: expect.stringContaining('fixture 1.0.0 (mmu.write_cr3)') }),
    );
    expect(() => checkOpsObject(module, guest(width === 64 ? 8 : 4))).not.toThrow();
  });
});

it('slots that the kernel does not have are named', () => {
  const module = readOpsObject(buildModule({ ops: { 'mmu.write_cr3': 'op', 'mmu.no_such': 'op' } }), 'fixture.o');
  expect(() => checkOpsObject(module, guest(8))).toThrow(
    expect.objectContaining({ code: 'PV5001', message: expect.stringMatching(/fixture 1\.0\.0.*have: mmu\.no_such$/) }),
  );
});

describe.each([64, 32] as const)('entries of API 2 in an object of %i bits', (width) => {
  const options = { width, api: 2, ops: { 'mmu.write_cr3': 'op', 'mmu.no_such': 'op' } } as const;
  const bases = { text: 0xc0000000n, data: 0xc0100000n };

  it('are linked as those of API 1 are', () => {
    const of = (api: 1 | 2) => {
      const bytes = buildModule({ width, api, previous: { 'mmu.write_cr3': 'before' } });
      const module = readOpsObject(bytes, 'fixture.o');
      const { ops, regions } = linkOpsObject(
        module,
        { ...guest(width === 64 ? 8 : 4), previous: () => 0x1234n },
        bases,
      );
      return { slots: ops.map(({ slot }) => slot), data: regions.data.bytes };
    };
    expect(of(2)).toEqual(of(1));
    expect(of(2).data.subarray(0, 2)).toEqual(Uint8Array.of(0x34, 0x12));
  });

  it('may be optional: the module is for kernels without such a slot too', () => {
    const module = readOpsObject(buildModule({ ...options, optional: ['mmu.no_such'] }), 'fixture.o');
    expect(objectFor([SLOT], module).slots).toEqual(['mmu.write_cr3']);
    expect(() => checkOpsObject(objectFor([SLOT], module), guest(width === 64 ? 8 : 4))).not.toThrow();
    const strict = readOpsObject(buildModule(options), 'fixture.o');
    expect(() => checkOpsObject(objectFor([SLOT], strict), guest(width === 64 ? 8 : 4))).toThrow(/have: mmu\.no_such$/);
  });
});

describe('what is no ops module', () => {
  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array(0)],
    ['text', new TextEncoder().encode('module')],
    ['an object without a manifest', buildModule({ manifest: null })],
    ['a kernel', buildKernel({ slots: [] }).bytes],
    ['the head of an object', buildModule().subarray(0, 40)],
  ])('%s is not taken for one, and is refused', (_what, bytes) => {
    expect(isOpsObject(bytes)).toBe(false);
    expect(() => readOpsObject(bytes, 'fixture.o')).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^PV(2001|2002|5020)$/),
        message: expect.stringContaining('fixture.o'),
      }),
    );
  });

  it.each<[string, string, ModuleOptions]>([
    ['a bad manifest', 'PV5020', { manifest: 'name=x' }],
    ['no slots', 'PV5020', { ops: {} }],
    ['a slot whose name is none', 'PV5020', { ops: { 'Write CR3': 'op' } }],
    [
      'entries cut short',
      'PV5020',
      { sections: [{ name: '.pvops', bytes: new TextEncoder().encode('mmu.write_cr3') }] },
    ],
    ['entries of two versions of the API', 'PV5020', { api: 2, sections: [{ name: '.pvops', bytes: [1] }] }],
    ['entries of API 2 cut short', 'PV5020', { api: 2, sections: [{ name: '.pvops.2', bytes: [96, 0, 0, 0] }] }],
    ['entries of another size', 'PV5020', { api: 2, sections: [{ name: '.pvops.2', bytes: Array(104).fill(1) }] }],
    ['constructors', 'PV5027', { sections: [{ name: '.init_array', type: 14, bytes: Array(8).fill(0) }] }],
    ['thread-local variables', 'PV5027', { sections: [{ name: '.tdata', flags: 0x403, bytes: [0] }] }],
    ['code that can be written', 'PV5027', { sections: [{ name: '.text', flags: 7, bytes: CODE }] }],
    ['two megabytes of zeros', 'PV5027', { sections: [{ name: '.bss', flags: 3, type: 8, sizeBytes: 2 << 20 }] }],
  ])('with %s is refused with %s', (_what, code, options) => {
    expect(refusing(options)).toThrow(expect.objectContaining({ code }));
  });
});

it('any damage to an object gives a module or a coded error', () => {
  const whole = ([64, 32] as const).map((width) =>
    buildModule({
      width,
      api: width === 64 ? 1 : 2,
      ...{ previous: { 'mmu.write_cr3': 'before' }, symbols: [{ name: 'kernel', section: 0 }] },
      sections: [
        {
          ...{ name: '.text', flags: 6, bytes: CODE },
          relocations: [{ at: 3, type: width === 64 ? 4 : 2, symbol: 'kernel', ...(width === 64 && { addend: -4 }) }],
        },
      ],
    }),
  );
  const change = fc.tuple(fc.nat(), fc.constantFrom('byte', 'word'), fc.nat(0xffffffff));
  fc.assert(
    fc.property(fc.nat(1), fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(), (which, changes, cut) => {
      const bytes = whole[which].slice();
      for (const [at, kind, value] of changes) {
        if (kind === 'byte') bytes[at % bytes.length] = value;
        else new DataView(bytes.buffer).setUint32((at % (bytes.length - 4)) & ~3, value, true);
      }
      const file = cut % 8 === 0 ? bytes.subarray(0, cut % bytes.length) : bytes;
      try {
        isOpsObject(file);
        const module = readOpsObject(file, 'fixture.o');
        const bases = { text: 0xffffffffc0000000n, data: 0xffffffffc0100000n };
        const { text, data } = linkOpsObject(module, guest(module.wordBytes), bases).regions;
        expect(Math.max(text.bytes.length, data.bytes.length)).toBeLessThanOrEqual(1 << 20);
      } catch (error) {
        expect(error).toBeInstanceOf(PolyvisorError);
      }
    }),
    { numRuns: 1500 },
  );
});

import { describe, expect, it } from 'vitest';
import type { OpsSlot } from '../model.ts';
import { type LinkGuest, linkOpsObject, readOpsObject } from '../object-module.ts';
import { buildModule, CODE, type ModuleOptions } from '../testing/module-fixture.ts';
import type { FixtureSection, FixtureSymbol } from '../testing/object-fixture.ts';
import { THUNK_BYTES } from './layout.ts';
import { opThunk } from './op-thunk.ts';
import { calleeSaveThunk } from './thunk.ts';

const BASES = {
  64: { text: 0xffffffffc0100000n, data: 0xffffffffc0200000n },
  32: { text: 0xf7000000n, data: 0xf7100000n },
} as const;
const PREVIOUS = 0xffffffff81020304n;
/** A function of the guest's, 1 MiB below. */
const KERNEL = { 64: 0xffffffffc0000000n, 32: 0xf6f00000n } as const;
const [UNDEFINED, ABSOLUTE, COMMON] = [0, 0xfff1, 0xfff2];

const slot = (name: string, convention: OpsSlot['convention'] = 'c'): OpsSlot => ({
  ...{ index: 0, name, heldIn: 'table', group: 'mmu', namedBy: 'types', prototype: undefined, convention },
});

function guest(
  width: 32 | 64,
  symbols: Readonly<Record<string, bigint>> = {},
  slots = [slot('mmu.write_cr3')],
): LinkGuest {
  return {
    wordBytes: width === 64 ? 8 : 4,
    slots,
    symbol: (name) => ({ kernel: KERNEL[width], ...symbols })[name],
    previous: () => PREVIOUS,
  };
}

function linked(options: ModuleOptions, symbols?: Readonly<Record<string, bigint>>, slots?: OpsSlot[]) {
  const width = options.width ?? 64;
  const module = readOpsObject(buildModule(options), 'fixture.o');
  return linkOpsObject(module, guest(width, symbols, slots), BASES[width]);
}

function wordIn(bytes: Uint8Array, at: number, width: 32 | 64): bigint {
  const view = new DataView(bytes.buffer, at);
  return width === 64 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
}

/** A module with a section `.test` of data, with one relocation at offset 8, and the bytes that it becomes. */
function relocated(width: 32 | 64, type: number, symbol: FixtureSymbol, addend?: number, bytes = Array(24).fill(0)) {
  const relocations = [{ at: 8, type, symbol: symbol.name, ...(addend !== undefined && { addend }) }];
  const section: FixtureSection = { name: '.test', flags: 3, bytes, alignBytes: 16, relocations };
  const result = linked({ width, sections: [section], symbols: symbol.name === 'op' ? [] : [symbol] });
  const { text, data } = result.regions;
  // .data, then .test.
  const start = 16;
  const view = new DataView(data.bytes.buffer, start + 8);
  return {
    place: data.base + BigInt(start + 8),
    as64: view.getBigUint64(0, true),
    as32: view.getInt32(0, true),
    unsigned: view.getUint32(0, true),
    word: (gva: bigint) => wordIn(text.bytes, Number(gva - text.base), width),
  };
}

const kernel: FixtureSymbol = { name: 'kernel', section: UNDEFINED };
const op: FixtureSymbol = { name: 'op', section: '.text' };
const low: FixtureSymbol = { name: 'low', section: ABSOLUTE, value: 0x12345 };

describe('relocations of x86-64', () => {
  it('R_X86_64_64: the address', () => {
    expect(relocated(64, 1, kernel, 5).as64).toBe(KERNEL[64] + 5n);
    expect(relocated(64, 1, op, 2).as64).toBe(BASES[64].text + 2n);
  });

  it.each([
    ['PC32', 2],
    ['PLT32', 4],
  ])('R_X86_64_%s: the distance from the place', (_name, type) => {
    const { place, as32 } = relocated(64, type, kernel, -4);
    expect(place + BigInt(as32)).toBe(KERNEL[64] - 4n);
  });

  it('R_X86_64_PC64: the distance in 64 bits', () => {
    const { place, as64 } = relocated(64, 24, low, 0);
    expect(BigInt.asUintN(64, place + as64)).toBe(0x12345n);
  });

  it('R_X86_64_32 and 32S: addresses that fit', () => {
    expect(relocated(64, 10, low, 1).unsigned).toBe(0x12346);
    expect(BigInt.asUintN(64, BigInt(relocated(64, 11, kernel, 0).as32))).toBe(KERNEL[64]);
  });

  it.each([
    ['GOTPCREL', 9],
    ['GOTPCRELX', 41],
    ['REX_GOTPCRELX', 42],
  ])('R_X86_64_%s: the way to a word that holds the address', (_name, type) => {
    const { place, as32, word } = relocated(64, type, kernel, -4);
    expect(word(place + BigInt(as32) + 4n)).toBe(KERNEL[64]);
  });

  it('leaves alone where nothing is to be done', () => {
    expect(relocated(64, 0, kernel, 7).as64).toBe(0n);
  });

  it('links what the large model writes: addresses by the table and by its distance', () => {
    const gotpc: FixtureSymbol = { name: '_GLOBAL_OFFSET_TABLE_', section: UNDEFINED };
    const got = relocated(64, 29, gotpc, 0);
    const table = BigInt.asUintN(64, got.place + got.as64);
    const off = relocated(64, 25, op, 0);
    expect(BigInt.asUintN(64, table + off.as64)).toBe(BASES[64].text);
    expect(relocated(64, 31, op, 0).as64).toBe(off.as64);
    const slotOffset = relocated(64, 27, kernel, 0);
    expect(slotOffset.word(table + BigInt.asIntN(64, slotOffset.as64))).toBe(KERNEL[64]);
  });
});

describe('relocations of i386, whose addends stand at the place', () => {
  const addend = [...Array(8).fill(0), 0xfc, 0xff, 0xff, 0xff, ...Array(12).fill(0)];

  it('R_386_32, PC32, PLT32', () => {
    expect(BigInt(relocated(32, 1, kernel).unsigned)).toBe(KERNEL[32]);
    for (const type of [2, 4]) {
      const { place, as32 } = relocated(32, type, kernel, undefined, addend);
      expect(place + BigInt(as32)).toBe(KERNEL[32] - 4n);
    }
  });

  it('wrap around: everything is in reach', () => {
    const { place, as32 } = relocated(32, 2, low);
    expect(BigInt.asUintN(32, place + BigInt(as32))).toBe(0x12345n);
  });

  it('R_386_GOT32X: the slot by its address without a base register, by its offset with one', () => {
    const modrm = (value: number) => [...Array(7).fill(0), value, ...Array(16).fill(0)];
    const direct = relocated(32, 43, kernel, undefined, modrm(0x05));
    const table = { name: '_GLOBAL_OFFSET_TABLE_', section: UNDEFINED };
    const got = relocated(32, 10, table);
    const tableAt = got.place + BigInt(got.as32);
    const offset = relocated(32, 43, kernel, undefined, modrm(0x83)).as32;
    expect(BigInt(direct.unsigned)).toBe(tableAt + BigInt(offset));
    expect(direct.word(BigInt(direct.unsigned))).toBe(KERNEL[32]);
  });
});

describe('symbols', () => {
  const uses = (symbol: FixtureSymbol, type = 1): ModuleOptions => ({
    sections: [
      {
        name: '.test',
        flags: 3,
        bytes: Array(16).fill(0),
        relocations: [{ at: 0, type, symbol: symbol.name, addend: 0 }],
      },
    ],
    symbols: [symbol],
  });
  const first = ({ regions }: ReturnType<typeof linked>) => wordIn(regions.data.bytes, 8, 64);

  it('that are weak and nowhere are null, those that the guest has are its', () => {
    const weak = { name: 'maybe', section: UNDEFINED, weak: true };
    expect(first(linked(uses(weak)))).toBe(0n);
    expect(first(linked(uses(weak), { maybe: 0xffffffff81234567n }))).toBe(0xffffffff81234567n);
  });

  it('that nobody has are named, all of them', () => {
    const options = uses({ name: 'no_such_function', section: UNDEFINED });
    expect(() => linked(options)).toThrow(
      expect.objectContaining({
        code: 'PV5025',
        message: 'ops module fixture 1.0.0 (mmu.write_cr3) uses symbols that the guest does not have: no_such_function',
      }),
    );
  });

  it('in common get memory of their own that is zero', () => {
    const common = { name: 'counter', section: COMMON, value: 8, sizeBytes: 8 };
    const result = linked(uses(common));
    const { base, bytes } = result.regions.data;
    const at = Number(first(result) - base);
    expect([at % 8, wordIn(bytes, at, 64)]).toEqual([0, 0n]);
  });
});

describe('what does not fit', () => {
  const far = (type: number) => () =>
    linked(
      {
        sections: [{ name: '.text', flags: 6, bytes: CODE, relocations: [{ at: 3, type, symbol: 'far', addend: -4 }] }],
        symbols: [{ name: 'far', section: UNDEFINED }],
      },
      { far: 0xffff888000000000n },
    );

  it.each([
    ['PC32', 2],
    ['PLT32', 4],
    ['32', 10],
    ['32S', 11],
  ])('R_X86_64_%s out of range is refused, and module and slot are named', (name, type) => {
    expect(far(type)).toThrow(
      expect.objectContaining({
        code: 'PV5026',
        message: expect.stringMatching(
          new RegExp(
            `^ops module fixture 1.0.0 .*R_X86_64_${name} to far at .text\\+0x3, in the implementation of mmu.write_cr3`,
          ),
        ),
      }),
    );
  });

  it('a type that nobody knows is refused', () => {
    expect(far(200)).toThrow(expect.objectContaining({ code: 'PV5026', message: expect.stringContaining('200') }));
  });

  it('a place outside of its section is refused', () => {
    const section = {
      name: '.text',
      flags: 6,
      bytes: CODE,
      relocations: [{ at: 5, type: 2, symbol: 'op', addend: 0 }],
    };
    expect(() => linked({ sections: [section] })).toThrow(expect.objectContaining({ code: 'PV5027' }));
  });
});

describe('slots', () => {
  it('have their implementation, and the module has the one before', () => {
    const { ops, regions, functions } = linked({ previous: { 'mmu.write_cr3': 'before' } });
    expect(ops).toEqual([{ slot: 'mmu.write_cr3', gva: expect.anything(), returnTo: expect.anything() }]);
    expect(functions).toEqual([{ name: 'op', gva: regions.text.base, sizeBytes: CODE.length }]);
    expect(wordIn(regions.data.bytes, 0, 64)).toBe(PREVIOUS);
  });

  it('without an implementation, or with a place that cannot be written, are refused', () => {
    expect(() => linked({ ops: { 'mmu.write_cr3': '' } })).toThrow(expect.objectContaining({ code: 'PV5027' }));
    const previous = { 'mmu.write_cr3': 'op' };
    expect(() => linked({ previous })).toThrow(expect.objectContaining({ code: 'PV5027' }));
  });

  it.each([
    ['keep their registers', 'calleeSave', true],
    ['do not', 'c', false],
  ] as const)('are called through a thunk that knows whether callers %s', (_what, convention, keeps) => {
    const { ops, regions } = linked({}, {}, [slot('mmu.write_cr3', convention)]);
    const { base, bytes } = regions.text;
    const [{ gva, returnTo }] = ops;
    const thunk = opThunk(64, keeps, gva, base);
    expect(bytes.slice(Number(gva - base), Number(gva - base) + thunk.code.length)).toEqual(thunk.code);
    expect(returnTo).toBe(gva + BigInt(thunk.returnTo));
  });
});

it.each([32, 64] as const)('thunks in front of operations have room (%i)', (width) => {
  for (const keeps of [false, true]) {
    expect(opThunk(width, keeps, 0x1000n, 0x2000n).code.length).toBeLessThanOrEqual(THUNK_BYTES);
  }
});

// biome-ignore format: an instruction a line
const OP_THUNK_32 = [
  0x9c, 0x50, 0x51, 0x52, 0x53, 0x55, 0x56, 0x57, 0x54, // pushf; push eax, ecx, edx, ebx, ebp, esi, edi, esp
  0xff, 0x74, 0x24, 0x34, 0xff, 0x74, 0x24, 0x34, 0xff, 0x74, 0x24, 0x34, 0xff, 0x74, 0x24, 0x34, // push [esp+34h]
  0xe8, 0xe2, 0x0f, 0, 0, // call 2000h
  0x83, 0xc4, 0x10, // add esp, 10h
  0xc7, 0x04, 0x24, 0, 0, 0, 0, // mov dword [esp], 0
  0x83, 0xc4, 0x14, // add esp, 14h
  0x5a, 0x59, // pop edx, ecx
  0x83, 0xc4, 0x08, // add esp, 8
  0xc3, // ret
];
it('a thunk of 32-bit code hands on four words of the stack', () => {
  expect([...opThunk(32, true, 0x1000n, 0x2000n).code]).toEqual(OP_THUNK_32);
});

// biome-ignore format: an instruction a line
const THUNK_64 = [
  0x51, 0x52, 0x56, 0x57, 0x41, 0x50, 0x41, 0x51, 0x41, 0x52, 0x41, 0x53, // push rcx, rdx, rsi, rdi, r8 to r11
  0xe8, 0xef, 0x0f, 0x00, 0x00, // call 0x2000
  0x41, 0x5b, 0x41, 0x5a, 0x41, 0x59, 0x41, 0x58, 0x5f, 0x5e, 0x5a, 0x59, // pop r11 to r8, rdi, rsi, rdx, rcx
  0xc3, // ret
];
it('a thunk saves what C may change, in the order of the pushes', () => {
  expect([...calleeSaveThunk(64, 0x1000n, 0x2000n)]).toEqual(THUNK_64);
  expect([...calleeSaveThunk(32, 0x1000n, 0x2000n)]).toEqual([0x51, 0x52, 0xe8, 0xf9, 0x0f, 0, 0, 0x5a, 0x59, 0xc3]);
});

it('global variables that are numbers are told by name and address', () => {
  const variable = { isVariable: true, section: '.data', sizeBytes: 8 };
  const { variables, regions } = linked({
    symbols: [
      { ...variable, name: 'count' },
      { ...variable, name: 'table', sizeBytes: 64 },
      { ...variable, name: 'beyond', value: 4 },
      { ...variable, name: 'constant', section: '.pvops' },
    ],
  });
  expect(variables).toEqual([{ name: 'count', gva: regions.data.base, sizeBytes: 8 }]);
});

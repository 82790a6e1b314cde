import { PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BtfWriter } from '../loader/image/testing/btf-fixture.ts';
import { findKernelOps } from './kernel-ops.ts';
import { BASES, buildKernel, DATA, type KernelOptions, rel32, type Width } from './testing/kernel-fixture.ts';

const RET = [0xc3];
const ENDBR = [0xf3, 0x0f, 0x1e, 0xfa];
const MOV_RAX_RDI = [0x48, 0x89, 0xf8];
const HLT_RET = [0xf4, 0xc3];

/** The shape of the kernel's struct paravirt_patch_template, in small. */
function btfOf(width: Width): Uint8Array {
  const word = width / 8;
  const writer = new BtfWriter();
  const long = writer.int('unsigned long', word);
  const pointer = writer.pointer(writer.prototype(0, [['', long]]));
  const saved = writer.struct('paravirt_callee_save', word, [['func', writer.pointer(0), 0]]);
  const lazy = writer.struct('pv_lazy_ops', 2 * word, [
    ['enter', pointer, 0],
    ['leave', pointer, word],
  ]);
  const cpu = writer.struct('pv_cpu_ops', 2 * word, [
    ['halt', pointer, 0],
    ['cpuid', writer.const(pointer), word],
  ]);
  const irq = writer.struct('pv_irq_ops', word, [['save_fl', saved, 0]]);
  const mmu = writer.struct('pv_mmu_ops', 3 * word, [
    ['write_cr3', pointer, 0],
    ['lazy_mode', lazy, word],
  ]);
  writer.func('native_save_fl', writer.prototype(long, []));
  writer.struct('paravirt_patch_template', 6 * word, [
    ['cpu', cpu, 0],
    ['irq', irq, 2 * word],
    ['mmu', writer.typedef('mmu_ops', mmu), 3 * word],
  ]);
  return writer.bytes();
}

/** Six slots: native, null, native, nop, identity, nop through a thunk. */
function kernelOptions(width: Width): KernelOptions {
  return {
    width,
    slots: [0x300, null, 0x310, 0x320, 0x330, 0x340],
    code: {
      768: HLT_RET,
      784: [...ENDBR, ...HLT_RET],
      800: [...ENDBR, ...RET],
      816: [...MOV_RAX_RDI, ...rel32(0xe9, 0x333, 0x3f0)],
      832: [...rel32(0xe8, 0x340, 0x3e0), ...rel32(0xe9, 0x345, 0x3f0)],
    },
    symbols: {
      native_halt: 0x300n,
      native_save_fl: 0x310n,
      _paravirt_nop: 0x320n,
      _paravirt_ident_64: 0x330n,
      paravirt_nop: 0x340n,
      __fentry__: 0x3e0n,
      __x86_return_thunk: 0x3f0n,
      caller: 0x0n,
      pv_ops: DATA,
      next: DATA + BigInt((6 * width) / 8),
    },
    btf: btfOf(width),
  };
}

const NAMES = ['cpu.halt', 'cpu.cpuid', 'irq.save_fl', 'mmu.write_cr3', 'mmu.lazy_mode.enter', 'mmu.lazy_mode.leave'];
const SITES = [
  { at: 0x20, slot: 2 },
  { at: 0x10, slot: 2 },
  { at: 0x30, slot: 5 },
];

describe.each<Width>([64, 32])('the table of a %i-bit kernel', (width) => {
  const address = (offset: number) => BASES[width] + BigInt(offset);

  it('has its slots from the types, and what they hold from the symbols', () => {
    const ops = findKernelOps(buildKernel({ ...kernelOptions(width), parainstructions: SITES }));
    expect(ops).toMatchObject({ address: BASES[width] + DATA, foundBy: 'symbol', siteCount: 3, unreadable: 0 });
    expect(ops.slots.map(({ name }) => name)).toEqual(NAMES);
    expect(ops.slots.map(({ group }) => group)).toEqual(['cpu', 'cpu', 'irq', 'mmu', 'mmu', 'mmu']);
    expect(ops.slots.map(({ implementation }) => implementation.kind)).toEqual([
      'native',
      'none',
      'native',
      'nop',
      'identity',
      'nop',
    ]);
    expect(ops.slots[0]).toMatchObject({ convention: 'c', prototype: 'void (unsigned long)' });
    expect(ops.slots[2]).toMatchObject({
      convention: 'calleeSave',
      prototype: 'unsigned long (void)',
      implementation: { symbols: ['native_save_fl'], address: address(0x310) },
    });
  });

  it('has its sites from .parainstructions, by address', () => {
    const { slots } = findKernelOps(buildKernel({ ...kernelOptions(width), parainstructions: SITES }));
    expect(slots.map(({ sites }) => sites.length)).toEqual([0, 0, 2, 0, 0, 1]);
    expect(slots[2].sites).toMatchObject([
      { address: address(0x10), sizeBytes: 6, listedIn: '.parainstructions', alternatives: [] },
      { address: address(0x20) },
    ]);
  });

  it.each([12, 13, 14] as const)('has its sites from alternatives in rows of %i bytes', (alternativeBytes) => {
    const flags = alternativeBytes === 14 ? 2 : 0;
    const alternatives = [
      { at: 0x10, feature: 0x75, flags },
      { at: 0x10, feature: 0x2ad },
      { at: 0x30, feature: 0x75, flags },
      // An alternative of other code.
      { at: 0x100, feature: 3 },
    ];
    const kernel = buildKernel({ ...kernelOptions(width), calls: SITES, alternatives, alternativeBytes });
    const { slots, siteCount } = findKernelOps(kernel);
    expect(siteCount).toBe(2);
    const [{ alternatives: both, ...site }] = slots[2].sites;
    expect(site).toMatchObject({ address: address(0x10), sizeBytes: 6, listedIn: '.altinstructions' });
    expect(both).toMatchObject([
      { feature: 0x75, flags, replacementBytes: 5, replacementAddress: address(0x28000) },
      { feature: 0x2ad, flags: 0 },
    ]);
  });

  it('joins alternatives to the sites that .parainstructions list', () => {
    const kernel = buildKernel({
      ...kernelOptions(width),
      ...{ parainstructions: SITES, alternatives: [{ at: 0x20, feature: 9 }], alternativeBytes: 12 },
    });
    const { slots } = findKernelOps(kernel);
    expect(slots[2].sites.map(({ alternatives }) => alternatives.length)).toEqual([0, 1]);
  });

  it('believes the instruction, and the type where there is none', () => {
    const parainstructions = [
      { at: 0x10, slot: 2, type: 3 },
      { at: 0x20, slot: 4, code: [0x90, 0x90, 0x90, 0x90, 0x90, 0x90] },
    ];
    const { slots } = findKernelOps(buildKernel({ ...kernelOptions(width), parainstructions }));
    expect(slots.map(({ sites }) => sites.length)).toEqual([0, 0, 1, 0, 1, 0]);
  });

  it('counts what it does not understand', () => {
    const parainstructions = [
      ...SITES,
      { at: 0x40, slot: 2, type: 200, code: [0x90] },
      { at: 0x9000, slot: 1, code: [] },
    ];
    const ops = findKernelOps(buildKernel({ ...kernelOptions(width), parainstructions }));
    expect([ops.siteCount, ops.unreadable]).toEqual([3, 2]);
  });

  it('without types is named after what it holds, and ends at the next symbol', () => {
    const { btf: _, ...options } = kernelOptions(width);
    const { slots } = findKernelOps(buildKernel({ ...options, parainstructions: SITES, after: [address(0x300)] }));
    expect(slots.map(({ name, namedBy }) => [name, namedBy])).toEqual([
      ['halt', 'symbol'],
      ['slot1', 'index'],
      ['save_fl', 'symbol'],
      ['slot3', 'index'],
      ['slot4', 'index'],
      ['slot5', 'index'],
    ]);
    expect(new Set(slots.map(({ group }) => group))).toEqual(new Set(['other']));
  });

  it('without types and its own symbol is found by the calls through it, and ends where the pointers to code do', () => {
    const { btf: _, symbols, ...options } = kernelOptions(width);
    const { pv_ops: _table, next: _next, ...others } = symbols as Record<string, bigint>;
    const kernel = buildKernel({
      ...options,
      ...{ symbols: others, slots: [0x300, 0x320, 0x310, 0x320], parainstructions: [{ at: 0x10, slot: 2 }] },
      after: [0n, address(0x300)],
    });
    expect(findKernelOps(kernel)).toMatchObject({
      ...{ foundBy: 'sites', address: BASES[width] + DATA },
      slots: [{ name: 'halt' }, { name: 'slot1' }, { name: 'save_fl' }, { name: 'slot3' }],
    });
  });
});

describe('a kernel without paravirt operations', () => {
  it.each<[string, Partial<KernelOptions>]>([
    ['without symbols', { symbols: {} }],
    ['with others', { symbols: { main: 0x300n } }],
  ])('%s is refused by name', (_what, changes) => {
    const kernel = buildKernel({ ...kernelOptions(64), ...changes });
    expect(() => findKernelOps(kernel)).toThrow(expect.objectContaining({ code: 'PV5003', exitCode: 3 }));
  });
});

it('any damage to its tables gives a table or a coded error', () => {
  const kernel = buildKernel({
    ...kernelOptions(64),
    ...{
      parainstructions: SITES,
      alternatives: [
        { at: 0x20, feature: 9 },
        { at: 0x10, feature: 1 },
      ],
    },
  });
  const damaged = ['.parainstructions', '.altinstructions', '.BTF', '.data', '.symtab'].map((name) => {
    const { offset, sizeBytes } = kernel.section(name) as { offset: number; sizeBytes: number };
    return { offset, sizeBytes };
  });
  const change = fc.tuple(fc.constantFrom(...damaged), fc.nat(), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
      const bytes = kernel.bytes.slice();
      for (const [{ offset, sizeBytes }, at, value] of changes) bytes[offset + (at % sizeBytes)] = value;
      try {
        const ops = findKernelOps({ ...kernel, bytes });
        expect(ops.slots.length).toBeLessThanOrEqual(1024);
        expect(ops.slots.reduce((sum, { sites }) => sum + sites.length, 0)).toBeLessThanOrEqual(ops.siteCount);
      } catch (error) {
        expect(error).toBeInstanceOf(PolyvisorError);
      }
    }),
    { numRuns: 1000 },
  );
});

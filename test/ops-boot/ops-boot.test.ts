import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../../packages/core/src/machine/machine.ts';
import { buildModule } from '../../packages/core/src/pvops/testing/module-fixture.ts';
import { Gpr, PolyvisorError, SegmentIndex } from '../../packages/plugin-api/src/index.ts';
import { boot, bzImage, codeOf, type KernelOptions, module } from './fixtures.ts';

const MIB = 1 << 20;
const DOORS = ['multiboot1', 'multiboot2'] as const;
const object = buildModule();
const zeroPageOf = ({ vcpus }: { vcpus: readonly { gpr: BigUint64Array }[] }) => Number(vcpus[0].gpr[Gpr.RSI]);
const DATA_SEGMENTS = [SegmentIndex.DS, SegmentIndex.ES, SegmentIndex.FS, SegmentIndex.GS, SegmentIndex.SS];
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const FLAT_CODE = 0x00cf9b000000ffffn;
const FLAT_DATA = 0x00cf93000000ffffn;
/** Of a zero page (Linux, Documentation/arch/x86/zero-page.rst). */
const At = { rsdp: 0x70, e820Entries: 0x1e8, header: 0x1f1, videoMode: 0x1fa, headerEnd: 0x26c, e820: 0x2d0 } as const;
const Loader = { type: 0x210, code32Start: 0x214, ramdisk: 0x218, ramdiskSize: 0x21c, commandLine: 0x228 } as const;

/** Multiboot leaves the selectors open (0.6.96, 3.2). */
function withOtherSelectors({ vcpus: [vcpu] }: Machine): void {
  for (const index of [SegmentIndex.CS, ...DATA_SEGMENTS])
    vcpu.setSegment(index, { ...vcpu.segment(index), selector: 0x40 });
}

describe.each(DOORS)('a kernel that ops-boot starts, itself started by %s', (door) => {
  it('is entered as the 32-bit boot protocol says', async () => {
    const { machine, end } = await boot([module(bzImage(), 'console=ttyS0')], { door, prepare: withOtherSelectors });
    expect(end.reason).toEqual({ kind: 'poweroff' });
    const [vcpu] = machine.vcpus;
    const { gpr, tables } = vcpu;
    expect([gpr[Gpr.RBX], gpr[Gpr.RBP], gpr[Gpr.RDI]]).toEqual([0n, 0n, 0n]);
    // Of the kernel's own three instructions none is a jump.
    expect(vcpu.rip & ~0xfn).toBe(BigInt(2 * MIB));
    expect([vcpu.rflags & 0x200n, vcpu.cr0 & 0x8000_0001n, vcpu.cpl]).toEqual([0n, 1n, 0]);
    const flat = { base: 0n, limit: 0xffffffff };
    expect(vcpu.segment(SegmentIndex.CS)).toMatchObject({ ...flat, selector: CODE_SELECTOR });
    for (const index of DATA_SEGMENTS) expect(vcpu.segment(index)).toMatchObject({ ...flat, selector: DATA_SELECTOR });
    const gdt = Number(tables.gdtr.base);
    expect(tables.gdtr.limit).toBeGreaterThanOrEqual(DATA_SELECTOR + 7);
    expect(machine.memory.read64(gdt + CODE_SELECTOR)).toBe(FLAT_CODE);
    expect(machine.memory.read64(gdt + DATA_SELECTOR)).toBe(FLAT_DATA);
  });

  it('finds a zero page with its header, its command line, its initrd and the memory map', async () => {
    const kernel = bzImage();
    const initrd = new Uint8Array(5000).fill(0x77);
    const { machine } = await boot([module(kernel, 'console=ttyS0 a=b'), module(initrd, 'some words')], { door });
    const { memory } = machine;
    const at = zeroPageOf(machine);
    expect(memory.read8(at + Loader.type)).toBe(0xff);
    expect(memory.read16(at + At.videoMode)).toBe(0xffff);
    expect(memory.read32(at + Loader.code32Start)).toBe(2 * MIB);
    const commandLine = memory.readBytes(memory.read32(at + Loader.commandLine), 18);
    expect(Buffer.from(commandLine).toString()).toBe('console=ttyS0 a=b\0');
    expect(memory.read32(at + Loader.ramdiskSize)).toBe(initrd.length);
    expect(memory.readBytes(memory.read32(at + Loader.ramdisk), initrd.length)).toEqual(initrd);
    expect(memory.readBytes(2 * MIB, codeOf(kernel).length)).toEqual(codeOf(kernel));
    // As in the file, but for what a loader fills in.
    const header = memory.readBytes(at + At.header, At.headerEnd - At.header);
    const expected = kernel.slice(At.header, At.headerEnd);
    for (const [from, sizeBytes] of [
      [At.videoMode, 2],
      [Loader.type, 1],
      [Loader.code32Start, 12],
      [Loader.commandLine, 4],
    ])
      for (const bytes of [header, expected]) bytes.fill(0, from - At.header, from - At.header + sizeBytes);
    expect(header).toEqual(expected);
    const entries = Array.from({ length: memory.read8(at + At.e820Entries) }, (_, i) => at + At.e820 + 20 * i);
    const map = entries.map((entry) => [memory.read64(entry), memory.read64(entry + 8), memory.read32(entry + 16)]);
    expect(map).toContainEqual([BigInt(MIB), BigInt(31 * MIB), 1]);
    expect(map.some(([, , type]) => type === 2)).toBe(true);
    const rsdp = Number(memory.read64(at + At.rsdp));
    if (door === 'multiboot1') expect(rsdp).toBe(0);
    else {
      expect(Buffer.from(memory.readBytes(rsdp, 8)).toString()).toBe('RSD PTR ');
      expect(map).toContainEqual([BigInt(rsdp & ~0xfff), 0x1000n, 2]);
    }
  });

  it('was handed over with the ops modules, in their order, before it ran', async () => {
    const kernel = bzImage();
    const modules = [module(object, 'one'), module(kernel), module('an initrd'), module('pvops-module two\n')];
    const { given, said, end } = await boot(modules, { door });
    const bytes = [kernel, object, new TextEncoder().encode('pvops-module two\n')];
    expect(given.map(({ kind }) => kind)).toEqual(['kernel', 'module', 'module']);
    expect(given.map((each) => each.bytes)).toEqual(bytes);
    expect(said).toBe('ops-boot: ops modules handed over: 2\n');
    expect(end.reason).toEqual({ kind: 'poweroff' });
  });
});

describe('ops-boot', () => {
  it('starts the kernel without its ops modules where there are no calls', async () => {
    const { said, end } = await boot([module(bzImage()), module(object)], { handOver: null });
    expect(said).toBe('ops-boot: no ops calls on this machine: the kernel starts without its ops modules (1)\n');
    expect(end.reason).toEqual({ kind: 'poweroff' });
  });

  it('starts the kernel without what is refused, and says so', async () => {
    const refuse = (refused: string) => async (given: { kind: string }) => {
      if (given.kind === refused) throw new PolyvisorError('PV5023', 'of another word size', 'compile it anew');
    };
    const modules = [module(bzImage()), module(object, 'new-ops\x1b[2J')];
    const withoutModule = await boot(modules, { handOver: refuse('module') });
    expect(withoutModule.said).toBe(
      'ops-boot: module 2 (new-ops?[2J) is not taken (PV5023), and left out\nops-boot: ops modules handed over: 0\n',
    );
    const withoutKernel = await boot(modules, { handOver: refuse('kernel') });
    expect(withoutKernel.said).toBe(
      'ops-boot: the kernel is not taken (PV5023), and starts without its ops modules (1)\n',
    );
    expect(withoutKernel.given).toHaveLength(1);
    for (const { end } of [withoutModule, withoutKernel]) expect(end.reason).toEqual({ kind: 'poweroff' });
  });

  it.each([
    ['/boot/vmlinuz console=ttyS0', 'console=ttyS0'],
    ['(hd0,1)/vmlinuz  quiet', 'quiet'],
    ['/vmlinuz', ''],
    ['root=/dev/vda quiet', 'root=/dev/vda quiet'],
  ])('makes of the text %j the command line %j', async (text, commandLine) => {
    const { machine } = await boot([module(bzImage(), text)]);
    const at = machine.memory.read32(zeroPageOf(machine) + Loader.commandLine);
    const bytes = machine.memory.readBytes(at, commandLine.length + 1);
    expect(Buffer.from(bytes).toString()).toBe(`${commandLine}\0`);
  });

  it.each<[string, KernelOptions, number]>([
    ['upwards over itself', { codeBytes: 3 * MIB, initSizeBytes: 4 * MIB }, 2 * MIB],
    ['downwards over itself', { codeBytes: 3 * MIB, prefAddress: MIB, alignment: 4096 }, MIB],
    ['as high as it wants', { prefAddress: 16 * MIB, initSizeBytes: 8 * MIB }, 16 * MIB],
    ['to the next place that is aligned', { prefAddress: 3 * MIB, alignment: 2 * MIB }, 4 * MIB],
    ['where code32_start says, as it cannot move', { relocatable: false, prefAddress: MIB, code32Start: MIB }, MIB],
  ])('moves the kernel %s, and the initrd out of its way', async (_how, options, at) => {
    const kernel = bzImage(options);
    const initrd = Uint8Array.from({ length: 2 * MIB + 3 }, (_, i) => (i * 13 + (i >> 9)) & 0xff);
    const { machine, end } = await boot([module(initrd), module(kernel)]);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    const { memory } = machine;
    expect(Number(machine.vcpus[0].rip) & ~0xf).toBe(at);
    expect(Buffer.from(memory.readBytes(at, codeOf(kernel).length)).equals(codeOf(kernel))).toBe(true);
    const [first, sizeBytes] = [Loader.ramdisk, Loader.ramdiskSize].map((field) =>
      memory.read32(zeroPageOf(machine) + field),
    );
    expect(sizeBytes).toBe(initrd.length);
    expect(Buffer.from(memory.readBytes(first, sizeBytes)).equals(initrd)).toBe(true);
    const end1 = at + Math.max(options.initSizeBytes ?? MIB, codeOf(kernel).length);
    expect(first >= end1 || first + sizeBytes <= at).toBe(true);
  });

  it('keeps an initrd that has to move as high as the kernel allows', async () => {
    const initrd = new Uint8Array(3 * MIB).fill(0x55);
    const initrdAt = async (initrdAddressMax: number) => {
      const { machine } = await boot([module(bzImage({ initrdAddressMax })), module(initrd)]);
      return machine.memory.read32(zeroPageOf(machine) + Loader.ramdisk);
    };
    expect(await initrdAt(0x7fffffff)).toBe(29 * MIB);
    expect(await initrdAt(16 * MIB - 1)).toBe(13 * MIB);
    const { said } = await boot([module(bzImage({ initrdAddressMax: 4 * MIB })), module(initrd)]);
    expect(said).toMatch(/^ops-boot: no room for 3072 KiB of initrd; give the machine more memory$/m);
  });

  it('leaves an initrd where it is that is right there', async () => {
    const initrd = new Uint8Array(3 * MIB).fill(0x55);
    const kernel = bzImage({ prefAddress: 16 * MIB });
    const { machine } = await boot([module(kernel), module(initrd)]);
    expect(machine.memory.read32(zeroPageOf(machine) + Loader.ramdisk)).toBeLessThan(2 * MIB);
    const limited = bzImage({ prefAddress: 16 * MIB, initrdAddressMax: 2 * MIB });
    expect((await boot([module(limited), module(initrd)])).said).toContain('no room for 3072 KiB of initrd');
  });

  it('puts several initrds one behind the other, each on four bytes', async () => {
    const { machine } = await boot([module(bzImage()), module('first'), module(new Uint8Array(0)), module('second')]);
    const { memory } = machine;
    const [at, sizeBytes] = [Loader.ramdisk, Loader.ramdiskSize].map((field) =>
      memory.read32(zeroPageOf(machine) + field),
    );
    expect(Buffer.from(memory.readBytes(at, sizeBytes)).toString()).toBe('first\0\0\0second');
  });

  it.each<[string, KernelOptions]>([
    ['needs memory', { initSizeBytes: 8 * MIB }],
    ['has code', { codeBytes: 8 * MIB, initSizeBytes: MIB }],
  ])('puts initrds beside a kernel that %s up to the end of memory', async (_what, options) => {
    const kernel = bzImage({ prefAddress: 24 * MIB, ...options });
    const { machine, end } = await boot([module(kernel), module('first'), module('second')]);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    expect(machine.memory.read32(zeroPageOf(machine) + Loader.ramdisk)).toBe(24 * MIB - 4096);
  });

  it('leaves modules alone that the loader has put into low memory', async () => {
    const initrd = new Uint8Array(3000).fill(0x66);
    const low = 0x12000;
    const { machine, end } = await boot([module(bzImage()), module('moved')], {
      door: 'multiboot1',
      prepare: ({ memory, vcpus }) => {
        memory.writeBytes(low, initrd);
        const list = memory.read32(Number(vcpus[0].gpr[Gpr.RBX]) + 24);
        memory.write32(list + 16, low);
        memory.write32(list + 20, low + initrd.length);
      },
    });
    expect(end.reason).toEqual({ kind: 'poweroff' });
    const zeroPage = zeroPageOf(machine);
    expect(zeroPage).toBe(0x13000);
    expect(machine.memory.read32(zeroPage + Loader.ramdisk)).toBe(low);
    expect(machine.memory.readBytes(low, initrd.length)).toEqual(initrd);
  });

  const elfProgram = buildModule().slice();
  elfProgram[16] = 2;
  it.each<[string, string, Parameters<typeof boot>[0], number?]>([
    ['no module at all', 'no kernel among 0 modules; give a bzImage: module /vmlinuz OPTIONS', []],
    ['no kernel', 'no kernel among 1 modules; give a bzImage: module /vmlinuz OPTIONS', [module('initrd')]],
    ['two kernels', 'module 2 is a second kernel; give one', [module(bzImage()), module(bzImage())]],
    [
      'an unpacked kernel',
      'module 1 is an ELF program, neither a bzImage nor an object; give the kernel as vmlinuz',
      [module(elfProgram)],
    ],
    ['a header that is cut', 'the kernel is cut short, at 600 bytes; copy it again', [module(bzImage().slice(0, 600))]],
    [
      'a kernel that is cut',
      'the kernel is cut short, at 5103 bytes; copy it again',
      [module(bzImage().slice(0, 5120 - 17))],
    ],
    ['no code', 'the kernel is cut short, at 1024 bytes; copy it again', [module(bzImage().slice(0, 1024))]],
    ['more setup than file', 'the kernel is cut short, at 5120 bytes; copy it again', [module(withSetup(255))]],
    [
      'an old kernel',
      'the kernel has boot protocol 0x209, older than 2.10; start it with linux of GRUB',
      [module(bzImage({ version: 0x209 }))],
    ],
    [
      'a zImage',
      'the kernel has boot protocol 0x20f, older than 2.10; start it with linux of GRUB',
      [module(bzImage({ loadflags: 0 }))],
    ],
    [
      'too long a command line',
      'the command line has 11 bytes, the kernel takes 10; shorten it',
      [module(bzImage({ commandLineBytes: 10 }), 'abcdefghijk')],
    ],
    [
      'a kernel without room',
      'no room for the kernel, which needs 32768 KiB in one piece; give the machine more memory',
      [module(bzImage({ initSizeBytes: 32 * MIB }))],
    ],
    [
      'a kernel that wants to be beyond 4 GiB',
      'no room for the kernel, which needs 1024 KiB in one piece; give the machine more memory',
      [module(bzImage({ prefAddress: 2 ** 32 }))],
    ],
    [
      'a kernel that wraps around',
      'no room for the kernel, which needs 4194303 KiB in one piece; give the machine more memory',
      [module(bzImage({ initSizeBytes: 0xffffffff }))],
    ],
    [
      'an alignment that is none',
      'the kernel is to be aligned to 3 bytes; copy it again',
      [module(bzImage({ alignment: 3 }))],
    ],
    [
      'a kernel that cannot move to where there is no memory',
      'no room for the kernel, which needs 1024 KiB in one piece; give the machine more memory',
      [module(bzImage({ relocatable: false, code32Start: 64 * MIB, prefAddress: 64 * MIB }))],
    ],
    ['too many modules', 'more than 64 modules; give fewer', Array(65).fill(module('x'))],
    [
      'a text without an end',
      'the text of a module has no end within 4096 bytes; give a shorter one',
      [module(bzImage(), 'x'.repeat(5000))],
    ],
  ])('stops for %s with one line: %s', async (_what, line, modules) => {
    const { said, end, machine } = await boot(modules);
    const lines = said.split('\n').filter((each) => !each.startsWith('ops-boot: ops modules handed over'));
    expect(lines).toEqual([`ops-boot: ${line}`, '']);
    expect(end.reason).toEqual({ kind: 'stopped' });
    expect(machine.vcpus[0].blocked).toBe(true);
  });

  /** Some bytes of `count`, and what they become. */
  const mutations = (count: number) =>
    fc.array(fc.tuple(fc.nat(count - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x80, 0xff))), {
      minLength: 1,
      maxLength: 6,
    });

  it('starts a kernel with any setup header, or says why not', async () => {
    await fc.assert(
      fc.asyncProperty(mutations(0x264 - 0x1f1), fc.nat(0x1400), async (changes, sizeBytes) => {
        const kernel = bzImage();
        for (const [at, byte] of changes) kernel[0x1f1 + at] = byte;
        const { end, said } = await boot([module(kernel.slice(0, Math.max(sizeBytes, 0x206)), 'a b'), module(object)]);
        if (end.reason.kind !== 'poweroff') expect(end.reason.kind).toBe('stopped');
        expect(said).toMatch(/^(ops-boot: [^\n]+\n){1,2}$/);
      }),
      { numRuns: 40 },
    );
  });

  it('reads whatever is said of the modules, and starts the kernel or says why not', async () => {
    await fc.assert(
      fc.asyncProperty(mutations(12 + 3 * 16), async (changes) => {
        const modules = [module(bzImage(), 'a b'), module(object), module('an initrd')];
        const { end, said } = await boot(modules, {
          door: 'multiboot1',
          prepare: ({ memory, vcpus }) => {
            const information = Number(vcpus[0].gpr[Gpr.RBX]);
            const list = memory.read32(information + 24);
            for (const [at, byte] of changes) memory.write8(at < 12 ? information + 20 + at : list + at - 12, byte);
          },
        });
        if (end.reason.kind !== 'poweroff') expect(end.reason.kind).toBe('stopped');
        expect(said).toMatch(/^(ops-boot: [^\n]+\n){1,4}$/);
      }),
      { numRuns: 40 },
    );
  });

  function withSetup(setupSects: number): Uint8Array {
    const kernel = bzImage();
    kernel[0x1f1] = setupSects;
    return kernel;
  }
});

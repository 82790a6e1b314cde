import type { BootRequest, GuestImage } from '@polyvisor/plugin-api';
import { FakeMemory, FakeVcpu } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { findNativeDoors } from './doors.ts';
import { bootNatively, STARTABLE } from './index.ts';
import type { MemoryMap } from './memory-map.ts';

const MIB = 1 << 20;
const LOAD = 2 * MIB;

interface HeaderChanges {
  protocol?: number;
  xloadFlags?: number;
  initSizeBytes?: number;
  setupSects?: number;
  loadFlags?: number;
  initrdAddressMax?: number;
  commandLineSizeBytes?: number;
  prefAddress?: number;
  code32Start?: number;
}

/** A bzImage of one setup sector beside the boot sector, and code that is recognisable. */
function bzImage(changes: HeaderChanges = {}): Uint8Array {
  const setupSects = changes.setupSects ?? 1;
  const file = new Uint8Array((setupSects + 1) * 512 + 2048);
  const view = new DataView(file.buffer);
  file[0x1f1] = setupSects;
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true); // jump over the header: it ends at 0x26c
  file.set(new TextEncoder().encode('HdrS'), 0x202);
  view.setUint16(0x206, changes.protocol ?? 0x20f, true);
  file[0x211] = changes.loadFlags ?? 1; // LOADED_HIGH
  view.setUint32(0x214, changes.code32Start ?? MIB, true);
  view.setUint32(0x22c, changes.initrdAddressMax ?? 0x7fffffff, true);
  view.setUint16(0x236, changes.xloadFlags ?? 0x7f, true);
  view.setUint32(0x238, changes.commandLineSizeBytes ?? 2047, true);
  view.setBigUint64(0x258, BigInt(changes.prefAddress ?? LOAD), true);
  view.setUint32(0x260, changes.initSizeBytes ?? MIB, true);
  file.fill(0xcc, file.length - 2048);
  return file;
}

const image = (file: Uint8Array, format: GuestImage['format'] = 'bzimage'): GuestImage => ({
  name: 'kernel',
  description: 'an image',
  format,
  file,
});

const MEMORY_BYTES = 8 * MIB;
const MAP: MemoryMap = [
  { first: 0, sizeBytes: 0x9fc00, kind: 'ram' },
  { first: 0xe0000, sizeBytes: 0x20000, kind: 'reserved' },
  { first: MIB, sizeBytes: MEMORY_BYTES - MIB, kind: 'ram' },
];

function boot(changes: HeaderChanges, request: Partial<BootRequest> = {}, door?: string) {
  const memory = new FakeMemory(MEMORY_BYTES);
  const vcpu = new FakeVcpu(memory);
  const kernel = image(bzImage(changes));
  const { entries } = findNativeDoors(kernel, STARTABLE);
  const entry = entries.find(({ name }) => name === door) ?? entries[0];
  const whole: BootRequest = { image: kernel, entry, commandLine: '', memoryBytes: MEMORY_BYTES, ...request };
  bootNatively(whole, { memory, vcpu, memoryMap: MAP, disks: [], rsdpAddress: 0xe0000 });
  const zeroPage = Number(vcpu.gpr[6]);
  const field32 = (offset: number) => memory.read32(zeroPage + offset);
  return { memory, vcpu, zeroPage, field32 };
}

describe('the door linux64', () => {
  it('is where the setup header says that the kernel likes to be', () => {
    const { entries } = findNativeDoors(image(bzImage()), STARTABLE);
    expect(entries.filter(({ name }) => name === 'linux64')).toEqual([
      {
        name: 'linux64',
        abi: 'Linux boot protocol 2.15, 64-bit entry',
        address: BigInt(LOAD + 0x200),
        foundIn: 'setup header pref_address + 0x200, xloadflags XLF_KERNEL_64',
        plugin: 'core',
        priority: expect.any(Number),
      },
    ]);
  });

  it.each([
    ['an old protocol', image(bzImage({ protocol: 0x20b })), 'protocols before 2.12 have no 64-bit entry'],
    ['a 32-bit kernel', image(bzImage({ xloadFlags: 0 })), 'XLF_KERNEL_64 is not set in xloadflags'],
    ['another format', image(new Uint8Array(1), 'elf64'), 'no setup header'],
  ])('is missing for %s, and says why', (_name, kernel, reason) => {
    const { entries, missing } = findNativeDoors(kernel, STARTABLE);
    expect(entries.filter(({ name }) => name === 'linux64')).toEqual([]);
    expect(missing.find(({ name }) => name === 'linux64')?.reason).toContain(reason);
  });
});

describe('the 64-bit boot protocol', () => {
  it('enters the code at its place, in flat 64-bit mode with the zero page in RSI', () => {
    const { memory, vcpu, zeroPage } = boot({});
    expect(vcpu.rip).toBe(BigInt(LOAD + 0x200));
    expect([memory.read8(LOAD), memory.read8(LOAD + 2047), memory.read8(LOAD + 2048)]).toEqual([0xcc, 0xcc, 0]);
    expect([vcpu.cr0, vcpu.cr4, vcpu.efer, vcpu.cpl, vcpu.rflags]).toEqual([0x80000011n, 0x20n, 0x500n, 0, 2n]);
    expect([1, 2, 3, 0].map((index) => vcpu.segment(index).selector)).toEqual([0x10, 0x18, 0x18, 0x18]);
    expect(vcpu.segment(1).accessRights).toBe(0xa09b);
    expect(memory.read64(Number(vcpu.tables.gdtr.base) + 0x10)).toBe(0x00af9b000000ffffn);
    expect(zeroPage % 16).toBe(0);
  });

  it('maps the first 4 GiB to themselves', () => {
    const { memory, vcpu } = boot({});
    const entry = (table: number, index: number) => memory.read64(table + index * 8);
    const base = (value: bigint) => Number(value & 0xffffff000n);
    const pdpt = base(entry(Number(vcpu.cr3), 0));
    for (const gva of [0, 0x1fffff, LOAD, 0x40000000, 0xfee00000, 0xffffffff]) {
      const directory = base(entry(pdpt, Math.floor(gva / 2 ** 30)));
      const large = entry(directory, Math.floor(gva / 2 ** 21) % 512);
      expect([large & 0x83n, base(large) + (gva % 2 ** 21)]).toEqual([0x83n, gva]);
    }
  });

  it('tells the kernel what it needs to know', () => {
    const { memory, zeroPage, field32 } = boot({}, { commandLine: 'console=ttyS0 quiet' });
    const text = new TextDecoder().decode(memory.readBytes(field32(0x228), 20));
    expect(text).toBe('console=ttyS0 quiet\0');
    expect(memory.read64(zeroPage + 0x70)).toBe(0xe0000n);
    // The setup header as it was in the file, with a loader's number.
    expect([memory.read8(zeroPage + 0x1f1), memory.read16(zeroPage + 0x206), memory.read8(zeroPage + 0x210)]).toEqual([
      1, 0x20f, 0xff,
    ]);
    expect([field32(0x218), field32(0x21c)]).toEqual([0, 0]);
    const e820 = Array.from({ length: memory.read8(zeroPage + 0x1e8) }, (_, i) => {
      const at = zeroPage + 0x2d0 + 20 * i;
      return [memory.read64(at), memory.read64(at + 8), memory.read32(at + 16)].map(Number);
    });
    expect(e820).toEqual([
      [0, 0x9fc00, 1],
      [0xe0000, 0x20000, 2],
      [MIB, MEMORY_BYTES - MIB, 1],
    ]);
  });

  it.each([
    ['at the end of memory', {}, MEMORY_BYTES],
    ["below the kernel's limit", { initrdAddressMax: 6 * MIB - 1 }, 6 * MIB],
  ])('puts the initrd %s, aligned to pages', (_name, changes, end) => {
    const initrd = new Uint8Array(10_000).fill(0x42);
    const { memory, field32 } = boot(changes, { initrd });
    const at = field32(0x218);
    expect([at, field32(0x21c)]).toEqual([end - 3 * 4096, 10_000]);
    expect(memory.readBytes(at, 10_000)).toEqual(initrd);
  });

  it.each<[string, HeaderChanges, Partial<BootRequest>, string, string]>([
    [
      'a kernel larger than memory',
      { initSizeBytes: 7 * MIB },
      {},
      'PV2013',
      'the kernel of 7 MiB does not fit at 0x200000',
    ],
    [
      'a kernel that belongs beyond memory',
      { prefAddress: 64 * MIB },
      {},
      'PV2013',
      'the kernel of 1 MiB does not fit',
    ],
    [
      'an initrd larger than what is left',
      {},
      { initrd: new Uint8Array(6 * MIB) },
      'PV2013',
      "the initrd of 6 MiB does not fit between the kernel's end at 0x300000 and the end of the guest's memory",
    ],
    [
      "an initrd that the kernel's limit leaves no room for",
      { initrdAddressMax: 3 * MIB },
      { initrd: new Uint8Array(2 * MIB) },
      'PV2013',
      "and the kernel's limit 0x300001",
    ],
    [
      'a command line that is too long',
      { commandLineSizeBytes: 10 },
      { commandLine: 'console=ttyS0' },
      'PV2014',
      'has 13 bytes and the kernel takes 10',
    ],
  ])('refuses %s', (_name, changes, request, code, said) => {
    expect(() => boot(changes, request)).toThrowError(
      expect.objectContaining({ code, exitCode: 3, message: expect.stringContaining(said) }),
    );
  });

  it('refuses a header that lies outside of the file', () => {
    const whole = bzImage();
    const cut = image(whole.subarray(0, 0x230));
    expect(() => findNativeDoors(cut, STARTABLE)).toThrowError(expect.objectContaining({ code: 'PV2001' }));
    const few = bzImage();
    few[0x1f1] = 200;
    expect(() => findNativeDoors(image(few), STARTABLE)).toThrowError(expect.objectContaining({ code: 'PV2001' }));
  });
});

describe('the 32-bit boot protocol', () => {
  const of32Bits = { xloadFlags: 0 };

  it('enters the code at code32_start in flat 32-bit protected mode, with the zero page in ESI and all else 0', () => {
    const { memory, vcpu, zeroPage, field32 } = boot(of32Bits, { commandLine: 'quiet' });
    expect(vcpu.rip).toBe(BigInt(MIB));
    expect([memory.read8(MIB), memory.read8(MIB + 2047), memory.read8(MIB + 2048)]).toEqual([0xcc, 0xcc, 0]);
    expect([vcpu.cr0, vcpu.cr4, vcpu.efer, vcpu.cpl, vcpu.rflags]).toEqual([0x11n, 0n, 0n, 0, 2n]);
    expect([1, 2, 3, 0].map((index) => vcpu.segment(index).selector)).toEqual([0x10, 0x18, 0x18, 0x18]);
    expect([vcpu.segment(1).accessRights, vcpu.segment(3).accessRights]).toEqual([0xc09b, 0xc093]);
    expect(memory.read64(Number(vcpu.tables.gdtr.base) + 0x10)).toBe(0x00cf9b000000ffffn);
    expect([...vcpu.gpr].filter((_, index) => index !== 6).every((value) => value === 0n)).toBe(true);
    expect(new TextDecoder().decode(memory.readBytes(field32(0x228), 6))).toBe('quiet\0');
    expect(memory.read16(zeroPage + 0x206)).toBe(0x20f);
  });

  it('leaves room for a kernel that moves itself to where it prefers to be', () => {
    const changes = { ...of32Bits, prefAddress: 4 * MIB, initSizeBytes: 3 * MIB };
    const { field32 } = boot(changes, { initrd: new Uint8Array(4096) });
    expect(field32(0x218)).toBe(MEMORY_BYTES - 4096);
    const tooLarge = { initrd: new Uint8Array(MIB + 1) };
    expect(() => boot(changes, tooLarge)).toThrowError(
      expect.objectContaining({ code: 'PV2013', message: expect.stringContaining("the kernel's end at 0x700000") }),
    );
    expect(() => boot({ ...changes, prefAddress: 6 * MIB })).toThrowError(expect.objectContaining({ code: 'PV2013' }));
  });

  it('refuses a code32_start that is not RAM', () => {
    expect(() => boot({ ...of32Bits, code32Start: 0xe0000 })).toThrowError(
      expect.objectContaining({ code: 'PV2013', message: expect.stringContaining('at 0xe0000') }),
    );
  });
});

describe('the 16-bit boot protocol', () => {
  const SETUP = 0x90000;
  const boot16 = (changes: HeaderChanges = {}, request: Partial<BootRequest> = {}) => boot(changes, request, 'linux16');

  it('enters the setup code behind the boot sector, in real-address mode with a stack', () => {
    const { memory, vcpu } = boot16();
    expect([vcpu.segment(1).selector, vcpu.segment(1).base, vcpu.rip]).toEqual([0x9020, 0x90200n, 0n]);
    expect([0, 2, 3, 4, 5].map((index) => vcpu.segment(index).selector)).toEqual(Array(5).fill(0x9000));
    expect([vcpu.cr0, vcpu.cr4, vcpu.efer, vcpu.cpl, vcpu.rflags]).toEqual([0x10n, 0n, 0n, 0, 2n]);
    expect([vcpu.tables.idtr.base, vcpu.tables.idtr.limit, vcpu.gpr[4]]).toEqual([0n, 0x3ff, 0xe000n]);
    expect([memory.read16(SETUP + 0x1fe), memory.read32(SETUP + 0x202)]).toEqual([0xaa55, 0x53726448]);
    expect([memory.read8(MIB), memory.read8(MIB + 2047), memory.read8(MIB + 2048)]).toEqual([0xcc, 0xcc, 0]);
  });

  it('fills in what a loader has to, in the header in memory', () => {
    const initrd = new Uint8Array(5000).fill(0x42);
    const { memory } = boot16({}, { commandLine: 'quiet', initrd });
    const at = (offset: number) => memory.read32(SETUP + offset);
    expect([memory.read16(SETUP + 0x1fa), memory.read8(SETUP + 0x210), memory.read8(SETUP + 0x211)]).toEqual([
      0xffff, 0xff, 0x81,
    ]);
    expect(memory.read16(SETUP + 0x224)).toBe(0xde00);
    expect(new TextDecoder().decode(memory.readBytes(at(0x228), 6))).toBe('quiet\0');
    expect([at(0x218), at(0x21c)]).toEqual([MEMORY_BYTES - 8192, 5000]);
    expect(memory.readBytes(at(0x218), 5000)).toEqual(initrd);
  });

  it('refuses setup code that leaves no room for its stack, and a command line that reaches the BIOS', () => {
    expect(() => boot16({ setupSects: 64 })).toThrowError(
      expect.objectContaining({ code: 'PV2013', message: expect.stringContaining('the setup code') }),
    );
    expect(boot16({ setupSects: 63 }).vcpu.rip).toBe(0n);
    const most = 0x9fc00 - 0x9e000 - 1;
    const request = { commandLine: 'x'.repeat(most + 1) };
    expect(() => boot16({ commandLineSizeBytes: 0xffff }, request)).toThrowError(
      expect.objectContaining({ code: 'PV2014', message: expect.stringContaining(`takes ${most}`) }),
    );
  });

  it.each([
    ['protocol 2.01', { protocol: 0x201 }, 'before 2.02'],
    ['a zImage', { loadFlags: 0 }, 'zImage'],
  ])('has no door for %s', (_name, changes, reason) => {
    const { missing } = findNativeDoors(image(bzImage(changes)), STARTABLE);
    expect(missing.find(({ name }) => name === 'linux16')?.reason).toContain(reason);
  });
});

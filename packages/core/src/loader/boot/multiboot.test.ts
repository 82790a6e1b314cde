import type { BootRequest, GuestImage } from '@polyvisor/plugin-api';
import { FakeMemory, FakeVcpu } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { parseElf } from '../image/elf.ts';
import { findNativeDoors, type NativeDoorName } from './doors.ts';
import { bootNatively, STARTABLE } from './index.ts';
import type { MemoryMap } from './memory-map.ts';

const MIB = 1 << 20;
const MEMORY_BYTES = 8 * MIB;
const MAP: MemoryMap = [
  { first: 0, sizeBytes: 0x9fc00, kind: 'ram' },
  { first: 0xe0000, sizeBytes: 0x20000, kind: 'reserved' },
  { first: MIB, sizeBytes: MEMORY_BYTES - MIB, kind: 'ram' },
];
const RSDP = 0xe0000;

interface SegmentOf {
  paddr: number;
  vaddr?: number;
  memorySizeBytes?: number;
}

/** A 32-bit ELF executable with segments of 16 bytes 0xcc each, and a header in front of the first (gABI 4.1, 4 and 5). */
function elf(segments: readonly SegmentOf[], entry: number, header: readonly number[] = []): Uint8Array {
  const file = new Uint8Array(0x1000 + segments.length * 16);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 3, true);
  view.setUint32(20, 1, true);
  view.setUint32(24, entry, true);
  view.setUint32(28, 52, true);
  view.setUint16(40, 52, true);
  view.setUint16(42, 32, true);
  view.setUint16(44, segments.length, true);
  segments.forEach(({ paddr, vaddr = paddr, memorySizeBytes = 16 }, i) => {
    [1, 0x1000 + 16 * i, vaddr, paddr, 16, memorySizeBytes, 5, 0x1000].forEach((word, field) => {
      view.setUint32(52 + 32 * i + 4 * field, word >>> 0, true);
    });
  });
  header.forEach((word, i) => {
    view.setUint32(0x800 + 4 * i, word >>> 0, true);
  });
  file.fill(0xcc, 0x1000);
  return file;
}

const multiboot1 = (flags: number, ...rest: number[]) => [0x1badb002, flags, -(0x1badb002 + flags), ...rest];
function multiboot2(...tags: number[]): number[] {
  const length = 16 + 4 * tags.length + 8;
  return [0xe85250d6, 0, length, -(0xe85250d6 + length), ...tags, 0, 8];
}

function boot(door: NativeDoorName, file: Uint8Array, request: Partial<BootRequest> = {}) {
  const memory = new FakeMemory(MEMORY_BYTES);
  memory.write32(RSDP + 20, 36);
  memory.fill(0x1000, 0x100, 0xee);
  const vcpu = new FakeVcpu(memory);
  const isElf = file[0] === 0x7f;
  const image: GuestImage = {
    name: 'kernel',
    description: '',
    format: isElf ? 'elf32' : 'multiboot',
    file,
    ...(isElf && { elf: parseElf(file) }),
  };
  const entry = findNativeDoors(image, STARTABLE).entries.find(({ name }) => name === door);
  if (!entry) throw new Error(`no door ${door}`);
  const whole: BootRequest = { image, entry, commandLine: 'one two', memoryBytes: MEMORY_BYTES, ...request };
  bootNatively(whole, { memory, vcpu, memoryMap: MAP, disks: [], rsdpAddress: RSDP });
  const information = Number(vcpu.gpr[3]);
  const text = (at: number) => {
    let end = at;
    while (memory.read8(end) !== 0) end++;
    return new TextDecoder().decode(memory.readBytes(at, end - at));
  };
  return { memory, vcpu, information, field: (offset: number) => memory.read32(information + offset), text };
}

const modules = [
  { bytes: new Uint8Array(5000).fill(1), commandLine: 'first module' },
  { bytes: new Uint8Array(3).fill(2), commandLine: '' },
];

describe('Multiboot', () => {
  const file = elf([{ paddr: MIB, vaddr: 0xc0100000, memorySizeBytes: 0x1800 }], 0xc0100004, multiboot1(3));

  it('enters the image at its physical address, in flat protected mode, with its number in EAX', () => {
    const { vcpu, memory } = boot('multiboot1', file);
    expect(vcpu.rip).toBe(BigInt(MIB + 4));
    expect([vcpu.cr0, vcpu.cr4, vcpu.efer, vcpu.rflags, vcpu.gpr[0]]).toEqual([0x11n, 0n, 0n, 2n, 0x2badb002n]);
    expect([memory.read8(MIB + 15), memory.read8(MIB + 16)]).toEqual([0xcc, 0]);
  });

  it('tells of memory, command line, loader and modules', () => {
    const { field, text, memory } = boot('multiboot1', file, { modules });
    expect(field(0)).toBe(1 | (1 << 2) | (1 << 3) | (1 << 6) | (1 << 9));
    expect([field(4), field(8)]).toEqual([639, 7 * 1024]);
    expect([text(field(16)), text(field(64))]).toEqual(['one two', 'Polyvisor']);
    const list = field(24);
    expect(field(20)).toBe(2);
    expect([memory.read32(list), memory.read32(list + 4)]).toEqual([MIB + 0x2000, MIB + 0x2000 + 5000]);
    expect([memory.read32(list + 16), memory.read32(list + 20)]).toEqual([MIB + 0x4000, MIB + 0x4003]);
    expect([text(memory.read32(list + 8)), text(memory.read32(list + 24))]).toEqual(['first module', '']);
    expect([memory.read8(MIB + 0x2000 + 4999), memory.read8(MIB + 0x4002)]).toEqual([1, 2]);
    const map = Array.from({ length: field(44) / 24 }, (_, i) => {
      const at = field(48) + 24 * i;
      return [memory.read32(at), Number(memory.read64(at + 4)), Number(memory.read64(at + 12)), memory.read32(at + 20)];
    });
    expect(map).toEqual([
      [20, 0, 0x9fc00, 1],
      [20, 0xe0000, 0x20000, 2],
      [20, MIB, 7 * MIB, 1],
    ]);
  });

  it('makes an initrd the only module where none is named', () => {
    const { field, memory } = boot('multiboot1', file, { initrd: Uint8Array.of(7) });
    expect([field(20), memory.read8(memory.read32(field(24)))]).toEqual([1, 7]);
  });

  it('keeps its information, and its descriptors, out of an image in low memory', () => {
    const low = elf([{ paddr: 0x1000 }, { paddr: 0x10000, memorySizeBytes: 0x8000 }], 0x1000, multiboot1(0));
    const { information, memory } = boot('multiboot1', low);
    expect(information).toBe(0x18000);
    expect(memory.readBytes(0x1000, 16)).toEqual(new Uint8Array(16).fill(0xcc));
  });

  it('loads a file of no format by the addresses in the header', () => {
    const flat = new Uint8Array(0x100).fill(0x90);
    const view = new DataView(flat.buffer);
    const start = 2 * MIB;
    [...multiboot1(0x10000), start + 0x20, start, start + 0x80, start + 0x200, start + 0x40].forEach((word, i) => {
      view.setUint32(0x20 + 4 * i, word >>> 0, true);
    });
    const { vcpu, memory } = boot('multiboot1', flat);
    expect(vcpu.rip).toBe(BigInt(start + 0x40));
    expect(memory.readBytes(start, 0x80)).toEqual(flat.subarray(0, 0x80));
    expect(memory.read8(start + 0x80)).toBe(0);
  });

  it.each<[string, Uint8Array, string, string]>([
    [
      'overlapping segments',
      elf([{ paddr: MIB, memorySizeBytes: 0x20 }, { paddr: MIB + 0x1f }], MIB, multiboot1(0)),
      'PV2001',
      'overlap',
    ],
    ['a segment outside of RAM', elf([{ paddr: 0xa0000 }], 0xa0000, multiboot1(0)), 'PV2013', 'ELF segment 0 of 1 MiB'],
    [
      'a segment beyond memory',
      elf([{ paddr: MEMORY_BYTES - 8 }], MEMORY_BYTES - 8, multiboot1(0)),
      'PV2013',
      'does not fit',
    ],
    ['flags that nobody knows', elf([{ paddr: MIB }], MIB, multiboot1(8)), 'PV2002', 'requires flags 0x8'],
    ['video modes', elf([{ paddr: MIB }], MIB, multiboot1(4)), 'PV2002', 'video modes'],
  ])('refuses %s', (_what, image, code, said) => {
    expect(() => boot('multiboot1', image)).toThrowError(
      expect.objectContaining({ code, exitCode: 3, message: expect.stringContaining(said) }),
    );
  });

  it('refuses a module larger than what is left', () => {
    const large = [{ bytes: new Uint8Array(7 * MIB), commandLine: '' }];
    expect(() => boot('multiboot1', file, { modules: large })).toThrowError(
      expect.objectContaining({ code: 'PV2013', message: expect.stringContaining('module 1') }),
    );
  });
});

describe('Multiboot2', () => {
  const image = (...tags: number[]) => elf([{ paddr: MIB }], MIB, multiboot2(...tags));

  it('gives tags, each where the one before it ends', () => {
    const { memory, vcpu, information, field, text } = boot('multiboot2', image(), { modules });
    expect([vcpu.gpr[0], vcpu.rip, information % 8]).toEqual([0x36d76289n, BigInt(MIB), 0]);
    const tags = new Map<number, number[]>();
    let at = information + 8;
    for (let type = -1; type !== 0; ) {
      type = memory.read32(at);
      tags.set(type, [...(tags.get(type) ?? []), at]);
      at += Math.ceil(memory.read32(at + 4) / 8) * 8;
    }
    expect(at - information).toBe(field(0));
    expect([...tags].map(([type, places]) => [type, places.length])).toEqual([
      ...[
        [1, 1],
        [2, 1],
        [3, 2],
        [4, 1],
        [6, 1],
        [15, 1],
        [0, 1],
      ],
    ]);
    const first = (type: number) => (tags.get(type) as number[])[0];
    expect([text(first(1) + 8), text(first(2) + 8), text(first(3) + 16)]).toEqual([
      'one two',
      'Polyvisor',
      'first module',
    ]);
    expect([memory.read32(first(6) + 8), memory.read32(first(6) + 4)]).toEqual([24, 16 + 3 * 24]);
    expect(memory.read32(first(15) + 4)).toBe(8 + 36);
  });

  it.each([
    ['an information request for what is given', [1 | (0 << 16), 12, 6, 0], undefined],
    ['one for what is not', [1, 12, 8, 0], 'boot information of type 8'],
    ['an optional one for what is not', [1 | (1 << 16), 12, 8, 0], undefined],
    ['a framebuffer', [5, 20, 0, 0, 0, 0], 'header tag 5'],
  ])('heeds %s', (_what, tags, refusal) => {
    const start = () => boot('multiboot2', image(...tags));
    if (refusal === undefined) expect(start).not.toThrow();
    else
      expect(start).toThrowError(
        expect.objectContaining({ code: 'PV2002', message: expect.stringContaining(refusal) }),
      );
  });
});

describe('the ELF entry of an unpacked kernel', () => {
  it('gets a zero page in ESI with command line and initrd', () => {
    const file = elf([{ paddr: MIB, vaddr: 0xc0100000 }], MIB);
    const { vcpu, memory, text } = boot('elf', file, { initrd: new Uint8Array(10).fill(3) });
    const zeroPage = Number(vcpu.gpr[6]);
    expect([vcpu.rip, vcpu.cr0]).toEqual([BigInt(MIB), 0x11n]);
    expect([memory.read32(zeroPage + 0x202), memory.read16(zeroPage + 0x206)]).toEqual([0x53726448, 0x20f]);
    expect(text(memory.read32(zeroPage + 0x228))).toBe('one two');
    expect(memory.read8(memory.read32(zeroPage + 0x218))).toBe(3);
  });

  it('takes no modules', () => {
    expect(() => boot('elf', elf([{ paddr: MIB }], MIB), { modules })).toThrowError(
      expect.objectContaining({ code: 'PV2015' }),
    );
  });

  it('is missing where it lies in no segment', () => {
    const file = elf([{ paddr: MIB }], 0x5000);
    const image: GuestImage = { name: '', description: '', format: 'elf32', file, elf: parseElf(file) };
    const { entries, missing } = findNativeDoors(image, STARTABLE);
    expect(entries).toEqual([]);
    expect(missing.find(({ name }) => name === 'elf')?.reason).toContain('0x5000 lies in no loadable segment');
  });
});

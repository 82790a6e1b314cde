import { FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { interceptsMsr, interceptsPort, ioioExitInfo1 } from './permission-maps.ts';

const BASE = 0x1000;
const MEMORY = 0x5000;
const port = fc.integer({ min: 0, max: 0xffff });
const sizeBytes = fc.constantFrom(1, 2, 4);

describe('I/O permissions map', () => {
  it('an access exits exactly if the bit of one of its bytes is set', () => {
    const nearby = fc.integer({ min: -6, max: 6 });
    fc.assert(
      fc.property(port, sizeBytes, nearby, (first, size, distance) => {
        const memory = new FakeMemory(MEMORY);
        const bit = Math.max(0, first + distance);
        memory.testAndSetBit(BASE, bit);
        expect(interceptsPort(memory, BASE, first, size)).toBe(bit >= first && bit < first + size);
      }),
    );
  });

  it('goes on behind the last port, in its third page', () => {
    const memory = new FakeMemory(MEMORY);
    memory.write8(BASE + 0x2000, 0b100);
    expect(interceptsPort(memory, BASE, 0xffff, 4)).toBe(true);
    expect(interceptsPort(memory, BASE, 0xffff, 2)).toBe(false);
  });

  it('low bits of its address do not count', () => {
    const memory = new FakeMemory(MEMORY);
    memory.testAndSetBit(BASE, 0x60);
    expect(interceptsPort(memory, BASE + 0xfff, 0x60, 1)).toBe(true);
  });

  it('all is intercepted by a map beyond memory', () => {
    expect(interceptsPort(new FakeMemory(MEMORY), 2 ** 39, 0x80, 1)).toBe(true);
  });
});

describe('EXITINFO1 of an IOIO exit', () => {
  const plain = { port: 0x3f8, sizeBytes: 1, direction: 'out', string: false, rep: false, addressSize: 64, segment: 3 };
  it.each([
    ['OUT DX, AL', {}, 0x03f8_0210],
    ['IN AX, DX', { direction: 'in', sizeBytes: 2 }, 0x03f8_0221],
    ['IN EAX, DX of 32-bit code', { direction: 'in', sizeBytes: 4, addressSize: 32 }, 0x03f8_0141],
    ['OUTSB of 16-bit code, DS', { string: true, addressSize: 16 }, 0x03f8_0c94],
    ['REP INSD, ES', { string: true, rep: true, direction: 'in', sizeBytes: 4, segment: 0 }, 0x03f8_024d],
    ['a port with its highest bit', { port: 0xffff }, 0xffff_0210],
  ] as const)('%s', (_, change, info) => {
    expect(ioioExitInfo1({ ...plain, ...change } as Parameters<typeof ioioExitInfo1>[0])).toBe(info);
  });
});

describe('MSR permissions map', () => {
  it.each([
    [0x0000_0000, 0x0000],
    [0x0000_0010, 0x0004],
    [0x0000_1fff, 0x07ff],
    [0xc000_0080, 0x0820],
    [0xc000_1fff, 0x0fff],
    [0xc001_0000, 0x1000],
    [0xc001_1fff, 0x17ff],
  ])('MSR 0x%x has its two bits in byte 0x%x', (msr, byte) => {
    const memory = new FakeMemory(MEMORY);
    const shift = (msr & 3) * 2;
    memory.write8(BASE + byte, 1 << shift);
    expect([interceptsMsr(memory, BASE, msr, 'read'), interceptsMsr(memory, BASE, msr, 'write')]).toEqual([
      true,
      false,
    ]);
    memory.write8(BASE + byte, 2 << shift);
    expect([interceptsMsr(memory, BASE, msr, 'read'), interceptsMsr(memory, BASE, msr, 'write')]).toEqual([
      false,
      true,
    ]);
    memory.write8(BASE + byte, 0xff & ~(3 << shift));
    expect(interceptsMsr(memory, BASE, msr, 'read') || interceptsMsr(memory, BASE, msr, 'write')).toBe(false);
  });

  it.each([0x2000, 0x4000_0000, 0xbfff_ffff, 0xc000_2000, 0xc001_2000, 0xffff_ffff])('0x%x is outside', (msr) => {
    expect(interceptsMsr(new FakeMemory(MEMORY), BASE, msr, 'read')).toBe(true);
  });

  it('an MSR may be given as 32 signed bits', () => {
    expect(interceptsMsr(new FakeMemory(MEMORY), BASE, 0xc000_0080 | 0, 'read')).toBe(false);
  });
});

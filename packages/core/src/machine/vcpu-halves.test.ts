import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { enter, type TestGuest, testGuest } from './testing/test-guest.ts';
import type { MachineVcpu } from './vcpu.ts';

/** RFLAGS bits that are kept; bit 1 is always set. */
const KEPT = 0x3f7fd5n;
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
/** Behind the last page of the test guest, and a page of it. */
const UNMAPPED = 0x40000n;
const DATA = 0x20000;

let guest: TestGuest;
let vcpu: MachineVcpu;
beforeAll(async () => {
  guest = await testGuest({ code: {} });
  vcpu = guest.vcpu;
});
const split = (value: bigint): [number, number] => [
  Number(BigInt.asIntN(32, value)),
  Number(BigInt.asIntN(32, value >> 32n)),
];

describe('registers in halves', () => {
  it('RFLAGS is EFLAGS, whichever is written', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }), (image) => {
        vcpu.rflags = image;
        expect(vcpu.rflags).toBe((image & KEPT) | 2n);
        expect(BigInt(vcpu.eflags >>> 0)).toBe(vcpu.rflags);
        vcpu.rflags = 2n;
        vcpu.eflags = Number(image);
        expect(vcpu.rflags).toBe((image & KEPT) | 2n);
      }),
    );
  });

  it('RIP and general registers, and RIP moves on across 4 GiB', () => {
    fc.assert(
      fc.property(u64, fc.integer({ min: 0, max: 15 }), (value, length) => {
        vcpu.setRip(...split(value));
        expect([vcpu.rip, [...vcpu.ripHalves]]).toEqual([value, split(value)]);
        vcpu.stepOver(length);
        expect(vcpu.rip).toBe(BigInt.asUintN(64, value + BigInt(length)));
        vcpu.gpr[length] = value;
        expect([...vcpu.gprHalves.subarray(2 * length, 2 * length + 2)]).toEqual(split(value));
      }),
    );
    vcpu.rip = 0xffff_fffen;
    vcpu.stepOver(3);
    expect(vcpu.rip).toBe(0x1_0000_0001n);
  });

  it('selectors, access rights, and the bases that SWAPGS exchanges', () => {
    for (let i = 0; i < 6; i++) {
      const { selector, accessRights } = vcpu.segment(i);
      expect([vcpu.selector(i), vcpu.accessRights(i)]).toEqual([selector, accessRights]);
    }
    const before = vcpu.segment(5);
    vcpu.setSegment(5, { ...before, base: 0xffff_8000_1234_5678n });
    vcpu.kernelGsBase = 0x7fff_9abc_def0n;
    vcpu.swapGs();
    expect([vcpu.segment(5).base, vcpu.kernelGsBase]).toEqual([0x7fff_9abc_def0n, 0xffff_8000_1234_5678n]);
    vcpu.setSegment(5, before);
  });
});

describe('words by virtual address', () => {
  it('are the bytes that read and write move, aligned or not, across pages or not', () => {
    const words = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 8000 }), words, (offset, values) => {
        const gva = BigInt(DATA + offset);
        expect(vcpu.writeWords(...split(gva), Int32Array.from(values), values.length)).toBe(true);
        const bytes = new Uint8Array(Int32Array.from(values).buffer);
        expect(vcpu.read(gva, bytes.length)).toEqual({ ok: true, bytes });
        const back = new Int32Array(values.length + 1);
        expect(vcpu.readWords(...split(gva), back, values.length)).toBe(true);
        expect([...back]).toEqual([...values, 0]);
      }),
    );
  });

  it('answer false where read and write fault, and write nothing then', () => {
    const one = Int32Array.of(1, 2);
    for (const as of [undefined, 'user', 'supervisor'] as const) {
      const options = as ? { as } : {};
      expect(vcpu.readWords(...split(UNMAPPED), one, 2, options)).toBe(false);
      expect(vcpu.writeWords(...split(UNMAPPED), one, 2, options)).toBe(false);
      expect(vcpu.readWords(...split(1n << 63n), one, 2, options)).toBe(false);
    }
    const last = UNMAPPED - 4n;
    expect(vcpu.write(last, new Uint8Array(4)).ok).toBe(true);
    expect(vcpu.writeWords(...split(last), one, 2)).toBe(false);
    expect(vcpu.read(last, 4)).toEqual({ ok: true, bytes: new Uint8Array(4) });
  });

  it('ask for the rights of the level, or of the one named', () => {
    const into = new Int32Array(1);
    const gva = split(BigInt(DATA));
    guest.tables.map(BigInt(DATA), DATA, 3);
    vcpu.flushTlb();
    expect(vcpu.readWords(...gva, into, 1)).toBe(true);
    expect(vcpu.readWords(...gva, into, 1, { as: 'user' })).toBe(false);
    enter(vcpu, 3);
    expect(vcpu.readWords(...gva, into, 1)).toBe(false);
    expect(vcpu.readWords(...gva, into, 1, { as: 'supervisor' })).toBe(true);
    expect(vcpu.writeWords(...gva, into, 1, { as: 'user' })).toBe(false);
    enter(vcpu, 0);
  });
});

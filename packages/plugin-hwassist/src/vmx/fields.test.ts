import { FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fieldAt, HIGHEST_INDEX, VMCS_FIELDS, type VmcsField } from './fields.ts';
import { VMCS_BYTES, Vmcs } from './vmcs.ts';

const FIELDS = Object.entries(VMCS_FIELDS) as [VmcsField, number][];
const legalVmcs = () => new Vmcs(new FakeMemory(VMCS_BYTES), 0);

describe('VMCS fields', () => {
  // Bits 14:13 are the width, 11:10 the type (SDM vol. 3C, 24.11.2).
  it.each<[VmcsField, number | 'natural', boolean]>([
    ['VPID', 16, false],
    ['HOST_TR_SELECTOR', 16, false],
    ['EPT_POINTER', 64, false],
    ['GUEST_PHYSICAL_ADDRESS', 64, true],
    ['EXIT_REASON', 32, true],
    ['GUEST_ACTIVITY', 32, false],
    ['EXIT_QUALIFICATION', 'natural', true],
    ['HOST_RIP', 'natural', false],
  ])('%s has its width, and is information or not', (field, width, isReadOnly) => {
    expect(fieldAt(BigInt(VMCS_FIELDS[field]))).toEqual({ field, width, isReadOnly, isHigh: false });
  });

  it('have encodings of their own, and the upper halves of quadwords only', () => {
    expect(new Set(FIELDS.map(([, encoding]) => encoding)).size).toBe(FIELDS.length);
    for (const [field, encoding] of FIELDS) {
      const high = fieldAt(BigInt(encoding | 1));
      expect(high).toEqual(
        fieldAt(BigInt(encoding))?.width === 64 ? expect.objectContaining({ field, isHigh: true }) : undefined,
      );
    }
    expect(fieldAt(BigInt(VMCS_FIELDS.VPID) | (1n << 32n))).toBeUndefined();
    expect(HIGHEST_INDEX).toBe(0x17);
  });

  it('keep what VMWRITE has written apart from each other, as wide as they are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(FIELDS.length - 1), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })), { maxLength: 40 }),
        (writes) => {
          const vmcs = legalVmcs();
          const model = new Map<number, bigint>();
          for (const [index, value] of writes) {
            const access = fieldAt(BigInt(FIELDS[index][1]));
            if (!access) throw new Error('a field that is not there');
            vmcs.set(access, value, 64);
            model.set(index, BigInt.asUintN(access.width === 'natural' ? 64 : access.width, value));
          }
          FIELDS.forEach(([, encoding], index) => {
            const access = fieldAt(BigInt(encoding));
            expect(access && vmcs.get(access)).toBe(model.get(index) ?? 0n);
          });
          expect(vmcs.revision).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('of 64 bits have halves, and a VMWRITE of 32 bits leaves the upper one', () => {
    const vmcs = legalVmcs();
    const [whole, high] = [0n, 1n].map((bit) => fieldAt(BigInt(VMCS_FIELDS.TSC_OFFSET) | bit));
    if (!whole || !high) throw new Error('no such field');
    vmcs.set(high, 0x1234_5678n, 64);
    vmcs.set(whole, 0x9abc_def0n, 32);
    expect(vmcs.read64('TSC_OFFSET')).toBe(0x1234_5678_9abc_def0n);
    expect([vmcs.get(whole), vmcs.get(high)]).toEqual([0x1234_5678_9abc_def0n, 0x1234_5678n]);
    vmcs.set(whole, 1n, 64);
    expect(vmcs.get(high)).toBe(0n);
  });
});

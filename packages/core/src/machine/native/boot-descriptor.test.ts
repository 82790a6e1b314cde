import { describe, expect, it } from 'vitest';
import { descriptorLeaf, isDescriptorLeaf } from './boot-descriptor.ts';

const DESCRIPTOR = {
  hypervisor: 'hypervisor-y',
  guestType: 'pv64',
  abiVersion: 0x0004_0011,
  data: { address: 0xffff_8000_1234_5678n, space: 'virtual' },
} as const;
const textOf = ({ ebx, ecx, edx }: ReturnType<typeof descriptorLeaf>) =>
  Buffer.from(Int32Array.of(ebx, ecx, edx).buffer)
    .toString('latin1')
    .replace(/\0+$/, '');

describe('the boot descriptor in CPUID', () => {
  it('is found by its signature and says how many leaves it has', () => {
    const first = descriptorLeaf(0x4000_ff00, DESCRIPTOR);
    expect([textOf(first), first.eax]).toEqual(['BootDescript', 0x4000_ff03]);
    expect([0x4000_feff, 0x4000_ff00, 0x4000_ff04, 0x4000_ff05].map(isDescriptorLeaf)).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  it('names hypervisor, its version, the kind of guest and where its data are', () => {
    const hypervisor = descriptorLeaf(0x4000_ff01, DESCRIPTOR);
    expect([textOf(hypervisor), hypervisor.eax]).toEqual(['hypervisor-y', 0x0004_0011]);
    expect(textOf(descriptorLeaf(0x4000_ff02, DESCRIPTOR))).toBe('pv64');
    const data = descriptorLeaf(0x4000_ff03, DESCRIPTOR);
    expect([data.eax >>> 0, data.ebx >>> 0, data.ecx, data.edx]).toEqual([0x1234_5678, 0xffff_8000, 2, 0]);
  });

  it('is followed by the calls for operations, where there are such', () => {
    expect(descriptorLeaf(0x4000_ff00, DESCRIPTOR, true).eax).toBe(0x4000_ff04);
    const calls = { eax: 0x1_0001, ebx: 0x4f50_5301, ecx: 4, edx: 256 };
    expect(descriptorLeaf(0x4000_ff04, DESCRIPTOR, true)).toEqual(calls);
    expect(descriptorLeaf(0x4000_ff04, DESCRIPTOR)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });

  it('says that there are no data, and cuts what is too long', () => {
    const none = { hypervisor: 'a-name-that-is-too-long', guestType: 'x', abiVersion: 0 };
    expect(descriptorLeaf(0x4000_ff03, none)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    expect(textOf(descriptorLeaf(0x4000_ff01, none))).toBe('a-name-that-');
  });
});

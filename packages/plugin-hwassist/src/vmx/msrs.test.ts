import { describe, expect, it } from 'vitest';
import { readVmxMsr, VmxMsr, writesVmxMsr } from './msrs.ts';

const CR4_BITS = 0x33_07bcn;

describe('MSRs of VMX', () => {
  it.each<[keyof typeof VmxMsr, bigint]>([
    ['FEATURE_CONTROL', 5n],
    // Revision 1, 4,096 bytes, write-back, INS and OUTS, TRUE registers.
    ['BASIC', 0x00d8_1000_0000_0001n],
    ['PIN_BASED', 0x7f_0000_0016n],
    ['TRUE_PIN_BASED', 0x7f_0000_0016n],
    ['PRIMARY', 0xf7f9_fffe_0401_e172n],
    ['TRUE_PRIMARY', 0xf7f9_fffe_0400_6172n],
    ['SECONDARY', 0x10ea_0000_0000n],
    ['EXIT', 0x007f_efff_0003_6dffn],
    ['TRUE_EXIT', 0x007f_efff_0003_6dfbn],
    ['ENTRY', 0xd3ff_0000_11ffn],
    ['TRUE_ENTRY', 0xd3ff_0000_11fbn],
    ['MISC', 0x0004_0065n],
    ['CR0_FIXED0', 0x8000_0021n],
    ['CR0_FIXED1', 0xffff_ffffn],
    ['CR4_FIXED0', 0x2000n],
    ['CR4_FIXED1', CR4_BITS | 0x2000n],
    ['VMCS_ENUM', 0x2en],
    ['EPT_VPID_CAP', 0x0f01_0633_4141n],
    ['BIOS_SIGN_ID', 0n],
  ])('%s', (name, value) => {
    expect(readVmxMsr(VmxMsr[name], CR4_BITS)?.toString(16)).toBe(value.toString(16));
  });

  it('can be read only, but the one that software asks for a revision with', () => {
    expect([VmxMsr.BIOS_SIGN_ID, VmxMsr.FEATURE_CONTROL, VmxMsr.BASIC, 0x10].map(writesVmxMsr)).toEqual([
      true,
      false,
      false,
      undefined,
    ]);
    expect(readVmxMsr(0x491, CR4_BITS)).toBeUndefined();
  });
});

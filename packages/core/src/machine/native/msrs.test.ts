import { beforeAll, describe, expect, it } from 'vitest';
import { type TestGuest, testGuest } from '../testing/test-guest.ts';
import { firmwareMtrrs } from './memory-types.ts';
import { readMsr, writeMsr } from './msrs.ts';

const [RAX, RCX, RDX] = [0, 1, 2];
const GP = { vector: 13, errorCode: 0 };

let guest: TestGuest;
beforeAll(async () => {
  guest = await testGuest({ code: { 65536: 'f4' } });
});

function write(index: number, value: bigint) {
  guest.vcpu.gpr[RCX] = BigInt(index);
  guest.vcpu.gpr[RAX] = value & 0xffffffffn;
  guest.vcpu.gpr[RDX] = value >> 32n;
  return writeMsr(guest.vcpu);
}
function read(index: number) {
  guest.vcpu.gpr[RCX] = BigInt(index);
  const answer = readMsr(guest.vcpu);
  return answer === 'next' ? (guest.vcpu.gpr[RDX] << 32n) | guest.vcpu.gpr[RAX] : answer;
}

describe('MSRs', () => {
  it.each([
    ['IA32_SYSENTER_ESP', 0x175, 0x7fffffffffffn],
    ['IA32_MTRR_PHYSBASE0', 0x200, 0xe0000006n],
    ['IA32_MTRR_PHYSMASK7', 0x20f, 0xffe0000800n],
    ['IA32_MTRR_FIX64K_00000', 0x250, 0x0606060606060606n],
    ['IA32_MTRR_DEF_TYPE', 0x2ff, 0xc06n],
    ['IA32_PAT', 0x277, 0x0007010600070106n],
    ['SYSCFG', 0xc0010010, 0x3c0000n],
    ['LSTAR', 0xc0000082, 0xffffffff81000000n],
    ['FMASK', 0xc0000084, 0x47700n],
    ['KernelGSbase', 0xc0000102, 0xffff888000000000n],
    ['TSC_AUX', 0xc0000103, 5n],
  ])('%s keeps what it takes', (_name, index, value) => {
    expect([write(index, value), read(index)]).toEqual(['next', value]);
  });

  it.each([
    ['one that is not there', 0x12345, 0n],
    ['IA32_MTRRCAP', 0xfe, 0n],
    ['IA32_MCG_CAP', 0x179, 0n],
    ['a machine-check bank', 0x400, 0n],
    ['a memory type that is reserved in an MTRR', 0x200, 2n],
    ['UC- in an MTRR', 0x250, 7n],
    ['address bits beyond 40 in an MTRR', 0x201, 1n << 40n],
    ['reserved bits of IA32_MTRR_DEF_TYPE', 0x2ff, 0x100n],
    ['a memory type that is reserved in the PAT', 0x277, 2n << 24n],
    ['an address that is not canonical', 0xc0000082, 1n << 47n],
    ['upper bits of FMASK', 0xc0000084, 1n << 32n],
    ['reserved bits of EFER', 0xc0000080, 0x2n],
    ['a reserved bit of IA32_MISC_ENABLE', 0x1a0, 1n << 1n],
    ['the local APIC, without one', 0x1b, 0xfee00900n],
    ['a TSC deadline, without a local APIC', 0x6e0, 1n],
  ])('refuse %s with #GP(0)', (_name, index, value) => {
    expect(write(index, value)).toEqual(GP);
  });

  it('that are not there raise #GP(0) when read', () => {
    expect([read(0x12345), read(0x1b), read(0x800)]).toEqual([GP, GP, GP]);
  });

  it('EFER takes what turns automatic IBRS on', () => {
    const image = (read(0xc0000080) as bigint) | 0x20_0000n;
    expect([write(0xc0000080, image), read(0xc0000080)]).toEqual(['next', image]);
  });

  it('begin with what the manual says', () => {
    expect([read(0xfe), read(0x1a0), read(0x179)]).toEqual([0x508n, 0x1801n, 0n]);
  });

  it('IA32_MISC_ENABLE keeps what can be written, and CPUID and EFER follow', () => {
    const { machine, vcpu } = guest;
    const nx = () => (machine.cpuid(0x80000001, 0).edx >>> 20) & 1;
    const NXE = 1n << 11n;
    expect([machine.cpuid(0, 0).eax > 2, nx()]).toEqual([true, 1]);
    // Limit CPUID, disable XD; bits 11 and 12 can only be read.
    expect([write(0x1a0, 0x400400009n), read(0x1a0)]).toEqual(['next', 0x400401809n]);
    expect([machine.cpuid(0, 0).eax, nx(), write(0xc0000080, vcpu.efer | NXE)]).toEqual([2, 0, GP]);
    expect([write(0x1a0, 0x1801n), nx(), write(0xc0000080, vcpu.efer)]).toEqual(['next', 1, 'next']);
  });

  it('of performance counters are there, and count nothing', () => {
    expect([write(0xc0010000, 0x430076n), read(0xc0010000)]).toEqual(['next', 0n]);
    expect([write(0xc0010007, 5n), read(0xc0010007), read(0xc0010008)]).toEqual(['next', 0n, GP]);
  });

  it('IA32_TSC moves, and IA32_TSC_ADJUST tells by how much', () => {
    expect([write(0x10, 1n << 40n), read(0x10), read(0x3b)]).toEqual(['next', 1n << 40n, 1n << 40n]);
    expect([write(0x3b, 7n), read(0x10)]).toEqual(['next', 7n]);
    expect([write(0x3b, 0n), read(0x10)]).toEqual(['next', 0n]);
  });

  it('are set up by firmware to values that they take', () => {
    const settings = firmwareMtrrs({ first: 0xe0000000, sizeBytes: 0x20000000 });
    expect([settings.get(0x200), settings.get(0x201), settings.get(0x2ff)]).toEqual([
      0xe0000000n,
      0xffe0000800n,
      0xc06n,
    ]);
    for (const [index, value] of settings) expect([index, write(index, value)]).toEqual([index, 'next']);
  });
});

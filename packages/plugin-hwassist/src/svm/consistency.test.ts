import { FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { illegalState, type Surroundings } from './consistency.ts';
import { VMCB_BYTES, Vmcb } from './vmcb.ts';

const SURROUNDINGS: Surroundings = { cr4Bits: 0x6fffn, eferBits: 0x1d01n, hostPaging: true, asids: 64 };
const V = 1n << 31n;

/** 64-bit code under nested paging, as a hypervisor would start it. */
function legal(): Vmcb {
  const vmcb = new Vmcb(new FakeMemory(VMCB_BYTES), 0);
  vmcb.write('INTERCEPT_VECTOR_4', 1);
  vmcb.write('ASID', 1);
  vmcb.write('NP_CONTROL', 1);
  vmcb.write64('nCR3', 0x1000n);
  vmcb.write64('G_PAT', 0x0007_0406_0007_0406n);
  vmcb.write64('IOPM_BASE_PA', 0x10_0000n);
  vmcb.write64('MSRPM_BASE_PA', 0x10_3000n);
  vmcb.write64('EFER', 0x1d01n);
  vmcb.write64('CR0', 0x8001_0011n);
  vmcb.write64('CR3', 0x2000n);
  vmcb.write64('CR4', 0x20n);
  vmcb.write64('DR6', 0xffff_0ff0n);
  vmcb.write64('DR7', 0x400n);
  vmcb.setSegment('CS', { selector: 8, base: 0n, limit: 0xffff_ffff, accessRights: 0xa09b });
  return vmcb;
}
type Change = (vmcb: Vmcb) => void;
const after = (change: Change, surroundings = SURROUNDINGS) => {
  const vmcb = legal();
  change(vmcb);
  return illegalState(vmcb, surroundings);
};
const event =
  (info: bigint): Change =>
  (vmcb) =>
    vmcb.write64('EVENTINJ', info);
const cs =
  (accessRights: number): Change =>
  (vmcb) =>
    vmcb.setSegment('CS', { selector: 8, base: 0n, limit: 0xffff_ffff, accessRights });

it.each<[string, Change]>([
  ['EFER.SVME is zero', (vmcb) => vmcb.write64('EFER', 0xd01n)],
  ['CR0.CD is zero and CR0.NW is set', (vmcb) => vmcb.write64('CR0', 0xa001_0011n)],
  ['CR0[63:32] are not zero', (vmcb) => vmcb.write64('CR0', 0x1_8001_0011n)],
  ['an MBZ bit of CR3 is set', (vmcb) => vmcb.write64('CR3', 1n << 40n)],
  ['an MBZ bit of CR3 is set', (vmcb) => vmcb.write64('CR3', 1n << 63n)],
  ['an MBZ bit of CR3 is set', wideCr3WithoutPaging],
  ['an MBZ bit of CR4 is set', (vmcb) => vmcb.write64('CR4', 0x20n | (1n << 15n))],
  ['an MBZ bit of CR4 is set', (vmcb) => vmcb.write64('CR4', 0x20n | (1n << 63n))],
  ['DR6[63:32] are not zero', (vmcb) => vmcb.write64('DR6', 1n << 32n)],
  ['DR7[63:32] are not zero', (vmcb) => vmcb.write64('DR7', 1n << 63n)],
  ['an MBZ bit of EFER is set', (vmcb) => vmcb.write64('EFER', 0x1d03n)],
  ['EFER.LME and CR0.PG without CR4.PAE', (vmcb) => vmcb.write64('CR4', 0n)],
  ['EFER.LME and CR0.PG without CR0.PE', (vmcb) => vmcb.write64('CR0', 0x8001_0010n)],
  ['EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set', cs(0xe09b)],
  ['VMRUN is not intercepted', (vmcb) => vmcb.write('INTERCEPT_VECTOR_4', 0xffff_fffe)],
  ['the MSR permissions map is beyond physical addresses', (vmcb) => vmcb.write64('MSRPM_BASE_PA', 0xff_ffff_e000n)],
  ['the MSR permissions map is beyond physical addresses', (vmcb) => vmcb.write64('MSRPM_BASE_PA', 1n << 63n)],
  ['the I/O permissions map is beyond physical addresses', (vmcb) => vmcb.write64('IOPM_BASE_PA', 0xff_ffff_e000n)],
  ['EVENTINJ is illegal', event(V | 0x100n)],
  ['EVENTINJ is illegal', event(V | 0x780n)],
  ['EVENTINJ is illegal', event(V | 0x302n)],
  ['EVENTINJ is illegal', event(V | 0x320n)],
  ['ASID is zero', (vmcb) => vmcb.write('ASID', 0)],
  ['ASID is beyond the last', (vmcb) => vmcb.write('ASID', 64)],
  ['an MBZ bit of nCR3 is set', (vmcb) => vmcb.write64('nCR3', 1n << 40n)],
  ['G_PAT is illegal', (vmcb) => vmcb.write64('G_PAT', 0x0208n)],
  ['G_PAT is illegal', (vmcb) => vmcb.write64('G_PAT', 0x0300_0000_0000_0000n)],
])('%s', (what, change) => {
  expect(after(change)).toBe(what);
});

it('nested paging needs paging of the host', () => {
  const surroundings = { ...SURROUNDINGS, hostPaging: false };
  expect(after(() => {}, surroundings)).toBe('nested paging without CR0.PG of the host');
  expect(after((vmcb) => vmcb.write('NP_CONTROL', 0), surroundings)).toBeUndefined();
});

describe('legal', () => {
  it.each<[string, Change]>([
    ['64-bit code', () => {}],
    ['compatibility mode', cs(0xc09b)],
    ['cache disabled, with NW', (vmcb) => vmcb.write64('CR0', 0xe001_0011n)],
    ['real mode with EFER.LME', (vmcb) => vmcb.write64('CR0', 0x10n)],
    ['a map that ends below the last physical page', (vmcb) => vmcb.write64('MSRPM_BASE_PA', 0xff_ffff_dfffn)],
    ['an I/O map in the last three pages', (vmcb) => vmcb.write64('IOPM_BASE_PA', 0xff_ffff_dfffn)],
    ['an event that is not valid', event(0x7ffn)],
    ['an interrupt', event(V | 0x2n)],
    ['an NMI', event(V | 0x200n)],
    ['INT n', event(V | 0x480n)],
    ['a page fault', event((0x2n << 32n) | V | 0xb0en)],
    ['without nested paging: nCR3 and G_PAT', withoutNestedPaging],
  ])('%s', (_, change) => {
    expect(after(change)).toBeUndefined();
  });

  it('bits of CR4 are those that the processor has', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 63 }), (bit) => {
        const isThere = ((SURROUNDINGS.cr4Bits >> BigInt(bit)) & 1n) !== 0n;
        const found = after((vmcb) => vmcb.write64('CR4', 0x20n | (1n << BigInt(bit))));
        expect(found).toBe(isThere ? undefined : 'an MBZ bit of CR4 is set');
      }),
    );
  });
});

function wideCr3WithoutPaging(vmcb: Vmcb): void {
  vmcb.write64('CR0', 0x11n);
  vmcb.write64('CR3', 1n << 50n);
}

function withoutNestedPaging(vmcb: Vmcb): void {
  vmcb.write('NP_CONTROL', 0);
  vmcb.write64('nCR3', 1n << 50n);
  vmcb.write64('G_PAT', 0xffffn);
}

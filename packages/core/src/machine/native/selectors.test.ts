import { describe, expect, it } from 'vitest';
import { CODE, enter, Selector, type TestGuest, testGuest } from '../testing/test-guest.ts';

const [RAX, RCX] = [0, 1];
const ZF = 0x40n;
const BOTH_HALVES = 0xaaaa_bbbb_cccc_ddddn;
const run = async (code: string, selector: number, prepare?: (guest: TestGuest) => void) => {
  const guest = await testGuest({
    code: { [CODE]: code },
    prepare(made) {
      made.vcpu.gpr[RCX] = BigInt(selector);
      made.vcpu.gpr[RAX] = BOTH_HALVES;
      prepare?.(made);
    },
  });
  await guest.run();
  const { vcpu } = guest;
  return { guest, vcpu, rax: vcpu.gpr[RAX], zf: (vcpu.rflags & ZF) !== 0n };
};

describe('LAR and LSL', () => {
  it.each([
    ['code', Selector.code0, 0xaf9b00n, 0xffff_ffffn],
    ['data', Selector.data3, 0xcff300n, 0xffff_ffffn],
    ['a TSS', Selector.tss, 0x008900n, 0x67n],
    ['an LDT', Selector.ldt, 0x008200n, 0xfffn],
    ['absent data', Selector.absentData, 0xcf1300n, 0xffff_ffffn],
  ])('read %s', async (_what, selector, rights, limit) => {
    // lar eax,ecx ; lsl eax,ecx
    const lar = await run('0f02c1 f4', selector);
    expect([lar.zf, lar.rax]).toEqual([true, rights & 0xf0ff00n]);
    const lsl = await run('0f03c1 f4', selector);
    expect([lsl.zf, lsl.rax]).toEqual([true, limit]);
  });

  it('write 16 bits only with a 16-bit operand', async () => {
    expect((await run('660f02c1 f4', Selector.code0)).rax).toBe(0xaaaa_bbbb_cccc_9b00n);
    expect((await run('660f03c1 f4', Selector.code0)).rax).toBe(0xaaaa_bbbb_cccc_ffffn);
  });

  it.each([
    ['null', 3],
    ['outside the table', 0x200],
    ['in an LDT that is not there', 0x0c],
    ['of no type', 0x38],
  ])('clear ZF and leave the register for a selector that is %s', async (_what, selector) => {
    for (const code of ['0f02c1 f4', '0f03c1 f4']) {
      const { zf, rax } = await run(code, selector, ({ vcpu }) => {
        vcpu.rflags |= ZF;
      });
      expect([zf, rax]).toEqual([false, BOTH_HALVES]);
    }
  });

  it('respect levels: CPL and RPL against DPL', async () => {
    const user = (code: string, selector: number) => run(`${code} 0f0b`, selector, (guest) => enter(guest.vcpu, 3));
    expect((await user('0f02c1', Selector.data0)).rax).toBe(BOTH_HALVES);
    expect((await user('0f02c1', Selector.data3)).rax).toBe(0xc0f300n);
    expect((await run('0f03c1 f4', Selector.data0 | 3)).zf).toBe(false);
  });
});

describe('VERR and VERW', () => {
  it.each([
    ['writable data', Selector.data0, true, true],
    ['read-only data', Selector.readOnly, true, false],
    ['readable code', Selector.code0, true, false],
    ['a TSS', Selector.tss, false, false],
    ['null', 0, false, false],
  ])('of %s', async (_what, selector, readable, writable) => {
    expect((await run('0f00e1 f4', selector)).zf).toBe(readable);
    expect((await run('0f00e9 f4', selector)).zf).toBe(writable);
  });
});

describe('far pointers', () => {
  const pointer =
    (selector: number) =>
    ({ machine, vcpu }: TestGuest) => {
      machine.memory.write64(0x8000, 0x12345678n | (BigInt(selector) << 32n));
      vcpu.gpr[7] = 0x8000n;
    };
  it('LFS loads segment and register', async () => {
    const { vcpu, rax } = await run('0fb407 f4', 0, pointer(Selector.data0));
    expect([vcpu.segment(4).selector, rax]).toEqual([Selector.data0, 0x12345678n]);
  });
  it('LSS that faults leaves both', async () => {
    const { guest, vcpu, rax } = await run('0fb207', 0, pointer(Selector.absentData));
    expect(guest.stoppedIn).toBe(12);
    expect(guest.stack(1)).toEqual([BigInt(Selector.absentData)]);
    expect([vcpu.segment(2).selector, rax]).toEqual([Selector.data0, BOTH_HALVES]);
  });
});

describe('INT1, CLAC, STAC, RDTSCP', () => {
  it('INT1 is a trap that no DPL guards', async () => {
    const { guest } = await run('f1', 0, (guest) => enter(guest.vcpu, 3));
    expect(guest.stoppedIn).toBe(1);
    expect(guest.stack(2)).toEqual([BigInt(CODE + 1), BigInt(Selector.code3)]);
  });
  it('STAC sets RFLAGS.AC, CLAC clears it, above CPL 0 they do not exist', async () => {
    expect((await run('0f01cb f4', 0)).vcpu.rflags & 0x40000n).toBe(0x40000n);
    expect((await run('0f01cb 0f01ca f4', 0)).vcpu.rflags & 0x40000n).toBe(0n);
    expect((await run('0f01cb', 0, (guest) => enter(guest.vcpu, 3))).guest.stoppedIn).toBe(6);
  });
  it('RDTSCP reads IA32_TSC_AUX as WRMSR left it', async () => {
    // wrmsr ; rdtscp ; hlt
    const { vcpu } = await run('0f30 0f01f9 f4', 0xc0000103, ({ vcpu }) => {
      vcpu.gpr[RAX] = 0x8765_4321n;
      vcpu.gpr[2] = 0n;
    });
    expect(vcpu.gpr[RCX]).toBe(0x8765_4321n);
  });
  it('DR4 and DR5 exist only while CR4.DE is clear', async () => {
    // mov rax,dr4
    expect((await run('0f21e0 f4', 0)).rax).toBe(0xffff0ff0n);
    expect(
      (
        await run('0f21e0', 0, ({ vcpu }) => {
          vcpu.cr4 |= 8n;
        })
      ).guest.stoppedIn,
    ).toBe(6);
  });
});

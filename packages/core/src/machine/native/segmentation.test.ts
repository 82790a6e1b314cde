import { beforeEach, describe, expect, it } from 'vitest';
import {
  protectedGuest as anyGuest,
  CODE16,
  descriptor,
  flat,
  realGuest,
  Selector32,
  setGate32,
  stack32,
} from '../testing/legacy-guest.ts';
import { CODE, GDT, HANDLERS, type TestGuest } from '../testing/test-guest.ts';

/** Each tier by itself: in tier 1 all code is compiled when it is first reached. */
const TIERS = [
  ['tier 0', false],
  ['tier 1', { threshold: 1, batch: 1 }],
] as const;
let regions: (typeof TIERS)[number][1] = false;
const protectedGuest = (code: string, prepare?: (guest: TestGuest) => void) => anyGuest(code, prepare, regions);

const RSP = 4;
const RBX = 3;
const DS = 3;
const SS = 2;
const GP = 13;
const STACK_FAULT = 12;
const WRITE = '8903';
const READ = '8b03';

/** Load DS or SS with a selector, as the guest does, then run code with EBX. */
const access = (selector: number, ebx: number, code: string) =>
  protectedGuest(`66b8 ${selector.toString(16).padStart(2, '0')}00 8ed8 ${code} f4`, ({ vcpu }) => {
    vcpu.gpr[RBX] = BigInt(ebx >>> 0);
  });
const outcome = async (guest: TestGuest) => {
  await guest.run();
  return guest.stoppedIn === undefined ? 'done' : [guest.stoppedIn, ...stack32(guest, 2)];
};
/** Behind the segment load. */
const AT = CODE + 6;

describe.each(TIERS)('limits of data segments in %s', (_tier, tier) => {
  beforeEach(() => {
    regions = tier;
  });
  it.each([
    ['the last doubleword', Selector32.small, 0xffc, READ, 'done'],
    ['one byte beyond', Selector32.small, 0xffd, READ, [GP, 0, AT]],
    ['one byte beyond, written', Selector32.small, 0xffd, WRITE, [GP, 0, AT]],
    ['the last byte', Selector32.small, 0xfff, '8a03', 'done'],
    ['far beyond', Selector32.small, -4, READ, [GP, 0, AT]],
    ['all that FXSAVE writes', Selector32.small, 0xe10, '0fae03', [GP, 0, AT]],
    ['the first byte of an expand-down segment', Selector32.down32, 0x1000, READ, 'done'],
    ['one below it', Selector32.down32, 0xfff, READ, [GP, 0, AT]],
    ['the 64 KiB of a small one', Selector32.down16, 0xfffc, READ, 'done'],
    ['beyond those', Selector32.down16, 0xfffd, READ, [GP, 0, AT]],
    ['the 4 GiB of a big one, wrapped', Selector32.down32, 0xfffffff0, READ, 'done'],
  ])('%s', async (_what, selector, ebx, code, expected) => {
    expect(await outcome(await access(selector, ebx, code))).toEqual(expected);
  });

  it.each([
    ['a read-only segment is read', Selector32.readOnly, READ, 'done'],
    ['and not written', Selector32.readOnly, WRITE, [GP, 0, AT]],
    ['nor read and written', Selector32.readOnly, '0103', [GP, 0, AT]],
    ['code is read', Selector32.code0, READ, 'done'],
    ['and not written', Selector32.code0, WRITE, [GP, 0, AT]],
    ['a null segment is loaded', 0, '90', 'done'],
    ['and not read', 0, READ, [GP, 0, AT]],
    ['nor written', 0, WRITE, [GP, 0, AT]],
    ['code that cannot be read is no data', Selector32.executeOnly, '90', [GP, Selector32.executeOnly, CODE + 4]],
    ['LEA and INVLPG only name an address', Selector32.small, '8d83ffff0000 0f01bbffff0000', 'done'],
  ])('%s', async (_what, selector, code, expected) => {
    expect(await outcome(await access(selector, 0x800, code))).toEqual(expected);
  });

  it('of FS, GS and CS count in flat code too, of string operations for both segments', async () => {
    const fs = await protectedGuest('64 8b03 f4', ({ vcpu }) => {
      vcpu.setSegment(4, { selector: Selector32.small, base: 0x8000n, limit: 0xfff, accessRights: 0x4093 });
      vcpu.gpr[RBX] = 0xffdn;
    });
    expect(fs.vcpu.engine.mode).toBe('flat32');
    expect(await outcome(fs)).toEqual([GP, 0, CODE]);
    const cs = await protectedGuest('2e 8903 f4');
    expect(await outcome(cs)).toEqual([GP, 0, CODE]);
    const movs = await protectedGuest('f3a5 f4', ({ vcpu }) => {
      vcpu.setSegment(0, { selector: Selector32.small, base: 0x8000n, limit: 0xfff, accessRights: 0x4093 });
      vcpu.gpr[1] = 4n;
      vcpu.gpr[6] = 0x9000n;
      vcpu.gpr[7] = 0xff4n;
    });
    expect(await outcome(movs)).toEqual([GP, 0, CODE]);
    // Three of four are done.
    expect([movs.vcpu.gpr[1], movs.vcpu.gpr[7]]).toEqual([1n, 0x1000n]);
  });

  it('of SS raise #SS, and a 16-bit stack pointer wraps', async () => {
    const beyond = await protectedGuest('8b4500 f4', ({ vcpu }) => {
      vcpu.setSegment(SS, { selector: Selector32.small, base: 0x8000n, limit: 0xfff, accessRights: 0x4093 });
      vcpu.gpr[RSP] = 0x1000n;
      vcpu.gpr[5] = 0x1000n;
    });
    await beyond.run();
    expect(beyond.stoppedIn).toBe(STACK_FAULT);
    const push = await protectedGuest('50 f4', ({ vcpu }) => {
      vcpu.setSegment(SS, { selector: Selector32.stack16, base: 0x8000n, limit: 0xffff, accessRights: 0x93 });
      vcpu.gpr[RSP] = 0x12340000n;
      vcpu.gpr[0] = 0x1234n;
    });
    await push.run();
    expect([push.stoppedIn, push.vcpu.gpr[RSP]]).toEqual([undefined, 0x1234fffcn]);
    expect(push.machine.memory.read32(0x17ffc)).toBe(0x1234);
  });
});

describe.each(TIERS)('limits of code segments in %s', (_tier, tier) => {
  beforeEach(() => {
    regions = tier;
  });
  const inSmallCode = (code: string) =>
    protectedGuest(code, ({ vcpu }) => {
      vcpu.setSegment(1, { selector: Selector32.code0, base: BigInt(CODE), limit: 0x1f, accessRights: 0x409b });
      vcpu.rip = 0n;
    });
  it.each([
    ['JMP', 'eb 1d', 'done'],
    ['JMP beyond', 'eb 1e', [GP, 0, 0]],
    ['Jcc beyond, taken', '31c0 74 1c', [GP, 0, 2]],
    ['Jcc beyond, not taken', '31c0 75 1c f4', 'done'],
    ['CALL beyond: nothing is pushed', 'e8 1b000000', [GP, 0, 0]],
    ['JMP through a register', 'b8 20000000 ffe0', [GP, 0, 5]],
    ['RET', '6a 20 c3', [GP, 0, 2]],
    ['LOOP beyond: the count stays', 'b9 02000000 e2 19', [GP, 0, 5]],
    ['JMP far', 'ea 20000000 0800', [GP, 0, 0]],
  ])('%s', async (_what, code, expected) => {
    const guest = await inSmallCode(code);
    guest.machine.memory.write8(CODE + 0x1f, 0xf4);
    if (code.startsWith('ea')) guest.machine.memory.write64(GDT + 8, descriptor(CODE, 0x1f, 0x409b));
    // Handlers lie in flat code.
    for (const vector of [GP]) setGate32(guest, vector, HANDLERS + vector * 16, { selector: Selector32.executeOnly });
    expect(await outcome(guest)).toEqual(expected);
    if (code.startsWith('b9')) expect(guest.vcpu.gpr[1]).toBe(2n);
  });
});

describe('code modes', () => {
  it('follow CS.D, SS.B and flatness, as segments are loaded', async () => {
    const guest = await protectedGuest('f4');
    const { vcpu } = guest;
    expect(vcpu.engine.mode).toBe('flat32');
    vcpu.setSegment(DS, { selector: 0, base: 0n, limit: 0, accessRights: 1 << 16 });
    expect(vcpu.engine.mode).toBe('seg32');
    flat(guest, 3);
    expect(vcpu.engine.mode).toBe('flat32');
    vcpu.setSegment(0, { selector: 8, base: 16n, limit: 0xffffffff, accessRights: 0xc0f3 });
    expect(vcpu.engine.mode).toBe('seg32');
    flat(guest, 0);
    vcpu.setSegment(SS, { selector: 8, base: 0n, limit: 0xffff, accessRights: 0x93 });
    expect(vcpu.engine.mode).toBe('seg32ss16');
    vcpu.setSegment(1, { selector: 8, base: 0n, limit: 0xffff, accessRights: 0x9b });
    expect(vcpu.engine.mode).toBe('seg16');
    vcpu.setSegment(SS, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xc093 });
    expect(vcpu.engine.mode).toBe('seg16ss32');
    flat(guest, 0);
    expect(vcpu.engine.mode).toBe('flat32');
  });
});

describe('real-address mode', () => {
  it.each([
    // mov ax,[bx]: a word across the end
    ['an operand across 64 KiB', '8b07', 0xffff, GP],
    ['a byte at the end', '8a07', 0xffff, undefined],
    // mov ax,[bp]
    ['the same through SS', '8b4600', 0, STACK_FAULT],
  ])('%s', async (_what, code, bx, vector) => {
    const guest = await realGuest(`${code} f4`, ({ vcpu }) => {
      vcpu.gpr[RBX] = BigInt(bx);
      vcpu.gpr[5] = 0xffffn;
    });
    await guest.run();
    expect(guest.stoppedIn).toBe(vector);
    // IP, CS and FLAGS of 16 bits, and no error code.
    if (vector) expect(guest.machine.memory.read16(0x6ffa)).toBe(CODE16);
  });

  it('keeps the limits of protected mode until they are changed there', async () => {
    // mov ds,ax ; mov eax,[ebx]
    const guest = await realGuest('8ed8 67668b03 f4', ({ vcpu, machine }) => {
      vcpu.setSegment(DS, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xc093 });
      vcpu.gpr[0] = 0x10n;
      vcpu.gpr[RBX] = 0x30000n;
      machine.memory.write32(0x30100, 0x12345678);
    });
    await guest.run();
    expect(guest.vcpu.gpr[0]).toBe(0x12345678n);
    expect(guest.vcpu.segment(DS)).toMatchObject({ selector: 0x10, base: 0x100n, limit: 0xffffffff });
  });

  it('has no vectors beyond the limit of the table', async () => {
    const guest = await realGuest('0f0b', ({ vcpu }) => {
      vcpu.tables.idtr.limit = 5 * 4;
    });
    expect((await guest.run()).reason).toMatchObject({ kind: 'crash' });
  });
});

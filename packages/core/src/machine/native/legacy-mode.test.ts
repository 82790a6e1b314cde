import { describe, expect, it } from 'vitest';
import { EFER, STAR } from '../../cpu/state.ts';
import { OTHER_TSS, protectedGuest, Selector32, setGate32, stack32 } from '../testing/legacy-guest.ts';
import { CODE, GDT, HANDLERS, type TestGuest, testGuest } from '../testing/test-guest.ts';

const RAX = 0;
const RCX = 1;
const GP = 13;
const UD = 6;
const SET_CR0 = '0f22c0';
const SET_CR3 = '0f22d8';
const SET_CR4 = '0f22e0';
const TABLE = 0x30000;

const withEax = (value: number, prepare?: (guest: TestGuest) => void) => (guest: TestGuest) => {
  guest.vcpu.gpr[RAX] = BigInt(value >>> 0);
  prepare?.(guest);
};

describe('PDPTEs', () => {
  const pae = ({ vcpu, machine }: TestGuest) => {
    vcpu.cr4 = 0x20n;
    vcpu.cr3 = BigInt(TABLE);
    machine.memory.write64(TABLE, BigInt(TABLE + 0x1001));
    machine.memory.write64(TABLE + 0x1000, 0x87n);
  };
  it.each([
    ['a reserved low bit', 0x3n, GP],
    ['a reserved bit 63', (1n << 63n) | 1n, GP],
    ['an address beyond 40 bits', (1n << 40n) | 1n, GP],
    ['an absent entry with any bits', (1n << 63n) | 0x1e6n, undefined],
  ])('with %s, when paging is turned on', async (_what, entry, vector) => {
    const guest = await protectedGuest(
      `${SET_CR0} f4`,
      withEax(0x80000011, (guest) => {
        pae(guest);
        guest.machine.memory.write64(TABLE + 24, entry);
      }),
    );
    await guest.run();
    expect(guest.stoppedIn).toBe(vector);
    expect((guest.vcpu.cr0 >> 31n) & 1n).toBe(vector ? 0n : 1n);
  });
  it('are checked by MOV to CR3, which then changes nothing, and by MOV to CR4', async () => {
    const bad = (guest: TestGuest) => guest.machine.memory.write64(TABLE + 0x2000, 0x3n);
    const cr3 = await protectedGuest(
      `${SET_CR3} f4`,
      withEax(TABLE + 0x2000, (guest) => {
        pae(guest);
        bad(guest);
        guest.vcpu.cr0 = 0x80000011n;
      }),
    );
    await cr3.run();
    expect([cr3.stoppedIn, cr3.vcpu.cr3]).toEqual([GP, BigInt(TABLE)]);
    const cr4 = await protectedGuest(
      `${SET_CR4} f4`,
      withEax(0x20, (guest) => {
        const { vcpu, machine } = guest;
        machine.memory.write32(TABLE, 0x87);
        machine.memory.write64(TABLE + 8, 0x1e7n);
        vcpu.cr4 = 0x10n;
        vcpu.cr3 = BigInt(TABLE);
        vcpu.cr0 = 0x80000011n;
      }),
    );
    await cr4.run();
    expect([cr4.stoppedIn, cr4.vcpu.cr4]).toEqual([GP, 0x10n]);
  });
});

describe('IA-32e mode', () => {
  it.each([
    ['begins with paging', 0x20n, 0x100n, 0x80000011, undefined, 0x500n],
    ['needs PAE', 0n, 0x100n, 0x80000011, GP, 0x100n],
    ['needs LME', 0x20n, 0n, 0x80000011, undefined, 0n],
  ])('%s', async (_what, cr4, efer, cr0, vector, after) => {
    const guest = await protectedGuest(
      `${SET_CR0} f4`,
      withEax(cr0, ({ vcpu, machine }) => {
        vcpu.cr4 = cr4;
        vcpu.efer = efer;
        vcpu.cr3 = BigInt(TABLE);
        // The same page is a PML4, and four absent PDPTEs but for the first.
        machine.memory.write64(TABLE, BigInt(TABLE + (efer ? 0x1003 : 0x2001)));
        machine.memory.write64(TABLE + 0x1000, BigInt(TABLE + 0x2003));
        machine.memory.write64(TABLE + 0x2000, 0x83n);
      }),
    );
    await guest.run();
    expect([guest.stoppedIn, guest.vcpu.slot64(EFER)]).toEqual([vector, after]);
  });

  it('cannot be left from 64-bit mode, nor LME be changed under paging', async () => {
    const off = await testGuest({
      code: { [CODE]: `0f22c0 f4` },
      prepare: ({ vcpu }) => {
        vcpu.gpr[RAX] = 0x11n;
      },
    });
    await off.run();
    expect([off.stoppedIn, off.vcpu.cr0 >> 31n]).toEqual([GP, 1n]);
    const lme = await testGuest({
      code: { [CODE]: '0f30 f4' },
      prepare: ({ vcpu }) => {
        vcpu.gpr[RCX] = 0xc0000080n;
        vcpu.gpr[RAX] = 0xc01n;
        vcpu.gpr[2] = 0n;
      },
    });
    await lme.run();
    expect(lme.stoppedIn).toBe(GP);
  });

  it('has no SYSENTER and SYSEXIT', async () => {
    for (const code of ['0f34', '0f35']) {
      const guest = await testGuest({ code: { [CODE]: code }, prepare: ({ vcpu }) => vcpu.msrs.set(0x174, 8n) });
      await guest.run();
      expect(guest.stoppedIn).toBe(UD);
    }
  });
});

describe('SYSCALL and SYSRET in legacy mode', () => {
  it('go by STAR, and keep no flags', async () => {
    // syscall ; ud2 — at 1000: sysret
    const guest = await protectedGuest('0f05 0f0b', ({ vcpu, machine }) => {
      machine.memory.writeBytes(0x1000, Uint8Array.of(0x8c, 0xc8, 0x0f, 0x07));
      vcpu.efer = 1n;
      vcpu.setSlot64(STAR, (0x18n << 48n) | (0x08n << 32n) | 0x1000n);
      vcpu.rflags = 0x202n;
    });
    await guest.run();
    expect(guest.stoppedIn).toBe(UD);
    expect(guest.vcpu.gpr[RAX]).toBe(BigInt(Selector32.code0));
    expect(stack32(guest, 3)).toEqual([CODE + 2, Selector32.code3, 0x10202]);
  });
});

describe('task switches', () => {
  const fill = ({ machine }: TestGuest, fields: Record<number, number>) => {
    const task = { 32: 0x1000, 36: 2, 56: 0x1f000, 72: 0x10, 76: 8, 80: 0x10, 84: 0x10, 88: 0, 92: 0 };
    for (const [at, value] of Object.entries({ ...task, ...fields }))
      machine.memory.write32(OTHER_TSS + Number(at), value);
    machine.memory.write8(0x1000, 0xf4);
  };
  const JUMP = `ea 00000000 ${Selector32.otherTss.toString(16)}00`;

  it.each([
    ['DS outside the GDT', { 84: 0x200 }, 10, 0x200],
    ['SS of another level', { 80: 0x23 }, 10, 0x20],
    ['SS null', { 80: 0 }, 10, 0],
    ['CS that is data', { 76: 0x10 }, 10, 0x10],
    ['an LDT that is none', { 96: 0x10 }, 10, 0x10],
    ['EIP beyond the limit', { 76: 0x60, 32: 0x10000 }, GP, 0],
  ])('with %s raise the fault in the new task', async (_what, fields, vector, code) => {
    const guest = await protectedGuest(JUMP, (guest) => {
      fill(guest, fields);
      // A handler on a stack that is good whatever the new task's is: a task would be; here SS stays the old one's.
      setGate32(guest, vector, HANDLERS + vector * 16);
    });
    await guest.run();
    expect(guest.vcpu.tables.tr.selector).toBe(Selector32.otherTss);
    expect(guest.stoppedIn).toBe(vector);
    expect(stack32(guest, 2)).toEqual([code, fields[0x20 as keyof typeof fields] ?? 0x1000]);
  });

  it('load CR3 with the task, LDTR, and set CR0.TS', async () => {
    const guest = await protectedGuest(JUMP, (guest) => {
      fill(guest, { 28: TABLE });
      guest.machine.memory.write32(TABLE, 0x87);
      guest.machine.memory.write32(TABLE + 0x1000, 0x87);
      guest.vcpu.cr4 = 0x10n;
      guest.vcpu.cr3 = BigInt(TABLE + 0x1000);
      guest.vcpu.cr0 = 0x80000011n;
    });
    await guest.run();
    expect(guest.stoppedIn).toBeUndefined();
    expect([guest.vcpu.cr3, guest.vcpu.cr0 & 8n, guest.vcpu.rip]).toEqual([BigInt(TABLE), 8n, 0x1001n]);
    // The old task is available again, the new one busy.
    expect(guest.machine.memory.read8(GDT + Selector32.tss + 5)).toBe(0x89);
    expect(guest.machine.memory.read8(GDT + Selector32.otherTss + 5)).toBe(0x8b);
  });
});

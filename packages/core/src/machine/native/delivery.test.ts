import { describe, expect, it } from 'vitest';
import { DR, FMASK, LSTAR, STAR } from '../../cpu/state.ts';
import {
  CODE,
  enter,
  GDT,
  HANDLERS,
  IST1,
  KERNEL_STACK,
  Selector,
  STACK_TOP,
  type TestGuest,
  TSS,
  testGuest,
} from '../testing/test-guest.ts';

const RSP = 4;
const RAX = 0;
const AT = BigInt(CODE);
const user = (guest: TestGuest) => enter(guest.vcpu, 3);
const go = async (code: string, prepare?: (guest: TestGuest) => void) => {
  const guest = await testGuest({ code: { [CODE]: code }, ...(prepare ? { prepare } : {}) });
  const end = await guest.run();
  return { guest, vcpu: guest.vcpu, end };
};

describe('delivery through the IDT', () => {
  it('pushes SS, RSP, RFLAGS, CS, RIP and the error code on an aligned stack', async () => {
    const { guest, vcpu } = await go('90 488b07', ({ vcpu }) => {
      vcpu.gpr[RSP] = STACK_TOP - 4n;
      vcpu.gpr[7] = 0x123000n;
      vcpu.rflags = 0x647n;
    });
    expect(guest.stoppedIn).toBe(14);
    expect(vcpu.gpr[RSP]).toBe(STACK_TOP - 64n);
    expect(guest.stack(6)).toEqual([
      0n,
      AT + 1n,
      BigInt(Selector.code0),
      // RF: a fault's instruction is run again.
      0x10647n,
      STACK_TOP - 4n,
      BigInt(Selector.data0),
    ]);
    expect(vcpu.rflags & 0x200n).toBe(0n);
    expect(vcpu.cr2).toBe(0x123000n);
  });

  it('from CPL 3 takes RSP0 and a null SS; no error code for #UD', async () => {
    const { guest, vcpu } = await go('0f0b', (guest) => {
      user(guest);
      guest.vcpu.rflags = 0x246n;
    });
    expect(guest.stoppedIn).toBe(6);
    expect([vcpu.cpl, vcpu.segment(1).selector, vcpu.segment(2).selector]).toEqual([0, Selector.code0, 0]);
    expect(vcpu.gpr[RSP]).toBe(KERNEL_STACK - 40n);
    expect(guest.stack(5)).toEqual([AT, BigInt(Selector.code3), 0x10246n, STACK_TOP, BigInt(Selector.data3)]);
    expect(vcpu.rflags & 0x300n).toBe(0n);
  });

  it('takes IST stacks, and leaves IF alone for trap gates', async () => {
    const { guest, vcpu } = await go('0f0b', (guest) => {
      guest.setGate(6, BigInt(HANDLERS + 6 * 16), { type: 0xf, ist: 1 });
      guest.vcpu.rflags = 0x202n;
    });
    expect(vcpu.gpr[RSP]).toBe(IST1 - 40n);
    expect(vcpu.rflags).toBe(0x202n);
    expect(guest.stack(4)[3]).toBe(STACK_TOP);
  });

  it('checks the DPL of gates for INT n only', async () => {
    const first = await go('cd80', user);
    expect(first.guest.stoppedIn).toBe(13);
    expect(first.guest.stack(2)).toEqual([0x80n * 8n + 2n, AT]);
    const second = await go('cd80', (guest) => {
      user(guest);
      guest.setGate(0x80, BigInt(HANDLERS + 0x800), { dpl: 3 });
    });
    expect(second.guest.stoppedIn).toBe(0x80);
    // RIP after the instruction.
    expect(second.guest.stack(1)).toEqual([AT + 2n]);
    const int3 = await go('cc', (guest) => guest.setGate(3, BigInt(HANDLERS + 0x30), { dpl: 3 }));
    expect(int3.guest.stack(1)).toEqual([AT + 1n]);
  });

  it.each([
    ['absent', { present: false }, 11, 6 * 8 + 3],
    ['no gate', { type: 5 }, 13, 6 * 8 + 3],
    ['to a null selector', { selector: 0 }, 13, 0],
    ['to data', { selector: Selector.data0 }, 13, Selector.data0],
    ['outside the GDT', { selector: 0x100 }, 13, 0x100],
  ])('a gate that is %s raises another exception in its place', async (_what, attributes, vector, code) => {
    const { guest } = await go('0f0b', (guest) => guest.setGate(6, 0x5060n, attributes));
    expect(guest.stoppedIn).toBe(vector);
    expect(guest.stack(2)).toEqual([BigInt(code), AT]);
  });

  it('makes a double fault of two contributory exceptions, not of a benign one', async () => {
    const double = await go('0f0b 90', (guest) => {
      guest.setGate(6, 0n, { present: false });
      guest.setGate(11, 0n, { type: 5 });
    });
    expect(double.guest.stoppedIn).toBe(8);
    expect(double.guest.stack(2)).toEqual([0n, AT]);
    const serial = await go('0f0b', (guest) => guest.setGate(6, 0n, { present: false }));
    expect(serial.guest.stoppedIn).toBe(11);
  });

  it('a page fault on the stack is a page fault after #UD, a double fault after #PF, then the end', async () => {
    const noStack = (guest: TestGuest) => {
      guest.vcpu.gpr[RSP] = 0x90000n;
    };
    const one = await go('0f0b', (guest) => {
      noStack(guest);
      guest.setGate(14, BigInt(HANDLERS + 14 * 16), { ist: 1 });
    });
    expect(one.guest.stoppedIn).toBe(14);
    expect(one.vcpu.cr2 >> 12n).toBe(0x8fn);
    const two = await go('488b0425 00007000', (guest) => {
      noStack(guest);
      guest.setGate(8, BigInt(HANDLERS + 8 * 16), { ist: 1 });
    });
    expect(two.guest.stoppedIn).toBe(8);
    const three = await go('488b0425 00007000', noStack);
    expect(three.end.reason).toMatchObject({ kind: 'crash' });
    expect(three.end.report).toContain('triple fault');
  });

  it('a stack that is not canonical is no page fault', async () => {
    const { guest, vcpu } = await go('0f0b', (guest) => {
      guest.vcpu.gpr[RSP] = 0x9000_0000_0000n;
      for (const vector of [13, 14]) guest.setGate(vector, BigInt(HANDLERS + vector * 16), { ist: 1 });
      guest.vcpu.cr2 = 5n;
    });
    expect(guest.stoppedIn).toBe(13);
    expect(vcpu.cr2).toBe(5n);
  });

  it('an injected event comes before the next instruction', async () => {
    const guest = await testGuest({ code: { [CODE]: '90f4' } });
    guest.vcpu.inject(0x41);
    await guest.run();
    expect(guest.stoppedIn).toBe(0x41);
    expect(guest.stack(1)).toEqual([AT]);
  });
});

describe('single-step traps', () => {
  it('come after each instruction with DR6.BS, also those that TypeScript does', async () => {
    // nop ; cpuid ; …
    for (const [code, length] of [
      ['90', 1],
      ['0fa2', 2],
      ['0f20c0', 3],
      ['eb10', 0x12],
    ] as const) {
      const { guest, vcpu } = await go(code, ({ vcpu }) => {
        vcpu.rflags = 0x102n;
      });
      expect(guest.stoppedIn).toBe(1);
      expect(guest.stack(3)).toEqual([AT + BigInt(length), BigInt(Selector.code0), 0x102n]);
      expect(vcpu.rflags & 0x100n).toBe(0n);
      expect(vcpu.slot64(DR[6])).toBe(0xffff4ff0n);
    }
  });

  it('start with the instruction after POPF, and end with the one that clears TF', async () => {
    // push 0x102 ; popf ; nop ; …
    const { guest } = await go('6802010000 9d 90 90');
    expect(guest.stack(1)).toEqual([AT + 7n]);
    const cleared = await go('6a02 9d 90 f4', ({ vcpu }) => {
      vcpu.rflags = 2n;
    });
    expect(cleared.guest.stoppedIn).toBeUndefined();
  });

  it('do not follow an exception', async () => {
    const { guest } = await go('0f0b', ({ vcpu }) => {
      vcpu.rflags = 0x102n;
    });
    expect(guest.stoppedIn).toBe(6);
  });
});

describe('IRET', () => {
  const frame = (guest: TestGuest, ...values: (bigint | number)[]) => {
    guest.vcpu.gpr[RSP] = STACK_TOP - BigInt(values.length * 8);
    values.forEach((value, i) => guest.machine.memory.write64(Number(guest.vcpu.gpr[RSP]) + i * 8, BigInt(value)));
  };
  const TARGET = CODE + 0x100;

  it('goes to CPL 3 with its stack and flags, and drops inner data segments', async () => {
    const { guest, vcpu } = await go('48cf', (guest) => {
      guest.machine.memory.write8(TARGET, 0x0f);
      guest.machine.memory.write8(TARGET + 1, 0x0b);
      guest.vcpu.setSegment(3, { selector: Selector.data0, base: 0n, limit: 0xffffffff, accessRights: 0xc093 });
      guest.vcpu.setSegment(0, { selector: Selector.data3, base: 0n, limit: 0xffffffff, accessRights: 0xc0f3 });
      frame(guest, TARGET, Selector.code3, 0x3247, 0x1f000, Selector.data3);
    });
    expect(guest.stoppedIn).toBe(6);
    expect(guest.stack(5)).toEqual([
      BigInt(TARGET),
      BigInt(Selector.code3),
      0x13247n,
      0x1f000n,
      BigInt(Selector.data3),
    ]);
    expect([vcpu.segment(3).selector, vcpu.segment(0).selector]).toEqual([0, Selector.data3]);
  });

  it('stays at CPL 0 with a null SS', async () => {
    const { guest, vcpu } = await go('48cf', (guest) => {
      guest.machine.memory.write8(TARGET, 0xf4);
      frame(guest, TARGET, Selector.code0, 2, 0x1f000, 0);
    });
    expect(guest.stoppedIn).toBeUndefined();
    expect([vcpu.rip, vcpu.gpr[RSP], vcpu.segment(2).selector]).toEqual([BigInt(TARGET + 1), 0x1f000n, 0]);
  });

  it.each([
    ['a null CS', [TARGET, 0, 2, 0x1f000, Selector.data0], 13, 0],
    ['a null SS for CPL 3', [TARGET, Selector.code3, 2, 0x1f000, 3], 13, 0],
    ['an SS of another level', [TARGET, Selector.code3, 2, 0x1f000, Selector.data0], 13, Selector.data0],
    ['an SS that is code', [TARGET, Selector.code3, 2, 0x1f000, Selector.code3], 13, Selector.code3 & ~3],
    ['an SS outside the GDT', [TARGET, Selector.code3, 2, 0x1f000, 0x203], 13, 0x200],
    ['an SS that is absent', [TARGET, Selector.code0, 2, 0x1f000, Selector.absentData], 12, Selector.absentData],
    ['a RIP that is not canonical', [0x9000_0000_0000, Selector.code3, 2, 0x1f000, Selector.data3], 13, 0],
  ])('with %s faults and changes nothing', async (_what, values, vector, code) => {
    const { guest } = await go('48cf', (guest) => frame(guest, ...values));
    expect(guest.stoppedIn).toBe(vector);
    const [errorCode, rip, cs, , rsp, ss] = guest.stack(6);
    expect([errorCode, rip, cs, rsp, ss]).toEqual([
      BigInt(code),
      AT,
      BigInt(Selector.code0),
      STACK_TOP - 40n,
      BigInt(Selector.data0),
    ]);
  });

  it('at CPL 3 changes neither IOPL nor, above it, IF', async () => {
    const { guest } = await go('48cf', (guest) => {
      user(guest);
      guest.vcpu.rflags = 0x202n;
      guest.machine.memory.write16(TARGET, 0x0b0f);
      frame(guest, TARGET, Selector.code3, 0x3002, 0x1f000, Selector.data3);
    });
    expect(guest.stoppedIn).toBe(6);
    expect(guest.stack(3)[2]).toBe(0x10202n);
  });
});

describe('far transfers', () => {
  it('RETF to CPL 3 in every operand size', async () => {
    for (const [code, bytes] of [
      ['cb', 4],
      ['48cb', 8],
      ['66cb', 2],
    ] as const) {
      const { guest } = await go(code, ({ machine, vcpu }) => {
        machine.memory.write16(0x1000, 0x0b0f);
        vcpu.gpr[RSP] = STACK_TOP - BigInt(bytes * 4);
        [0x1000, Selector.code3, 0x8000, Selector.data3].forEach((value, i) =>
          machine.memory.write16(Number(vcpu.gpr[RSP]) + i * bytes, value),
        );
      });
      expect(guest.stoppedIn).toBe(6);
      expect(guest.stack(5)).toEqual([0x1000n, BigInt(Selector.code3), 0x10002n, 0x8000n, BigInt(Selector.data3)]);
    }
  });

  it('RETF with a bad stack changes nothing', async () => {
    const { guest } = await go('48cb', ({ machine, vcpu }) => {
      vcpu.gpr[RSP] = STACK_TOP - 32n;
      [0x1000, Selector.code3, 0x8000, 0].forEach((value, i) =>
        machine.memory.write64(Number(vcpu.gpr[RSP]) + i * 8, BigInt(value)),
      );
    });
    expect(guest.stoppedIn).toBe(13);
    expect(guest.stack(3)).toEqual([0n, AT, BigInt(Selector.code0)]);
  });

  it('JMP and CALL far through memory', async () => {
    // call far [rip+…] ; at 0x1000: hlt
    const { vcpu, guest } = await go('ff1d 10000000', ({ machine }) => {
      machine.memory.write8(0x1000, 0xf4);
      machine.memory.write32(CODE + 0x16, 0x1000);
      machine.memory.write16(CODE + 0x1a, Selector.code0);
    });
    expect(vcpu.rip).toBe(0x1001n);
    expect(vcpu.gpr[RSP]).toBe(STACK_TOP - 8n);
    expect(guest.machine.memory.read32(Number(STACK_TOP) - 8)).toBe(CODE + 6);
  });
});

describe('SYSCALL and SYSRET', () => {
  it('go to the kernel and back', async () => {
    const { guest, vcpu } = await go('0f05 0f0b', (guest) => {
      user(guest);
      const { vcpu, machine } = guest;
      vcpu.setSlot64(STAR, (0x18n << 48n) | (0x08n << 32n));
      vcpu.setSlot64(LSTAR, 0x1000n);
      vcpu.setSlot64(FMASK, 0x200n);
      vcpu.rflags = 0x246n;
      // mov eax,cs ; sysretq
      machine.memory.writeBytes(0x1000, Uint8Array.of(0x8c, 0xc8, 0x48, 0x0f, 0x07));
    });
    expect(guest.stoppedIn).toBe(6);
    expect(vcpu.gpr[RAX]).toBe(BigInt(Selector.code0));
    expect([vcpu.gpr[1], vcpu.gpr[11]]).toEqual([AT + 2n, 0x246n]);
    expect(guest.stack(5)).toEqual([AT + 2n, BigInt(Selector.code3), 0x10246n, STACK_TOP, BigInt(Selector.data3)]);
  });

  it('are undefined without EFER.SCE, and SYSRET is privileged', async () => {
    const none = await go('0f05', ({ vcpu }) => {
      vcpu.efer &= ~1n;
    });
    expect(none.guest.stoppedIn).toBe(6);
    const sysret = await go('480f07', user);
    expect(sysret.guest.stoppedIn).toBe(13);
  });
});

describe('segment loads', () => {
  const load = (selector: number, register: 'ss' | 'ds' | 'fs', prepare?: (guest: TestGuest) => void) =>
    go(
      `b8 ${[selector & 255, selector >> 8, 0, 0].map((byte) => byte.toString(16).padStart(2, '0')).join('')} 8e ${{ ss: 'd0', ds: 'd8', fs: 'e0' }[register]} f4`,
      prepare,
    );

  it.each([
    ['ds', Selector.data0, undefined],
    ['ds', 0, undefined],
    ['ss', 0, undefined],
    ['ds', Selector.data3, undefined],
    ['fs', Selector.code0, undefined],
    ['ds', Selector.absentData, [11, Selector.absentData]],
    ['ds', 0x100, [13, 0x100]],
    ['ds', Selector.tss, [13, Selector.tss]],
    ['ss', Selector.readOnly, [13, Selector.readOnly]],
    ['ss', Selector.absentData, [12, Selector.absentData]],
    ['ss', Selector.data3, [13, Selector.data3 & ~3]],
    ['ds', 0x0c, [13, 0x0c]],
  ] as const)('%s with selector %i', async (register, selector, fault) => {
    const { guest, vcpu } = await load(selector, register);
    expect(guest.stoppedIn).toBe(fault?.[0]);
    if (fault) expect(guest.stack(2)).toEqual([BigInt(fault[1]), AT + 5n]);
    else expect(vcpu.segment({ ss: 2, ds: 3, fs: 4 }[register]).selector).toBe(selector);
  });

  it('at CPL 3 refuse inner data and a null SS', async () => {
    for (const [register, selector, code] of [
      ['ds', Selector.data0, Selector.data0],
      ['ss', 3, 0],
    ] as const) {
      const { guest } = await load(selector, register, user);
      expect(guest.stoppedIn).toBe(13);
      expect(guest.stack(1)).toEqual([BigInt(code)]);
    }
  });

  it('LTR and LLDT check their descriptors', async () => {
    const ltr = (selector: number) => go(`66b8 ${selector.toString(16).padStart(2, '0')}00 0f00d8 f4`);
    expect((await ltr(Selector.tss)).vcpu.tables.tr).toMatchObject({
      selector: Selector.tss,
      base: BigInt(TSS),
      limit: 0x67,
    });
    // It is busy now, and cannot be loaded again.
    const again = await go('66b83000 0f00d8 0f00d8 f4');
    expect(again.guest.stoppedIn).toBe(13);
    expect(again.guest.stack(2)).toEqual([BigInt(Selector.tss), AT + 7n]);
    expect(again.guest.machine.memory.read8(GDT + 0x35)).toBe(0x8b);
    expect((await ltr(Selector.data0)).guest.stoppedIn).toBe(13);
    const absent = await go('66b83000 0f00d8 f4', ({ machine }) => machine.memory.write8(GDT + 0x35, 0x09));
    expect(absent.guest.stoppedIn).toBe(11);
    // The LDT's descriptor has its upper half outside the GDT.
    const lldt = await go('66b85000 0f00d0 f4');
    expect(lldt.guest.stoppedIn).toBe(13);
  });
});

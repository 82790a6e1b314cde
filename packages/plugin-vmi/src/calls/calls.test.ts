import { describe, expect, it } from 'vitest';
import { ROM_AREA } from '../rom/header.ts';
import { FakeGuest } from '../testing/fake-guest.ts';

const TSS = 0x30000;
const flat = { selector: 0x28, base: BigInt(TSS), limit: 0x67, accessRights: 0x8b };

describe('the ROM', () => {
  it('is put where kernels look for it, for a guest of the PC alone', () => {
    const guest = new FakeGuest();
    expect(guest.machine.memory.read16(ROM_AREA.first)).toBe(0xaa55);
    expect(guest.host.logged[0].message).toContain('ROM Polyvisor trap, API 3.0, version 1.1');
    guest.machine.memory.write16(ROM_AREA.first, 0);
    guest.boot('xen');
    expect(guest.machine.memory.read16(ROM_AREA.first)).toBe(0);
  });

  it('is where calls come from: VMCALL elsewhere, at CPL 3 and in 64-bit code is what it always is', () => {
    const guest = new FakeGuest();
    expect(guest.trap(ROM_AREA.first - 1)).toBe('pass');
    expect(guest.trap(ROM_AREA.first + 1536)).toBe('pass');
    expect(guest.trap(2 ** 32 + ROM_AREA.first)).toBe('pass');
    guest.vcpu.cpl = 3;
    expect(guest.call('IODelay')).toBe('pass');
    guest.vcpu.cpl = 0;
    expect(guest.call('IODelay')).toBe('handled');
  });

  it('may be mapped anywhere', () => {
    const offset = 0xc0000000n;
    const guest = new FakeGuest({ translate: (gva) => Number(gva & 0xffffffn) });
    guest.call('IODelay');
    expect(guest.trap(Number(offset) + ROM_AREA.first + 2)).toBe('handled');
    expect(guest.trap(Number(offset) + ROM_AREA.first + 4096)).toBe('pass');
  });

  it('is gone with its guest', () => {
    const guest = new FakeGuest();
    guest.call('SetAlarm', { edx: 1000 });
    guest.host.call('shutdown', { kind: 'poweroff' });
    expect(guest.call('IODelay')).toBe('pass');
    guest.machine.clock.advance(1e9);
    expect(guest.machine.timerInterrupts).toBe(0);
  });
});

describe('calls', () => {
  it('end the machine', () => {
    for (const [call, eax, ended] of [
      ['Reboot', 0, { kind: 'reboot' }],
      ['Reboot', 1, { kind: 'reboot' }],
      ['Reboot', 2, undefined],
      ['Shutdown', 0, { kind: 'poweroff' }],
    ] as const) {
      const guest = new FakeGuest();
      guest.call(call, { eax });
      expect(guest.machine.ended).toEqual(ended);
    }
  });

  it('of numbers that there are not are undefined opcodes', () => {
    const guest = new FakeGuest();
    for (const number of [49, 60, 72, 74, 126, 128, 0xffffffff]) expect(guest.call(number)).toEqual({ fault: 6 });
  });

  it('whose arguments are on no page raise the page fault', () => {
    const guest = new FakeGuest();
    const where = 0xfff00000;
    const fault = { fault: 14, errorCode: 2, cr2: BigInt(where) };
    expect(guest.call('SetPxE', { edx: where, ecx: 1 })).toEqual(fault);
    expect(guest.call('WriteGDTEntry', { eax: where })).toEqual(fault);
    guest.vcpu.gpr[4] = BigInt(where);
    expect(guest.trap(ROM_AREA.first)).toEqual({ ...fault, errorCode: 0 });
  });

  it('write SS0 and ESP0 of a 32-bit TSS alone', () => {
    const guest = new FakeGuest();
    guest.machine.memory.write32(TSS + 8, 0xabcd0000);
    guest.call('UpdateKernelStack', { eax: 0x10, edx: 0x1234 });
    expect(guest.counter('refused.UpdateKernelStack')).toBe(1);
    guest.vcpu.tables.tr = flat;
    guest.call('UpdateKernelStack', { eax: 0x10, edx: 0x1234 });
    expect([guest.machine.memory.read32(TSS + 4), guest.machine.memory.read32(TSS + 8)]).toEqual([0x1234, 0xabcd0010]);
    guest.vcpu.tables.tr = { ...flat, limit: 8 };
    guest.call('UpdateKernelStack', { eax: 0x10, edx: 0x5678 });
    expect(guest.counter('refused.UpdateKernelStack')).toBe(2);
  });

  it('of the TLB flush what they name', () => {
    const guest = new FakeGuest();
    guest.call('InvalPage', { eax: 0xc0001000 });
    guest.call('FlushTLB', { eax: 3 });
    guest.call('FlushTLB', { eax: 1 });
    guest.call('FlushTLB', { eax: 8 });
    expect(guest.vcpu.flushes).toEqual([0xc0001000n, undefined]);
    expect(guest.counter('refused.FlushTLB')).toBe(1);
  });
});

describe('updates that wait', () => {
  const WAITS = 0x31;

  it('happen in their order, when 1,025 have come at the latest', () => {
    const guest = new FakeGuest();
    for (let i = 0; i < 1024; i++) guest.call('SetPxE', { eax: i, edx: 0x1000 + (i % 4) * 4, ecx: WAITS });
    expect(guest.machine.memory.read32(0x1000)).toBe(0);
    guest.call('SetPxE', { eax: 5000, edx: 0x1000, ecx: WAITS });
    expect([0, 4, 8, 12].map((at) => guest.machine.memory.read32(0x1000 + at))).toEqual([1020, 1021, 1022, 1023]);
    guest.call('SetCR3');
    expect(guest.machine.memory.read32(0x1000)).toBe(5000);
  });

  it('come before one that does not wait, and need the current address space', () => {
    const guest = new FakeGuest();
    guest.call('SetPxELong', { eax: 1, edx: 2, ecx: 0x2000, stack: [WAITS] });
    expect(guest.machine.memory.read64(0x2000)).toBe(0n);
    guest.call('SetPxELong', { eax: 3, edx: 4, ecx: 0x2008, stack: [0x21] });
    expect([guest.machine.memory.read64(0x2000), guest.machine.memory.read64(0x2008)]).toEqual([
      0x2_0000_0001n,
      0x4_0000_0003n,
    ]);
  });
});

describe('alarms', () => {
  const PERIODIC = 0x100;
  const LVTT = 0x10000;

  it('come once or again and again, where they are wired to', () => {
    const guest = new FakeGuest();
    guest.call('SetAlarm', { eax: 0, edx: 1000 });
    guest.call('SetAlarm', { eax: 1 | PERIODIC | LVTT, edx: 50_000, stack: [30_000, 0] });
    guest.machine.clock.advance(1000);
    expect(guest.machine.timerInterrupts).toBe(1);
    guest.machine.clock.advance(109_000);
    expect([guest.machine.timerInterrupts, guest.vcpu.localTimerInterrupts]).toEqual([1, 3]);
    guest.call('CancelAlarm', { eax: 1 });
    guest.machine.clock.advance(1e6);
    expect([guest.vcpu.localTimerInterrupts, guest.machine.clock.pending]).toEqual([3, 0]);
  });

  it('come no more often than every 20 microseconds', () => {
    const guest = new FakeGuest();
    guest.call('SetAlarm', { eax: PERIODIC, stack: [1, 0] });
    guest.machine.clock.advance(200_000);
    expect(guest.machine.timerInterrupts).toBe(11);
  });

  it('of a counter replace each other, and those at the end of time never come', () => {
    const guest = new FakeGuest();
    guest.call('SetAlarm', { edx: 1000 });
    guest.call('SetAlarm', { edx: 0xffffffff, ecx: 0xffffffff });
    guest.machine.clock.advance(1e9);
    expect([guest.machine.timerInterrupts, guest.machine.clock.pending]).toEqual([0, 0]);
  });
});

import { describe, expect, it } from 'vitest';
import { boot, hypercall } from '../testing/guest.ts';
import { takeDebugStatus } from './debugRegisters.ts';

const SET = 8;
const GET = 9;
const EPERM = -1n;
const EINVAL = -22n;
const ENODEV = -19n;
const WATCH_0_WRITES_4 = 0xd0002n;
const WATCH_0_PORT = 0x20002n;
const DR6_RESET = 0xffff0ff0n;

describe('debug registers', () => {
  it('are the processor’s where they say what to watch', () => {
    const guest = boot();
    expect([hypercall(guest, SET, 0, 0x1234), hypercall(guest, SET, 3, 0x5678)]).toEqual([0n, 0n]);
    expect(hypercall(guest, SET, 7, WATCH_0_WRITES_4)).toBe(0n);
    expect([0, 3, 7].map((index) => guest.cpu.debugRegister(index as 0 | 3 | 7))).toEqual([
      0x1234n,
      0x5678n,
      WATCH_0_WRITES_4 | 0x400n,
    ]);
    expect(hypercall(guest, GET, 7)).toBe(WATCH_0_WRITES_4 | 0x400n);
  });

  it('what Xen refuses leaves both as they were', () => {
    const guest = boot();
    hypercall(guest, SET, 7, WATCH_0_WRITES_4);
    const refused = [
      [8, 0n, ENODEV],
      [0, 0xffff_8000_0000_0000n, EPERM],
      [7, 1n << 32n, EINVAL],
      [7, 0x2000n, EPERM],
      // A breakpoint at a port without CR4.DE; one that is not active does not matter.
      [7, WATCH_0_PORT, EPERM],
      [7, WATCH_0_WRITES_4 | (2n << 28n), EPERM],
    ] as const;
    for (const [register, value, error] of refused) expect(hypercall(guest, SET, register, value)).toBe(error);
    expect([guest.cpu.debugRegister(0), guest.cpu.debugRegister(7)]).toEqual([0n, WATCH_0_WRITES_4 | 0x400n]);
    expect(hypercall(guest, SET, 7, WATCH_0_PORT & ~0xffn)).toBe(0n);
  });

  it('a #DB adds to DR6 what the processor says, and takes away older breakpoints alone', () => {
    const { cpu } = boot();
    const debugRegisters = BigUint64Array.from([0n, 0n, 0n, 0n, 0n, 0n, DR6_RESET | 0x4002n, 0x400n]);
    const vcpu = { cpu, debugRegisters } as unknown as Parameters<typeof takeDebugStatus>[0];
    cpu.setDebugRegister(6, DR6_RESET | 1n);
    expect([takeDebugStatus(vcpu), debugRegisters[6]]).toEqual([true, DR6_RESET | 0x4001n]);
    expect([cpu.debugRegister(6), takeDebugStatus(vcpu), debugRegisters[6]]).toEqual([
      DR6_RESET,
      false,
      DR6_RESET | 0x4001n,
    ]);
    cpu.setDebugRegister(6, DR6_RESET | 0x4000n);
    expect(takeDebugStatus(vcpu)).toBe(false);
  });
});

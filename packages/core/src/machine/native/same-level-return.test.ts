import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import { Flag } from '../../isa/flags.ts';
import { enter, GDT, Selector, STACK_TOP, type TestGuest, testGuest } from '../testing/test-guest.ts';
import { interruptReturn } from './returns.ts';
import { returnToSameLevel } from './same-level-return.ts';

const RSP = 4;
const FRAME = STACK_TOP - 0x100n;

let guest: TestGuest;
beforeAll(async () => {
  guest = await testGuest({ code: {} });
});

const state = () => {
  const { vcpu } = guest;
  return [
    vcpu.rip,
    vcpu.rflags,
    [...vcpu.gpr],
    vcpu.cpl,
    vcpu.engine.mode,
    [0, 1, 2, 3, 4, 5].map((i) => vcpu.segment(i)),
  ];
};
/** Registers as before the IRET, at this level, with a frame on the stack. */
function prepare(cpl: 0 | 3, frame: readonly bigint[], rflags: bigint): void {
  const { vcpu } = guest;
  enter(vcpu, cpl);
  vcpu.gpr[RSP] = FRAME;
  vcpu.rip = 0x10000n;
  vcpu.rflags = rflags;
  guest.machine.memory.writeBytes(Number(FRAME), new Uint8Array(BigUint64Array.from(frame).buffer));
}

const selector = fc.constantFrom(...Object.values(Selector), 0, 3, 0x0b, 0x2c, 0x9998);
const flags = fc.bigInt({ min: 0n, max: 0x3fffffn });
const address = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 47n - 1n }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));

it('is the general IRET wherever it answers, and it does for plain returns', () => {
  let taken = 0;
  const both = (cpl: 0 | 3, frame: bigint[], rflags: bigint) => {
    prepare(cpl, frame, rflags);
    const before = state();
    const done = returnToSameLevel(guest.vcpu);
    const fast = state();
    if (!done) return expect(fast).toEqual(before);
    taken++;
    prepare(cpl, frame, rflags);
    expect(interruptReturn(guest.vcpu, 64, 0x10002n)).toBeUndefined();
    expect(fast).toEqual(state());
  };
  fc.assert(
    fc.property(
      fc.constantFrom<0 | 3>(0, 3),
      fc.boolean(),
      fc.tuple(address, selector, flags, address, selector),
      flags,
      (cpl, plain, [rip, cs, image, rsp, ss], rflags) => {
        const own = cpl === 0 ? [Selector.code0, Selector.data0] : [Selector.code3, Selector.data3];
        const [code, stack] = plain ? own : [cs, ss];
        both(cpl, [rip, BigInt(code), image, rsp, BigInt(stack)], rflags & ~(1n << 17n));
      },
    ),
    { numRuns: 400 },
  );
  expect(taken).toBeGreaterThan(20);
});

it('leaves it to the general one when RFLAGS has NT or VM', () => {
  const frame = [0x10002n, BigInt(Selector.code0), 2n, STACK_TOP, BigInt(Selector.data0)];
  for (const flag of [Flag.NT, Flag.VM]) {
    prepare(0, frame, BigInt(flag) | 2n);
    expect(returnToSameLevel(guest.vcpu)).toBe(false);
  }
});

it('leaves it to the general one when a descriptor is no longer what is loaded', () => {
  const { memory } = guest.machine;
  const frame = [0x10002n, BigInt(Selector.code0), 2n, STACK_TOP, BigInt(Selector.data0)];
  for (const table of [Selector.code0, Selector.data0]) {
    prepare(0, frame, 2n);
    const descriptor = memory.read64(GDT + table);
    // Without P; with another limit.
    for (const changed of [descriptor & ~(1n << 47n), descriptor ^ 1n]) {
      memory.write64(GDT + table, changed);
      expect(returnToSameLevel(guest.vcpu)).toBe(false);
    }
    memory.write64(GDT + table, descriptor);
    expect(returnToSameLevel(guest.vcpu)).toBe(true);
  }
});

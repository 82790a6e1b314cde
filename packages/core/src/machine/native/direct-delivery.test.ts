/** Deliveries by the short way: where it is taken, everything visible is as by the rules at length. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { flat, KERNEL_STACK32, protectedGuest, Selector32, setGate32 } from '../testing/legacy-guest.ts';
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
import type { Delivery } from './answer.ts';
import { deliverLong } from './delivery.ts';
import { deliverProtected } from './delivery-protected.ts';

const RSP = 4;
const SS = 2;
const VECTOR = 14;
const STACK = Number(STACK_TOP) - 0x100;

interface State {
  readonly cpl: 0 | 3;
  readonly flags: number;
  readonly esp: number;
  readonly errorCode: number | undefined;
  readonly software: boolean;
  readonly gateType: number;
  readonly gateDpl: number;
  readonly codeSelector: number;
  readonly stackSelector: number;
  readonly esp0: number;
  /** Of the IDT, the GDT and the TSS. */
  readonly limits: readonly [number, number, number];
  readonly wideTss: boolean;
  readonly smallStack: boolean;
  /** Of the GDT's code and data segments of level 0: what their second words are XORed with. */
  readonly changed: number;
}
const PLAIN: State = {
  ...{ cpl: 3, flags: 0x246, esp: STACK, errorCode: 7, software: false, gateType: 0xe, gateDpl: 3 },
  ...{ codeSelector: Selector32.code0, stackSelector: Selector32.data0, esp0: Number(KERNEL_STACK32) },
  ...{ limits: [0x7ff, 0x6f, 0x67], wideTss: true, smallStack: false, changed: 0 },
};

function place(guest: TestGuest, state: State): void {
  const { machine, vcpu } = guest;
  const { memory } = machine;
  setGate32(guest, VECTOR, HANDLERS + 0x1_0000, {
    ...{ type: state.gateType, dpl: state.gateDpl, selector: state.codeSelector },
  });
  const [idtLimit, gdtLimit, tssLimit] = state.limits;
  vcpu.tables.idtr.limit = idtLimit;
  vcpu.tables.gdtr.limit = gdtLimit;
  vcpu.tables.tr = { ...vcpu.tables.tr, limit: tssLimit, accessRights: state.wideTss ? 0x8b : 0x83 };
  memory.write32(TSS + 4, state.esp0);
  memory.write32(TSS + 8, state.stackSelector | 0x5a5a_0000);
  for (const selector of [Selector32.code0, Selector32.data0])
    memory.write32(GDT + selector + 4, memory.read32(GDT + selector + 4) ^ state.changed);
  flat(guest, state.cpl);
  if (state.smallStack) vcpu.setSegment(SS, { ...vcpu.segment(SS), limit: STACK - 1 });
  vcpu.gpr[RSP] = BigInt(state.esp);
  vcpu.rflags = BigInt(state.flags);
}

function seen({ machine, vcpu }: TestGuest) {
  const words = (at: number) => Array.from({ length: 12 }, (_, i) => machine.memory.read32(at - 32 + i * 4));
  return {
    ...{ rip: vcpu.rip, rflags: vcpu.rflags, gpr: [...vcpu.gpr], cpl: vcpu.cpl, mode: vcpu.engine.mode },
    segments: [0, 1, 2, 3, 4, 5].map((index) => vcpu.segment(index)),
    stacks: [words(STACK), words(Number(KERNEL_STACK32)), words(0x40)],
    mayRead: vcpu.translate(0x8000n, 'read').ok,
  };
}

async function run(state: State, way: 'directly' | 'at length') {
  const guest = await protectedGuest('f4', (made) => place(made, state));
  const { errorCode, software } = state;
  const event: Delivery = { vector: VECTOR, errorCode, software, needsIopl: false };
  const before = seen(guest);
  if (way === 'at length')
    return { taken: deliverProtected(guest.vcpu, event) === undefined, before, after: seen(guest) };
  return { taken: guest.vcpu.enterEvent(VECTOR, errorCode, software), before, after: seen(guest) };
}

describe('deliveries in 32-bit code', () => {
  it.each<[string, Partial<State>]>([
    ['an exception of level 3', {}],
    ['an exception of level 0', { cpl: 0 }],
    ['an interrupt, through a trap gate', { errorCode: undefined, gateType: 0xf }],
    ['INT n of level 3', { errorCode: undefined, software: true }],
    ['code that cannot be read, at level 0', { cpl: 0, changed: 1 << 9 }],
  ])('%s goes the short way', async (_what, part) => {
    const state = { ...PLAIN, ...part };
    const direct = await run(state, 'directly');
    expect(direct.taken).toBe(true);
    expect(direct.after).toEqual((await run(state, 'at length')).after);
  });

  const rarely = <T>(usual: T, ...others: readonly T[]) =>
    fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
  const selector = fc.constantFrom(...Object.values(Selector32), 0, 3, 0x0b, 0x0c, 0x9998);
  const anyState = fc.record<State>({
    cpl: fc.constantFrom(0, 3),
    flags: fc.oneof(
      fc.constantFrom(0x2, 0x246),
      fc.integer({ min: 0, max: 0x3fffff }).map((image) => image & ~0x2_0000),
    ),
    esp: rarely(STACK, STACK + 1, 8, 0, 0x4c),
    errorCode: fc.constantFrom(7, undefined),
    software: fc.boolean(),
    gateType: rarely(0xe, 0xf, 0x6, 0x7, 0xc, 0x1e),
    gateDpl: fc.constantFrom(0, 3),
    codeSelector: fc.oneof(
      { weight: 9, arbitrary: fc.constant<number>(Selector32.code0) },
      { weight: 1, arbitrary: selector },
    ),
    stackSelector: fc.oneof(
      { weight: 9, arbitrary: fc.constant<number>(Selector32.data0) },
      { weight: 1, arbitrary: selector },
    ),
    esp0: rarely(Number(KERNEL_STACK32), Number(KERNEL_STACK32) + 2, 12, 0, 0x58),
    limits: rarely<State['limits']>(
      [0x7ff, 0x6f, 0x67],
      [0x76, 0x6f, 0x67],
      [0x7ff, 0x0e, 0x67],
      [0x7ff, 0x6f, 8],
      [0x7ff, 0x6f, 9],
    ),
    wideTss: rarely(true, false),
    smallStack: rarely(false, true),
    changed: fc.oneof(
      fc.constant(0),
      fc.constant(0),
      fc.constantFrom(8, 9, 10, 11, 12, 13, 15, 16, 20, 22, 23, 31).map((bit) => (1 << bit) | 0),
    ),
  });
  it('are the same in any state, or nothing has changed', async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(anyState, async (state) => {
        const direct = await run(state, 'directly');
        const whole = direct.taken ? await run(state, 'at length') : { taken: true, after: direct.before };
        if (direct.taken) taken++;
        expect([whole.taken, direct.after]).toEqual([true, whole.after]);
      }),
      { numRuns: 150 },
    );
    expect(taken).toBeGreaterThan(40);
  });
});

interface State64 {
  readonly cpl: 0 | 3;
  readonly smap: boolean;
  readonly flags: number;
  readonly rsp: bigint;
  readonly event: Delivery;
  readonly gate: { type: number; dpl: number; ist: number; selector: number; present: boolean };
  /** Of the IDT, the GDT and the TSS. */
  readonly limits: readonly [number, number, number];
  /** RSP0 and IST1. */
  readonly stacks: readonly [bigint, bigint];
  /** Of the GDT's code segment of level 0: what its upper word is XORed with. */
  readonly changed: number;
  readonly offset: bigint;
}
const FAULT: Delivery = { vector: VECTOR, errorCode: 7, software: false, needsIopl: false };
const RSP64 = STACK_TOP - 0x100n;
const PLAIN64: State64 = {
  ...{ cpl: 3, smap: false, flags: 0x246, rsp: RSP64, event: FAULT },
  gate: { type: 0xe, dpl: 3, ist: 0, selector: Selector.code0, present: true },
  ...{ limits: [0xfff, 0x57, 0x67], stacks: [KERNEL_STACK, IST1], changed: 0, offset: 0xffff_8880_1234_5678n },
};
const CR4_SMAP = 1n << 21n;

function place64(guest: TestGuest, state: State64): void {
  const { machine, vcpu } = guest;
  const { memory } = machine;
  guest.setGate(state.event.vector, state.offset, state.gate);
  const [idt, gdt, tss] = state.limits;
  vcpu.tables.idtr.limit = idt;
  vcpu.tables.gdtr.limit = gdt;
  vcpu.tables.tr = { ...vcpu.tables.tr, limit: tss };
  memory.write64(TSS + 4, state.stacks[0]);
  memory.write64(TSS + 36, state.stacks[1]);
  memory.write32(GDT + Selector.code0 + 4, memory.read32(GDT + Selector.code0 + 4) ^ state.changed);
  if (state.smap) vcpu.cr4 |= CR4_SMAP;
  enter(vcpu, state.cpl);
  vcpu.gpr[RSP] = state.rsp;
  vcpu.rflags = BigInt(state.flags);
}

function seen64({ machine, vcpu }: TestGuest) {
  const words = (at: bigint) => Array.from({ length: 10 }, (_, i) => machine.memory.read64(Number(at) - 64 + i * 8));
  return {
    ...{ rip: vcpu.rip, rflags: vcpu.rflags, gpr: [...vcpu.gpr], cpl: vcpu.cpl, mode: vcpu.engine.mode },
    segments: [0, 1, 2, 3, 4, 5].map((index) => vcpu.segment(index)),
    stacks: [RSP64, KERNEL_STACK, IST1].map(words),
    mayRead: vcpu.translate(0x8000n, 'read').ok,
  };
}

async function run64(state: State64, way: 'directly' | 'at length') {
  const guest = await testGuest({ code: { [CODE]: 'f4' }, prepare: (made) => place64(made, state) });
  const { event } = state;
  const before = seen64(guest);
  const taken =
    way === 'at length'
      ? deliverLong(guest.vcpu, event) === undefined
      : guest.vcpu.enterEvent(event.vector, event.errorCode, event.software);
  return { taken, before, after: seen64(guest) };
}

describe('deliveries in 64-bit mode', () => {
  it.each<[string, Partial<State64>]>([
    ['an exception of level 3', {}],
    ['an exception of level 0', { cpl: 0 }],
    ['one with AC set under SMAP', { cpl: 0, smap: true, flags: 0x40246 }],
    ['one on an interrupt stack', { gate: { ...PLAIN64.gate, ist: 1 } }],
    ['an interrupt, through a trap gate', { event: { ...FAULT, vector: 0x80, errorCode: undefined } }],
    ['INT n of level 3', { event: { ...FAULT, vector: 0x2e, errorCode: undefined, software: true } }],
  ])('%s goes the short way', async (_what, part) => {
    const state = { ...PLAIN64, ...part };
    const direct = await run64(state, 'directly');
    expect(direct.taken).toBe(true);
    expect(direct.after).toEqual((await run64(state, 'at length')).after);
  });

  const mostly = <T>(usual: T, ...others: readonly T[]) =>
    fc.oneof({ weight: 14, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
  const anyStack = (usual: bigint) => mostly(usual, usual + 8n, usual + 0x30n, 0x20n, 0n, 0x7f_f000n, 1n << 63n);
  const anyState = fc.record<State64>({
    cpl: fc.constantFrom(0, 3),
    smap: fc.boolean(),
    flags: fc.oneof(
      fc.constantFrom(0x2, 0x246, 0x40202),
      fc.integer({ min: 0, max: 0x3fffff }).map((image) => image & ~0x2_0000),
    ),
    rsp: anyStack(RSP64),
    event: fc.record({
      vector: fc.constantFrom(...[0, 1, 2, 3, 6, 8, 13, VECTOR, 17, 19, 32, 46, 255]),
      errorCode: fc.constantFrom(7, 0, undefined),
      software: fc.boolean(),
      needsIopl: fc.constant(false),
    }),
    gate: fc.record({
      type: mostly(0xe, 0xf, 0xc, 0x6, 0x1e),
      dpl: fc.constantFrom(0, 3),
      ist: mostly(0, 1, 2, 7),
      selector: mostly<number>(Selector.code0, ...Object.values(Selector), 0, 3, 0x0b, 0x0c, 0x9998),
      present: mostly(true, false),
    }),
    limits: mostly<State64['limits']>(
      PLAIN64.limits,
      [0xee, 0x57, 0x67],
      [0xfff, 0x0e, 0x67],
      [0xfff, 0x57, 10],
      [0xfff, 0x57, 11],
    ),
    stacks: fc.tuple(anyStack(KERNEL_STACK), anyStack(IST1)),
    changed: fc.oneof(
      fc.constant(0),
      fc.constant(0),
      fc.constantFrom(8, 9, 10, 11, 12, 13, 15, 16, 20, 21, 22, 23, 31).map((bit) => (1 << bit) | 0),
    ),
    offset: mostly(PLAIN64.offset, 0x5000n, 0x8000_0000n),
  });
  it('are the same in any state, or nothing has changed', async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(anyState, async (state) => {
        const direct = await run64(state, 'directly');
        const whole = direct.taken ? await run64(state, 'at length') : { taken: true, after: direct.before };
        if (direct.taken) taken++;
        expect([whole.taken, direct.after]).toEqual([true, whole.after]);
      }),
      { numRuns: 200 },
    );
    expect(taken).toBeGreaterThan(40);
  });
});

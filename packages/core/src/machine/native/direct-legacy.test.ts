/** Segment loads, IRETD, SYSENTER and SYSEXIT of 32-bit code that generated code carries out by itself: everything visible is as with the exit. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP } from '../../cpu/state.ts';
import { descriptor, protectedGuest, Selector32 } from '../testing/legacy-guest.ts';
import { CODE, GDT, STACK_TOP, type TestGuest } from '../testing/test-guest.ts';
import { nullSegment } from './segments.ts';

const [RAX, RCX, RDX, RSP] = [0, 1, 2, 4];
const [ES, CS, SS, DS, FS, GS] = [0, 1, 2, 3, 4, 5];
const FRAME = STACK_TOP - 0x100n;
const TARGET = CODE + 0x100;
const INTERRUPT = 0x40;

/** Behind those of {@link Selector32}. */
const Own = {
  code1: 0x71,
  data1: 0x79,
  based0: 0x80,
  based3: 0x8b,
  wide16: 0x90,
  absent: 0x98,
  notFlat: 0xa3,
} as const;
const DESCRIPTORS: Readonly<Record<number, bigint>> = {
  112: descriptor(0, 0xfffff, 0xc0bb),
  120: descriptor(0, 0xfffff, 0xc0b2),
  128: descriptor(0x12345000, 0xfffff, 0xc092),
  136: descriptor(0xfedcb000, 0xfffff, 0xd0f3),
  144: descriptor(0, 0xfffff, 0x8093),
  152: descriptor(0, 0xfffff, 0xc013),
  160: descriptor(0x1000, 0xfffff, 0xc0fb),
};
const GDT_LIMIT = 0xa7;
const HIDDEN_LIMIT = 0x6f;

const INSTRUCTIONS = {
  'mov es': '8ec0',
  'mov ss': '8ed0',
  'mov ds': '8ed8',
  'mov fs': '8ee0',
  'mov gs': '8ee8',
  'pop es': '07',
  'pop ss': '17',
  'pop ds': '1f',
  'pop fs': '0fa1',
  'pop gs, of 16 bits': '660fa9',
  iret: 'cf',
  'iret of 16 bits': '66cf',
  sysenter: '0f34',
  sysexit: '0f35',
} as const;
type Name = keyof typeof INSTRUCTIONS;
const names = Object.keys(INSTRUCTIONS) as Name[];

interface State {
  readonly name: Name;
  readonly cpl: 0 | 1 | 3;
  /** Loaded, popped, or on top of the frame's selectors. */
  readonly selector: number;
  readonly cs: number;
  readonly ss: number;
  readonly flags: number;
  readonly image: number;
  /** What DS and ES hold; those that are not flat make the mode seg32. */
  readonly data: 'flat' | 'small' | 'null';
  readonly free: 'null' | 'inner' | 'outer';
  readonly smallStack: boolean;
  readonly hidden: boolean;
  readonly waits: boolean;
  /** IA32_SYSENTER_CS. */
  readonly sysenterCs: number;
}
const PLAIN: State = {
  ...{ name: 'iret', cpl: 0, selector: Selector32.data3, cs: Selector32.code3, ss: Selector32.data3 },
  ...{ flags: 2, image: 0x202, data: 'flat', free: 'null', smallStack: false, hidden: false, waits: false },
  sysenterCs: Selector32.code0,
};
const OF_LEVEL = { 0: [Selector32.code0, Selector32.data0], 1: [Own.code1, Own.data1], 3: [0x1b, 0x23] } as const;

function place({ machine, vcpu }: TestGuest, state: State): void {
  const { memory } = machine;
  for (const [at, bits] of Object.entries(DESCRIPTORS)) memory.write64(GDT + Number(at), bits);
  const words = Array.from({ length: (GDT_LIMIT + 1) / 4 }, (_, i) => memory.read32(GDT + i * 4));
  vcpu.tables.gdtr.limit = state.hidden ? HIDDEN_LIMIT + 0x38 : GDT_LIMIT;
  if (state.hidden) {
    vcpu.hiddenGdt = Int32Array.from(words);
    memory.fill(GDT, GDT_LIMIT + 1, 0);
  }
  const frame =
    state.name === 'iret of 16 bits'
      ? [(state.cs << 16) | (TARGET & 0xffff), (0x4000 << 16) | (state.image & 0xffff), state.ss]
      : [TARGET, state.cs | 0x5a5a_0000, state.image, Number(STACK_TOP) - 0x800, state.ss | 0x1234_0000];
  const shown = state.name.startsWith('pop') ? [state.selector | 0x7777_0000, ...frame.slice(1)] : frame;
  shown.forEach((word, i) => {
    memory.write32(Number(FRAME) + i * 4, word);
  });
  const [code, data] = OF_LEVEL[state.cpl];
  const dpl = state.cpl << 5;
  const segment = { base: 0n, limit: 0xffff_ffff };
  vcpu.setSegment(CS, { ...segment, selector: code, accessRights: 0xc09b | dpl });
  const stack = { ...segment, selector: data, accessRights: 0xc093 | dpl };
  vcpu.setSegment(SS, state.smallStack ? { ...stack, limit: Number(FRAME) + 7 } : stack);
  const outer = { ...segment, selector: Selector32.data3, accessRights: 0xc0f3 };
  const small = { ...outer, limit: 0xfff };
  for (const index of [ES, DS])
    vcpu.setSegment(index, state.data === 'flat' ? outer : state.data === 'small' ? small : nullSegment());
  const inner = { ...segment, selector: Selector32.data0, accessRights: 0xc093 };
  for (const index of [FS, GS])
    vcpu.setSegment(index, state.free === 'null' ? nullSegment() : state.free === 'inner' ? inner : outer);
  vcpu.cpl = state.cpl;
  vcpu.gpr[RAX] = BigInt(state.selector) | 0xabcd_0000n;
  vcpu.gpr[RCX] = STACK_TOP - 0x800n;
  vcpu.gpr[RDX] = BigInt(TARGET);
  vcpu.setSlot64(SYSENTER_CS, BigInt(state.sysenterCs));
  vcpu.setSlot64(SYSENTER_ESP, STACK_TOP - 0x400n);
  vcpu.setSlot64(SYSENTER_EIP, BigInt(TARGET));
  vcpu.gpr[RSP] = FRAME;
  vcpu.rflags = BigInt(state.flags);
  if (state.waits) vcpu.externalInterrupt = () => INTERRUPT;
}

async function run(state: State, exits?: 'all', regions: Parameters<typeof protectedGuest>[2] = false) {
  const code = `${INSTRUCTIONS[state.name]}40f4`;
  const guest = await protectedGuest(code, (made) => place(made, state), regions, exits);
  guest.machine.memory.writeBytes(TARGET, Uint8Array.of(0x40, 0xf4));
  await guest.run();
  return guest;
}

/** All that software, or the next access, could tell. */
function seen({ machine, vcpu }: TestGuest) {
  const words = (at: number) => Array.from({ length: 24 }, (_, i) => machine.memory.read32(at - 48 + i * 4));
  return {
    rip: vcpu.rip,
    rflags: vcpu.rflags,
    gpr: [...vcpu.gpr],
    cpl: vcpu.cpl,
    mode: vcpu.engine.mode,
    segments: [ES, CS, SS, DS, FS, GS].map((index) => vcpu.segment(index)),
    stacks: [words(0x22000), words(Number(STACK_TOP)), words(Number(FRAME)), words(Number(STACK_TOP) - 0x800)],
  };
}
const leftFor = ({ machine }: TestGuest, kind: string) => machine.stats()[`exit.${kind}`] ?? 0;
const kindOf = (name: Name) =>
  name.startsWith('sys')
    ? name
    : name.startsWith('iret')
      ? 'iret'
      : name.startsWith('pop')
        ? 'native.popSegment'
        : 'native.loadSegment';

describe('segment loads, returns and fast calls in 32-bit code', () => {
  it.each<[string, Partial<State>]>([
    ['MOV to DS', { name: 'mov ds' }],
    ['MOV to ES of this level', { name: 'mov es', selector: Selector32.data0 }],
    ['MOV of null to GS', { name: 'mov gs', selector: 3 }],
    ['MOV to FS with a base', { name: 'mov fs', selector: Own.based0 }],
    ['MOV to DS from a hidden table', { name: 'mov ds', cpl: 3, hidden: true }],
    ['POP to DS at level 1', { name: 'pop ds', cpl: 1, selector: Own.data1 }],
    [
      'POP of 16 bits to GS with a base, in segmented code',
      { name: 'pop gs, of 16 bits', selector: Own.based3, data: 'small' },
    ],
    ['IRETD to level 3', {}],
    ['IRETD from level 1 to level 3', { cpl: 1 }],
    ['IRETD to the same level', { cpl: 1, cs: Own.code1 }],
    ['IRETD by a hidden table', { hidden: true }],
    ['IRETD while DS is null', { data: 'null' }],
    ['SYSENTER', { name: 'sysenter', cpl: 3, flags: 0x202 }],
    ['SYSENTER at level 0, while DS is small', { name: 'sysenter', data: 'small' }],
    ['SYSEXIT', { name: 'sysexit', flags: 0x202 }],
  ])('%s: no exit', async (_what, part) => {
    const state = { ...PLAIN, ...part };
    const [direct, whole] = [await run(state), await run(state, 'all')];
    expect(seen(direct)).toEqual(seen(whole));
    expect([leftFor(direct, kindOf(state.name)), leftFor(whole, kindOf(state.name))]).toEqual([0, 1]);
  });

  const selector = fc.constantFrom(...Object.values(Selector32), ...Object.values(Own), 0, 3, 0x0b, 0x27, 0x9998);
  const flags = fc.oneof(
    fc.constantFrom(0x2, 0x202, 0x246, 0x10202, 0x3202, 0x1202, 0x200002),
    fc.integer({ min: 0, max: 0x3fffff }),
  );
  const anyState = fc.record<State>({
    name: fc.constantFrom('iret', 'iret', 'iret', 'sysenter', 'sysexit', ...names),
    cpl: fc.constantFrom(0, 0, 1, 3),
    selector,
    cs: fc.oneof(fc.constantFrom(Selector32.code0, Selector32.code3, Own.code1), selector),
    ss: fc.oneof(fc.constantFrom(Selector32.data3), selector),
    flags: fc.oneof(fc.constantFrom(2, 0x202, 0x3002), flags).map((image) => image & ~0x2_0000),
    image: flags,
    data: fc.constantFrom('flat', 'flat', 'small', 'null'),
    free: fc.constantFrom('null', 'inner', 'outer'),
    smallStack: fc.constantFrom(false, false, false, true),
    hidden: fc.boolean(),
    waits: fc.constantFrom(false, false, true),
    sysenterCs: fc.constantFrom(Selector32.code0, Selector32.code0, Selector32.code0 | 3, 3, 0x1_0000, 0xfff8),
  });
  it.each([
    ['tier 0', false, 40],
    ['tier 1', { threshold: 1, batch: 1 }, 20],
  ] as const)('are the same in any state in %s', async (_tier, regions, numRuns) => {
    await fc.assert(
      fc.asyncProperty(anyState, async (state) => {
        expect(seen(await run(state, undefined, regions))).toEqual(seen(await run(state, 'all')));
      }),
      { numRuns },
    );
  });
});

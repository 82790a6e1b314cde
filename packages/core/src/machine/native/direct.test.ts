/** What generated code carries out by itself leaves the machine as the exit would: everything visible is the same. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EFER, FMASK, LSTAR, STAR } from '../../cpu/state.ts';
import { CODE, enter, KERNEL_STACK, Selector, STACK_TOP, type TestGuest, testGuest } from '../testing/test-guest.ts';
import { nullSegment } from './segments.ts';

const [RAX, RCX, RSP, RDI, R11] = [0, 1, 4, 7, 11];
const HALT_AT = 0x11000n;
const FRAME = STACK_TOP - 0x100n;
const INTERRUPT = 0x40;
const CR4_SMAP = 1n << 21n;
const HLT = 'f4';

/** By the name of the exit that each would be. */
const INSTRUCTIONS = {
  cli: 'fa',
  sti: 'fb',
  'native.popf': '9d',
  swapgs: '0f01f8',
  syscall: '0f05',
  sysret: '480f07',
  iret: '48cf',
  invlpg: '0f013f',
  readCr: '0f20d0',
  writeCr: '0f22d8',
  'native.clac': '0f01ca',
  'native.stac': '0f01cb',
  // MOV EAX from where nothing is mapped.
  'exception.14': '8b042500000800',
} as const;
/** And those that otherwise never leave. */
const ALL_INSTRUCTIONS = { ...INSTRUCTIONS, 'native.pushf': '9c', 'exception.6': '0f0b' } as const;
type Name = keyof typeof INSTRUCTIONS;
type AnyName = keyof typeof ALL_INSTRUCTIONS;
/** Where the machine keeps what it shares with guest code. */
const CELLS = { interruptsOff: 0x9000, interruptWaits: 0x9001, cr2: 0x9008 };

interface State {
  readonly cpl: 0 | 3;
  readonly rflags: bigint;
  readonly r11: bigint;
  readonly frame: readonly bigint[];
  readonly star: bigint;
  readonly fmask: bigint;
  readonly efer: bigint;
  readonly smap: boolean;
  readonly waits: boolean;
  readonly dataSelector: number;
}
const PLAIN: State = {
  cpl: 0,
  rflags: 0x2n,
  r11: 0x202n,
  frame: [HALT_AT, BigInt(Selector.code3), 0x202n, STACK_TOP - 0x800n, BigInt(Selector.data3)],
  star: (0x1bn << 48n) | (0x08n << 32n),
  fmask: 0x47700n,
  efer: 0xd01n,
  smap: false,
  waits: false,
  dataSelector: 0,
};

const TIERS = [
  ['tier 0', false],
  ['tier 1', { threshold: 1, batch: 1 }],
] as const;
interface How {
  readonly exits?: 'all';
  readonly shared?: boolean;
  readonly regions?: (typeof TIERS)[number][1];
  /** ADD R10,0x7f stands before it: flags that a region has not put in their place yet. */
  readonly added?: boolean;
}

async function run(name: AnyName, state: State, { exits, shared, regions = false, added }: How = {}) {
  const guest = await testGuest({
    code: { [CODE]: `${added ? '4983c27f' : ''}${ALL_INSTRUCTIONS[name]}${HLT}`, [Number(HALT_AT)]: HLT },
    prepare: (guest) => {
      place(guest, name, state);
      if (shared) guest.vcpu.shareCells(CELLS);
    },
    options: { engine: { hot: [], regions }, ...(exits && { exits }) },
  });
  await guest.run();
  return guest;
}
function place(guest: TestGuest, name: AnyName, state: State): void {
  const { machine, vcpu } = guest;
  machine.memory.writeBytes(Number(FRAME), new Uint8Array(BigUint64Array.from(state.frame).buffer));
  if (name === 'native.popf') machine.memory.write64(Number(FRAME), state.r11);
  if (state.smap) vcpu.cr4 |= CR4_SMAP;
  vcpu.setSlot64(STAR, state.star);
  vcpu.setSlot64(LSTAR, HALT_AT);
  vcpu.setSlot64(FMASK, state.fmask);
  vcpu.setSlot64(EFER, state.efer);
  vcpu.gpr[RAX] = 0x1111_2222_3333_4444n;
  vcpu.gpr[RCX] = HALT_AT;
  vcpu.gpr[RDI] = 0x8000n;
  vcpu.gpr[R11] = state.r11;
  if (name === 'writeCr') vcpu.gpr[RAX] = vcpu.cr3;
  vcpu.kernelGsBase = 0xffff_8880_0000_0000n;
  const segment = { base: 0n, limit: 0xffffffff, accessRights: state.dataSelector & 3 ? 0xc0f3 : 0xc093 };
  for (const index of [0, 3, 4, 5]) vcpu.setSegment(index, nullSegment());
  if (state.dataSelector) vcpu.setSegment(3, { selector: state.dataSelector, ...segment });
  enter(vcpu, state.cpl);
  // User code can run where the tests' code is.
  vcpu.gpr[RSP] = FRAME;
  vcpu.cr2 = 0x7777n;
  vcpu.rflags = state.rflags;
  if (state.waits) vcpu.externalInterrupt = () => INTERRUPT;
}

/** All that software, or the next access, could tell. */
function seen({ machine, vcpu }: TestGuest) {
  const words = (at: bigint) => Array.from({ length: 12 }, (_, i) => machine.memory.read64(Number(at) - 96 + i * 8));
  return {
    rip: vcpu.rip,
    rflags: vcpu.rflags,
    gpr: [...vcpu.gpr],
    cpl: vcpu.cpl,
    control: [vcpu.cr2, vcpu.cr3, vcpu.cr4, vcpu.efer],
    segments: [0, 1, 2, 3, 4, 5].map((index) => vcpu.segment(index)),
    kernelGsBase: vcpu.kernelGsBase,
    stacks: [words(KERNEL_STACK), words(STACK_TOP), words(FRAME)],
    mayRead: vcpu.translate(0x8000n, 'read').ok,
  };
}

describe('instructions carried out directly', () => {
  const user: Partial<Record<Name, Partial<State>>> = {
    syscall: { cpl: 3, rflags: 0x202n },
    'native.popf': { r11: 0x202n },
    'native.clac': { smap: true, rflags: 0x40002n },
    'native.stac': { smap: true },
  };
  const both = (Object.keys(INSTRUCTIONS) as Name[]).flatMap((name) => TIERS.map((tier) => [name, ...tier] as const));
  it.each(both)('%s does not leave, and ends as if it had, in %s', async (name, _tier, regions) => {
    const state = { ...PLAIN, ...user[name] };
    const [direct, whole] = [await run(name, state, { regions }), await run(name, state, { exits: 'all' })];
    expect(seen(direct)).toEqual(seen(whole));
    expect([direct.machine.stats()[`exit.${name}`], whole.machine.stats()[`exit.${name}`]]).toEqual([undefined, 1]);
  });

  const flags = fc.oneof(
    fc.constantFrom(0x2n, 0x202n, 0x246n, 0x40202n, 0x10202n, 0x3202n),
    fc.bigInt({ min: 0n, max: 0x3fffffn }).map((image) => image & ~0x20000n),
  );
  const selector = fc.constantFrom(...Object.values(Selector), 0, 3, 0x0b, 0x2c, 0x9998).map(BigInt);
  const frame = fc.oneof(
    fc.constantFrom(PLAIN.frame, [HALT_AT, BigInt(Selector.code0), 0x2n, STACK_TOP, BigInt(Selector.data0)]),
    fc.tuple(fc.constantFrom(HALT_AT, 1n << 63n), selector, flags, fc.constant(STACK_TOP - 0x800n), selector),
  );
  const anyState = fc.record<State>({
    cpl: fc.constantFrom(0, 0, 3),
    rflags: flags,
    r11: flags,
    frame,
    star: fc.constantFrom(PLAIN.star, 0n, 0x0023_0010_0000_0000n),
    fmask: fc.constantFrom(PLAIN.fmask, 0n, 0x40000n, 0x200n),
    efer: fc.constantFrom(0xd01n, 0xd01n, 0xd00n),
    smap: fc.constantFrom(false, false, true),
    waits: fc.constantFrom(false, false, true),
    dataSelector: fc.constantFrom(0, 0, Selector.data0, Selector.data3),
  });
  it.each(TIERS)('are the same in any state, in %s', async (_tier, regions) => {
    const name = fc.constantFrom(...(Object.keys(INSTRUCTIONS) as Name[]));
    await fc.assert(
      fc.asyncProperty(name, anyState, fc.boolean(), async (name, state, added) => {
        expect(seen(await run(name, state, { regions, added }))).toEqual(
          seen(await run(name, state, { exits: 'all', added })),
        );
      }),
      { numRuns: 150 },
    );
  });

  it('are the same in any state while the interrupt flag is kept in guest memory', async () => {
    const name = fc.constantFrom(...(Object.keys(ALL_INSTRUCTIONS) as AnyName[]));
    await fc.assert(
      fc.asyncProperty(name, anyState, async (name, state) => {
        const guest = await run(name, state, { shared: true });
        expect(seen(guest)).toEqual(seen(await run(name, state)));
        const { memory } = guest.machine;
        expect(memory.readBytes(CELLS.interruptsOff, 1)[0]).toBe(guest.vcpu.eflags & 0x200 ? 0 : 1);
        expect(memory.read64(CELLS.cr2)).toBe(guest.vcpu.cr2);
        const now = seen(guest);
        guest.vcpu.shareCells(undefined);
        expect(seen(guest)).toEqual(now);
      }),
      { numRuns: 60 },
    );
  });

  it('what guest code writes there counts, PUSHF tells so, and an interrupt that waits is announced', async () => {
    const guest = await testGuest({
      // mov al, [interruptWaits]; pushf; mov byte [interruptsOff], 0; pushf; hlt
      code: { [CODE]: '8a042501900000 9c c604250090000000 9c f4' },
      prepare: ({ vcpu }) => {
        vcpu.gpr[RAX] = 0n;
        vcpu.gpr[RSP] = FRAME;
        vcpu.rflags = 0x2n;
        vcpu.shareCells(CELLS);
        vcpu.externalInterrupt = () => INTERRUPT;
      },
    });
    await guest.run();
    const pushed = [1, 2].map((n) => guest.machine.memory.read64(Number(FRAME) - n * 8) & 0x200n);
    expect([guest.vcpu.gpr[RAX], pushed, guest.stoppedIn]).toEqual([1n, [0n, 0x200n], INTERRUPT]);
  });

  it('leave if a plug-in asks to see them', async () => {
    const kinds: string[] = [];
    const guest = await testGuest({
      code: { [CODE]: 'fa fb f4' },
      tap: (host) => {
        host.hooks.exit.for('cli').tap('bench', () => {
          kinds.push('cli');
          return 'pass';
        });
      },
    });
    await guest.run();
    expect(kinds).toEqual(['cli']);
    expect(guest.machine.stats()['exit.sti']).toBeUndefined();
  });

  it('STI lets a waiting interrupt in after the next instruction, and not before', async () => {
    const guest = await testGuest({
      code: { [CODE]: 'fb 48ffc0 48ffc0 f4' },
      prepare: ({ vcpu }) => {
        vcpu.gpr[RAX] = 0n;
        vcpu.externalInterrupt = () => INTERRUPT;
      },
    });
    await guest.run();
    expect([guest.vcpu.gpr[RAX], guest.stoppedIn]).toEqual([1n, INTERRUPT]);
  });
});

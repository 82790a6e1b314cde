/**
 * Page faults of a PV32 guest, its kernel's and its user mode's, and SYSENTER, without an exit: everything that can be seen afterwards is as
 * if each had left.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import xen from '../../packages/plugin-xen/src/index.ts';
import { seen } from '../guests/ended.ts';
import { machineInProcess } from '../guests/in-process.ts';
import {
  BASE_32 as BASE,
  call32 as call,
  imm32,
  move,
  pv32Kernel,
  SEGMENT_BYTES_32 as SEGMENT_BYTES,
} from '../guests/pv32-kernel.ts';
import { sharedInfoGpa } from '../guests/shared-info.ts';

const At = {
  ...{
    USER: 0x200,
    HANDLER: 0x400,
    ENTRY: 0x480,
    FRAMES: 0x2000,
    FRAME: 0x2100,
    TRAPS: 0x2200,
    KERNEL_TOP: 0x1f00,
    USER_TOP: 0x1800,
  },
  ...{ GDT: 0x3000, IOPL: 0x2300, CALLBACK: 0x2380 },
} as const;
const Call = {
  TRAPS: 0,
  SET_GDT: 2,
  STACK_SWITCH: 3,
  UPDATE_VA: 14,
  VM_ASSIST: 21,
  IRET: 23,
  SCHED_OP: 29,
  CALLBACK_OP: 30,
  PHYSDEV: 33,
} as const;
const [EAX, ECX, EDX, EBX, ESP, ESI, EDI] = [0, 1, 2, 3, 4, 6, 7];
/** Of struct start_info of 32-bit guests (public/xen.h). */
const StartInfo = { PT_BASE: 60, NR_PT_FRAMES: 64 } as const;
const PAGE_FAULT = 14;
const TRAP_MASKS_EVENTS = 4;
const PHYSDEV_SET_IOPL = 6;
const ASSIST_WRITABLE_TABLES = 2;
const ASSIST_ARCHITECTURAL_IOPL = 4;
const VCPU_INFO_PENDING = 0;
const Ring1 = { CS: 0xe019, SS: 0xe021 } as const;
const Ring3 = { CS: 0xe02b, SS: 0xe033 } as const;
const FAULTS = 4;
/** By SYSENTER. */
const CALLS = 3;
const CALLBACKTYPE_SYSENTER = 5;
const SYSENTER = [0x0f, 0x34];
const MOVE_BYTES = 5;
const ACCESS_BYTES = 2;
const UNMAPPED = 0x1234_5678;
/** Stands for the last entry of the guest's page tables. */
const TABLE = 0x7ab1_e000;
const [P, RW, US] = [1, 2, 4];
/** Code and data of the guest's own, DPL 1, the second half of each word with the limit. */
const OWN = { CODE: 0x09, DATA: 0x11, SHORT: 0x19 } as const;
const descriptors = (limitHigh: number) =>
  [0, 0, 0xffff, 0x00c0_bb00 | (limitHigh << 16), 0xffff, 0x00c0_b300 | (limitHigh << 16), 0xffff, 0x0040_b300].flatMap(
    imm32,
  );

interface State {
  readonly accessed: number;
  readonly isWrite: boolean;
  readonly masksEvents: boolean;
  readonly hasHandler: boolean;
  /** And an entry for SYSENTER. */
  readonly hasEntry: boolean;
  readonly userFlags: number;
  readonly handlerCs: number;
  readonly stackSs: number;
  readonly stack: number;
  readonly hasIopl: boolean;
  readonly pending: boolean;
  /** Upper bits of the limit of the guest's own segments. */
  readonly limitHigh: number;
}
const PLAIN: State = {
  ...{ accessed: UNMAPPED, isWrite: false, masksEvents: false, hasHandler: true, hasEntry: true, userFlags: 0x202 },
  ...{
    handlerCs: Ring1.CS,
    stackSs: Ring1.SS,
    stack: BASE + At.KERNEL_TOP,
    hasIopl: false,
    pending: false,
    limitHigh: 15,
  },
};

function kernel(state: State) {
  const access = [state.isWrite ? 0x89 : 0x8b, 0x01]; // mov eax, [ecx] or the other way round
  const main = [
    ...move(ESP, BASE + At.KERNEL_TOP),
    ...call(Call.VM_ASSIST, 0, ASSIST_WRITABLE_TABLES),
    ...(state.hasIopl ? call(Call.VM_ASSIST, 0, ASSIST_ARCHITECTURAL_IOPL) : []),
    ...(state.hasIopl ? call(Call.PHYSDEV, PHYSDEV_SET_IOPL, BASE + At.IOPL) : []),
    ...call(Call.UPDATE_VA, BASE, 0, 0, 2), // user mode may read this page: the entry is filled in below
    ...call(Call.UPDATE_VA, BASE + At.GDT, 0, 0, 2), // and nobody may write to this one
    ...call(Call.SET_GDT, BASE + At.FRAMES, 512),
    ...(state.hasHandler ? call(Call.TRAPS, BASE + At.TRAPS) : []),
    ...(state.hasEntry ? call(Call.CALLBACK_OP, 0, BASE + At.CALLBACK) : []),
    ...call(Call.STACK_SWITCH, state.stackSs, state.stack),
    ...move(ECX, state.accessed),
    ...move(EDI, FAULTS),
    ...[0x50, 0x58], // push eax; pop eax: the stack's translation is at hand then
    ...[...access, 0x4f, 0x75, 0xfb], // l: access; dec edi; jnz l
    ...move(EDI, FAULTS),
    ...move(ESP, BASE + At.FRAME),
    ...move(EAX, Call.IRET),
    ...[0xcd, 0x82],
  ];
  const start = [...access, 0x4f, 0x75, 0xfb, ...move(EDI, CALLS)]; // l: access; dec edi; jnz l; mov edi, CALLS
  const ready = [
    ...move(EBX, BASE + At.USER_TOP),
    ...move(EDX, BASE + At.USER + start.length + 2 * MOVE_BYTES + SYSENTER.length),
  ];
  const user = [
    ...[...start, ...ready],
    ...[...SYSENTER, 0x4f, 0x75, 0xfb], // s: sysenter; dec edi; jnz s
    ...[...move(ECX, UNMAPPED), ...access], // the last one
  ];
  const entry = [
    ...access, // where the next handler finds whether events are masked
    ...[0x03, 0x6c, 0x24, 0x0c], // add ebp, [esp+12]: ESP
    ...[0x03, 0x6c, 0x24, 0x04], // add ebp, [esp+4]: CS and mask
    ...[0x03, 0x6c, 0x24, 0x08], // add ebp, [esp+8]: EFLAGS
    ...[0x03, 0x6c, 0x24, 0x10], // add ebp, [esp+16]: SS
    ...[0x89, 0x14, 0x24], // mov [esp], edx: EIP
    ...[0xc7, 0x44, 0x24, 0x04, ...imm32(Ring3.CS)], // mov dword [esp+4], Ring3.CS
    ...[0x89, 0x5c, 0x24, 0x0c], // mov [esp+12], ebx: ESP
    ...[0x50, ...move(EAX, Call.IRET), 0xcd, 0x82], // push eax
  ];
  const handler = [
    ...[0x87, 0x04, 0x24], // xchg [esp], eax: EAX takes the error code's place
    ...[0x01, 0xc5], // add ebp, eax
    ...[0x03, 0x6c, 0x24, 0x08], // add ebp, [esp+8]: CS and mask
    ...[0x03, 0x6c, 0x24, 0x0c], // add ebp, [esp+12]: EFLAGS
    ...[0x83, 0x44, 0x24, 0x04, ACCESS_BYTES], // add dword [esp+4], ACCESS_BYTES
    ...[0x85, 0xff, 0x74, 0x07], // test edi, edi; jz end
    ...[...move(EAX, Call.IRET), 0xcd, 0x82],
    ...[0x6a, 0x00, 0x89, 0xe1], // end: push 0; mov ecx, esp
    ...[...move(EBX, 2), ...move(EAX, Call.SCHED_OP), 0xcd, 0x82],
  ];
  const bytes = new Array(SEGMENT_BYTES).fill(0);
  const put = (offset: number, values: readonly number[]) => bytes.splice(offset, values.length, ...values);
  put(0, main);
  put(At.USER, user);
  put(At.HANDLER, handler);
  put(At.ENTRY, entry);
  put(At.CALLBACK, [
    CALLBACKTYPE_SYSENTER,
    0,
    state.masksEvents ? 1 : 0,
    0,
    ...[state.handlerCs, BASE + At.ENTRY].flatMap(imm32),
  ]);
  const trapFlags = state.masksEvents ? TRAP_MASKS_EVENTS : 0;
  put(At.TRAPS, [PAGE_FAULT, trapFlags, state.handlerCs & 0xff, state.handlerCs >> 8, ...imm32(BASE + At.HANDLER)]);
  put(At.FRAME, [0xaaaa, BASE + At.USER, Ring3.CS, state.userFlags, BASE + At.USER_TOP, Ring3.SS].flatMap(imm32));
  put(At.IOPL, imm32(1));
  put(At.GDT, descriptors(state.limitHigh));
  return { main, file: pv32Kernel(bytes) };
}

async function run(state: State, exits?: 'all') {
  const { main, file } = kernel(state);
  const { machine } = await machineInProcess({ name: 'kernel', file, plugins: [[xen]], options: exits && { exits } });
  const [vcpu] = machine.vcpus;
  const gpaOf = (offset: number) => {
    const found = vcpu.translate(BigInt(BASE + offset), 'read', { as: 'supervisor' });
    if (!found.ok) throw new Error('not mapped');
    return found.gpa;
  };
  machine.memory.write32(gpaOf(At.FRAMES), gpaOf(At.GDT) / 4096);
  for (const [offset, flags] of [
    [0, P | RW | US],
    [At.GDT, P],
  ] as const) {
    const at = main.findIndex((_, i) =>
      [...move(EBX, BASE + offset), ...move(ECX, 0)].every((byte, k) => main[i + k] === byte),
    );
    machine.memory.write32(gpaOf(at + 6), gpaOf(offset) | flags);
  }
  const at = main.findIndex((_, i) => move(ECX, TABLE).every((byte, k) => main[i + k] === byte));
  if (at >= 0) {
    const startInfo = gpaOf(Number(vcpu.gpr[ESI]) - BASE);
    const [tables, pages] = [StartInfo.PT_BASE, StartInfo.NR_PT_FRAMES].map((offset) =>
      machine.memory.read32(startInfo + offset),
    );
    machine.memory.write32(gpaOf(at + 1), tables + pages * 4096 - 8);
  }
  if (state.pending) machine.memory.write8(sharedInfoGpa(machine.memory) + VCPU_INFO_PENDING, 1);
  const { reason } = await machine.run();
  const left = (kind: string) => Number(machine.stats()[`exit.${kind}`] ?? 0);
  return { machine, reason, left };
}

describe("a PV32 guest's page faults and system calls", () => {
  it.each([
    ['read', {}],
    ['write', { isWrite: true }],
    ['read, masking events', { masksEvents: true }],
    ['read, with segments of their own', { handlerCs: OWN.CODE, stackSs: OWN.DATA }],
  ])('do not leave where they %s, and end as if they had', async (_what, part) => {
    const state = { ...PLAIN, ...part };
    const [direct, whole] = [await run(state), await run(state, 'all')];
    expect(whole.reason).toEqual({ kind: 'poweroff' });
    expect(seen(direct)).toEqual(seen(whole));
    expect(whole.left('exception.14')).toBeGreaterThanOrEqual(2 * FAULTS);
    // The first of each finds what is needed not at hand.
    expect(whole.left('exception.14') - direct.left('exception.14')).toBeGreaterThanOrEqual(2 * (FAULTS - 1));
    expect([direct.left('sysenter'), whole.left('sysenter')]).toEqual([0, CALLS]);
  });

  it.each([
    ['a write to a page table of its own', { isWrite: true, accessed: TABLE }],
    ['one with a virtual IOPL', { hasIopl: true, userFlags: 0x1202 }],
    ['one with a segment that ends before', { stackSs: OWN.SHORT }],
  ])('end as if they had, even %s', async (_what, part) => {
    const state = { ...PLAIN, ...part };
    expect(seen(await run(state))).toEqual(seen(await run(state, 'all')));
  });

  const anyState = fc.record<State>({
    accessed: fc.constantFrom(
      UNMAPPED,
      UNMAPPED,
      UNMAPPED,
      TABLE,
      BASE,
      BASE + At.GDT,
      BASE + At.USER_TOP,
      0xf600_0000,
      0xffff_fffe,
    ),
    ...{ isWrite: fc.boolean(), masksEvents: fc.boolean(), hasHandler: fc.constantFrom(true, true, true, false) },
    hasEntry: fc.constantFrom(true, true, true, false),
    userFlags: fc.oneof(
      fc.constantFrom(0x202, 0x246, 0x2, 0x602, 0x1202, 0x4_0202, 0x4202, 0x1_0202, 0x2_0202),
      fc.integer({ min: 0, max: 0x3f_ffff }).map((image) => image & ~0x100),
    ),
    handlerCs: fc.constantFrom(Ring1.CS, Ring1.CS, OWN.CODE, OWN.CODE, OWN.CODE & ~3, OWN.DATA, 0),
    stackSs: fc.constantFrom(Ring1.SS, Ring1.SS, OWN.DATA, OWN.DATA, OWN.SHORT, OWN.CODE, Ring3.SS, 0),
    stack: fc.constantFrom(
      PLAIN.stack,
      PLAIN.stack,
      PLAIN.stack + 2,
      BASE + 0x1010,
      BASE + At.GDT + 0x800,
      0xf600_0010,
      8,
    ),
    ...{ hasIopl: fc.constantFrom(false, false, true), pending: fc.constantFrom(false, false, true) },
    limitHigh: fc.constantFrom(15, 15, 7),
  });
  /** As {@link PLAIN}, but for some of it. */
  const someState = fc
    .tuple(anyState, fc.subarray(Object.keys(PLAIN) as (keyof State)[], { maxLength: 3 }))
    .map(([state, keys]): State => ({ ...PLAIN, ...Object.fromEntries(keys.map((key) => [key, state[key]])) }));
  it('are the same in any state', async () => {
    await fc.assert(
      fc.asyncProperty(someState, async (state) => {
        expect(seen(await run(state))).toEqual(seen(await run(state, 'all')));
      }),
      { numRuns: 150 },
    );
  }, 120_000);
});

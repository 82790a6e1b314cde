/**
 * SYSCALL of a PV64 guest, into its kernel and back, page faults of both, and its kernel's IRET to itself, without an exit: everything
 * that can be seen afterwards is as if it had left each time.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import xen from '../../packages/plugin-xen/src/index.ts';
import { seen } from '../guests/ended.ts';
import { machineInProcess } from '../guests/in-process.ts';
import { hypercall64, imm32, imm64, pvKernel, reason, SHUTDOWN_BY_EDI, set, VIRT_BASE } from '../guests/pv-kernel.ts';
import { sharedInfoGpa } from '../guests/shared-info.ts';

const BASE = VIRT_BASE + 0x10_0000n;
const CODE = { USER: 0x200, KERNEL: 0x400, FAULT: 0x600 };
const DATA = { CALLBACK: 0x1000, OPERATION: 0x1040, FRAME: 0x1100, ITS_FRAME: 0x1180, TRAPS: 0x1200, STACK: 0x1f00 };
const SYSTEM_CALLS = 3;
const PAGE_FAULT = 14;
const TRAP_MASKS_EVENTS = 4;
const LAST_CALL = 0xdead;
const CALLBACKTYPE_SYSCALL = 2;
const MMUEXT_NEW_USER_BASEPTR = 15;
const DOMID_SELF = 0x7ff0n;
const FLAT_CS = 0xe033n;
const FLAT_SS = 0xe02bn;
const VCPU_INFO_PENDING = 0;

interface State {
  /** VGCF_* by which the kernel returns. */
  readonly returnFlags: number;
  readonly masksEvents: boolean;
  readonly userFlags: bigint;
  readonly cs: bigint;
  readonly ss: bigint;
  readonly rip: bigint;
  readonly stack: bigint;
  readonly pending: boolean;
  /** Of the kernel's IRET to itself. */
  readonly itsFlags: bigint;
  readonly itsSelectors: readonly [cs: bigint, ss: bigint];
  /** What user mode and the kernel access. */
  readonly accessed: bigint;
  readonly isWrite: boolean;
  readonly faultMasksEvents: boolean;
  /** The kernel has a handler of page faults. */
  readonly hasHandler: boolean;
}
const PLAIN: State = {
  returnFlags: 0,
  masksEvents: true,
  userFlags: 0x202n,
  cs: FLAT_CS,
  ss: FLAT_SS,
  rip: BASE + BigInt(CODE.USER),
  stack: BASE + BigInt(DATA.STACK),
  pending: false,
  itsFlags: 0x246n,
  itsSelectors: [FLAT_CS, FLAT_SS],
  accessed: BASE,
  isWrite: false,
  faultMasksEvents: false,
  hasHandler: true,
};
const UNMAPPED = 0x1234_5678n;

const SYSCALL = [0x0f, 0x05];
const ACCESS_BYTES = 3;

function kernel(state: State): Buffer {
  const at = (offset: number) => BASE + BigInt(offset);
  const access = [0x4d, state.isWrite ? 0x89 : 0x8b, 0x01]; // mov r8, [r9] or the other way round
  const start = [
    ...[...set.rdi(0n), ...set.rsi(at(DATA.CALLBACK)), ...hypercall64(30)], // callback_op(register)
    ...[...set.rdi(FLAT_SS), ...set.rsi(state.stack), ...hypercall64(3)], // stack_switch
    ...[...set.rdi(at(DATA.OPERATION)), ...set.rsi(1n), ...set.rdx(0n), ...set.r10(DOMID_SELF), ...hypercall64(26)], // mmuext_op
    ...[...set.rdi(at(DATA.TRAPS)), ...hypercall64(0)], // set_trap_table
    ...set.r9(state.accessed),
    ...[...set.rsp(at(DATA.ITS_FRAME)), 0x48, 0x8b, 0x04, 0x24], // mov rax, [rsp]: its translation is at hand then
    ...[0x48, 0xcf], // iretq
  ];
  const goOn = [
    ...[...set.rsp(at(DATA.FRAME)), ...hypercall64(23)], // iret
    ...[0x0f, 0x0b], // ud2
  ];
  const user = [
    ...[0x49, 0xff, 0xc7], // inc r15
    ...access,
    ...[0xb8, ...imm32(0x1234)], // mov eax
    ...SYSCALL,
    ...[0x49, 0x83, 0xff, SYSTEM_CALLS], // cmp r15, SYSTEM_CALLS
    ...[0x75, 0xed], // jne user
    ...hypercall64(LAST_CALL),
  ];
  const entry = [
    ...[0x3d, ...imm32(LAST_CALL)], // cmp eax, LAST_CALL
    ...[0x74, 0x23], // je end
    ...access,
    ...[0x4c, 0x03, 0x74, 0x24, 0x18], // add r14, [rsp+24]: CS and mask
    ...[0x4c, 0x03, 0x74, 0x24, 0x20], // add r14, [rsp+32]: RFLAGS
    ...[0x59, 0x41, 0x5b], // pop rcx; pop r11
    ...[0x68, ...imm32(state.returnFlags)], // push
    ...[0x51, 0x41, 0x53, 0x50], // push rcx; push r11; push rax
    ...hypercall64(23), // iret
    ...[0x0f, 0x0b, 0x90], // ud2; nop
  ];
  const fault = [
    ...[0x4c, 0x03, 0x6c, 0x24, 0x10], // add r13, [rsp+16]: error code
    ...[0x4c, 0x03, 0x6c, 0x24, 0x20], // add r13, [rsp+32]: CS and mask
    ...[0x4c, 0x03, 0x6c, 0x24, 0x28], // add r13, [rsp+40]: RFLAGS
    ...[0x59, 0x41, 0x5b], // pop rcx; pop r11
    ...[0x48, 0x83, 0xc4, 0x08], // add rsp, 8
    ...[0x48, 0x83, 0x04, 0x24, ACCESS_BYTES], // add qword [rsp], ACCESS_BYTES
    ...[0x6a, 0x00], // push 0
    ...[0x51, 0x41, 0x53, 0x50], // push rcx; push r11; push rax
    ...hypercall64(23), // iret
  ];
  const code = new Array(0x2000).fill(0xcc);
  const put = (offset: number, bytes: readonly number[]) => code.splice(offset, bytes.length, ...bytes);
  put(0, [...start, ...goOn]);
  put(CODE.USER, user);
  put(CODE.FAULT, fault);
  put(CODE.KERNEL, [...entry, ...reason(0), ...SHUTDOWN_BY_EDI]);
  code.fill(0, 0x1000);
  put(DATA.CALLBACK, [CALLBACKTYPE_SYSCALL, 0, state.masksEvents ? 1 : 0, 0, 0, 0, 0, 0, ...imm64(at(CODE.KERNEL))]);
  put(DATA.OPERATION, [...imm32(MMUEXT_NEW_USER_BASEPTR), 0, 0, 0, 0]);
  const frame = [0xaaan, 0xbbbn, 0xcccn, 0n, state.rip, state.cs, state.userFlags, at(0x1800), state.ss];
  put(DATA.FRAME, frame.flatMap(imm64));
  const trapFlags = state.faultMasksEvents ? TRAP_MASKS_EVENTS : 0;
  const trap = [PAGE_FAULT, trapFlags, ...imm32(Number(FLAT_CS)).slice(0, 2), 0, 0, 0, 0, ...imm64(at(CODE.FAULT))];
  if (state.hasHandler) put(DATA.TRAPS, trap);
  const [itsCs, itsSs] = state.itsSelectors;
  put(DATA.ITS_FRAME, [at(start.length), itsCs, state.itsFlags, at(0x1700), itsSs].flatMap(imm64));
  return pvKernel({ code });
}

async function run(state: State, exits?: 'all') {
  const options = exits && { exits };
  const { machine } = await machineInProcess({ name: 'kernel', file: kernel(state), plugins: [[xen]], options });
  const [vcpu] = machine.vcpus;
  const operand = Uint8Array.from(imm64(vcpu.cr3 >> 12n));
  vcpu.write(BASE + BigInt(DATA.OPERATION + 8), operand, { as: 'supervisor' });
  if (state.pending) machine.memory.write8(sharedInfoGpa(machine.memory) + VCPU_INFO_PENDING, 1);
  const { reason } = await machine.run();
  const left = (kind: string) => Number(machine.stats()[`exit.${kind}`] ?? 0);
  return { machine, reason, left };
}
describe("a PV64 guest's system calls", () => {
  it.each([
    ['by IRET', 0],
    ['by SYSRET', 0x100],
  ])('do not leave on the way in nor back %s, and end as if they had', async (_name, returnFlags) => {
    const state = { ...PLAIN, returnFlags };
    const [direct, whole] = [await run(state), await run(state, 'all')];
    expect(seen(direct)).toEqual(seen(whole));
    expect(whole.reason).toEqual({ kind: 'poweroff' });
    expect(whole.left('syscall') - direct.left('syscall')).toBeGreaterThanOrEqual(2 * SYSTEM_CALLS);
    expect([direct.left('iret'), whole.left('iret')]).toEqual([0, 1]);
  });

  it.each([
    ['user mode and the kernel', {}],
    ['both, masking events', { faultMasksEvents: true }],
    ['both, where they write', { isWrite: true }],
  ])('page faults of %s do not leave, and end as if they had', async (_who, part) => {
    const state = { ...PLAIN, accessed: UNMAPPED, ...part };
    const [direct, whole] = [await run(state), await run(state, 'all')];
    expect(seen(direct)).toEqual(seen(whole));
    expect(whole.reason).toEqual({ kind: 'poweroff' });
    // The first of each finds what is needed not at hand.
    expect(whole.left('exception.14')).toBeGreaterThanOrEqual(2 * SYSTEM_CALLS);
    expect(whole.left('exception.14') - direct.left('exception.14')).toBeGreaterThanOrEqual(2 * (SYSTEM_CALLS - 1));
  });

  const flags = fc.oneof(
    fc.constantFrom(0x202n, 0x246n, 0x2n, 0x602n, 0x3202n, 0x40202n, 0x4202n, 0x10202n, 0x20202n),
    fc.bigInt({ min: 0n, max: 0x3fffffn }).map((image) => image & ~0x100n),
  );
  const anyState = fc.record<State>({
    returnFlags: fc.constantFrom(0, 0x100),
    masksEvents: fc.boolean(),
    userFlags: flags,
    cs: fc.constantFrom(FLAT_CS, FLAT_CS, FLAT_CS, 0xe030n, 0xe023n, 0x33n, 0x3n, 0n),
    ss: fc.constantFrom(FLAT_SS, FLAT_SS, FLAT_SS, 0xe028n, 0x2bn, 0n),
    rip: fc.constantFrom(PLAIN.rip, PLAIN.rip, PLAIN.rip, 0x8000_0000_0000n, 0xffff_8000_0000_0000n),
    stack: fc.oneof(
      fc.constantFrom(PLAIN.stack, PLAIN.stack, PLAIN.stack + 8n, BASE + 0x1030n, BASE + 0x1018n),
      fc.constantFrom(0n, 0x1000n, 0xffff_8000_0000_1000n, 0xffff_8800_0000_0020n, 0xffff_ffff_ffff_fff0n),
    ),
    pending: fc.constantFrom(false, false, true),
    itsFlags: fc.oneof(fc.constant(PLAIN.itsFlags), flags),
    itsSelectors: fc.constantFrom(
      PLAIN.itsSelectors,
      PLAIN.itsSelectors,
      [0xe030n, FLAT_SS],
      [FLAT_CS, 0x2bn],
      [0xe023n, FLAT_SS],
    ),
    accessed: fc.constantFrom(
      BASE,
      UNMAPPED,
      UNMAPPED,
      VIRT_BASE,
      0xffff_8000_0000_0000n,
      0xffff_8380_0000_0000n,
      1n << 60n,
    ),
    isWrite: fc.boolean(),
    faultMasksEvents: fc.boolean(),
    hasHandler: fc.constantFrom(true, true, true, false),
  });
  it('are the same in any state', async () => {
    await fc.assert(
      fc.asyncProperty(anyState, async (state) => {
        expect(seen(await run(state))).toEqual(seen(await run(state, 'all')));
      }),
      { numRuns: 60 },
    );
  }, 120_000);
});

/** IN of a PV64 guest's kernel without an exit, and of its user mode with one: everything that can be seen afterwards is as if it had left each time. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import xen from '../../packages/plugin-xen/src/index.ts';
import { seen } from '../guests/ended.ts';
import { machineInProcess } from '../guests/in-process.ts';
import { hypercall64, imm32, imm64, pvKernel, reason, SHUTDOWN_BY_EDI, set, VIRT_BASE } from '../guests/pv-kernel.ts';

const BASE = VIRT_BASE + 0x10_0000n;
const AT = { USER: 0x400, OPERATION: 0x1000, IOPL: 0x1040, FRAME: 0x1080, STACK: 0x1f00 } as const;
const FLAT_CS = 0xe033n;
const FLAT_SS = 0xe02bn;
const MMUEXT_NEW_USER_BASEPTR = 15;
const PHYSDEVOP_SET_IOPL = 6;
const DOMID_SELF = 0x7ff0n;
const REPEATS = 20;

/** in al,0x42; in eax,0x42; in al,dx; in ax,dx; in eax,dx */
const INPUTS = [[0xe4, 0x42], [0xe5, 0x42], [0xec], [0x66, 0xed], [0xed]] as const;

interface State {
  readonly input: readonly number[];
  readonly port: number;
  readonly rax: bigint;
  /** What the kernel asks for; undefined: nothing. */
  readonly iopl: number | undefined;
  /** User mode reads, too. */
  readonly inUserMode: boolean;
}

function kernel({ input, port, rax, iopl, inUserMode }: State): Buffer {
  const at = (offset: number) => BASE + BigInt(offset);
  const reads = [
    ...[0x49, 0xc7, 0xc7, ...imm32(REPEATS)], // mov r15, REPEATS
    ...[0x48, 0xb8, ...imm64(rax), ...set.rdx(BigInt(port))], // l: mov rax
    ...input,
    ...[0x4d, 0x69, 0xf6, 3, 0, 0, 0, 0x49, 0x01, 0xc6], // imul r14, r14, 3; add r14, rax
    ...[0x49, 0xff, 0xcf], // dec r15
    ...[0x75, 0x100 - (35 + input.length)], // jne l
  ];
  const start = [
    ...(iopl === undefined
      ? []
      : [...set.rdi(BigInt(PHYSDEVOP_SET_IOPL)), ...set.rsi(at(AT.IOPL)), ...hypercall64(33)]),
    ...[...set.rdi(at(AT.OPERATION)), ...set.rsi(1n), ...set.rdx(0n), ...set.r10(DOMID_SELF), ...hypercall64(26)], // mmuext_op
    ...reads,
    ...(inUserMode ? [...set.rsp(at(AT.FRAME)), ...hypercall64(23)] : [...reason(0), ...SHUTDOWN_BY_EDI]), // iret
  ];
  const code = new Array(0x2000).fill(0xcc);
  const put = (offset: number, bytes: readonly number[]) => code.splice(offset, bytes.length, ...bytes);
  put(0, start);
  put(AT.USER, [...reads, 0x0f, 0x0b]);
  code.fill(0, 0x1000);
  put(AT.OPERATION, [...imm32(MMUEXT_NEW_USER_BASEPTR), 0, 0, 0, 0]);
  put(AT.IOPL, imm32(iopl ?? 0));
  put(AT.FRAME, [0n, 0n, 0n, 0n, at(AT.USER), FLAT_CS, 0x202n, at(AT.STACK), FLAT_SS].flatMap(imm64));
  return pvKernel({ code });
}

async function run(state: State, exits?: 'all') {
  const { machine } = await machineInProcess({
    ...{ name: 'kernel', file: kernel(state), plugins: [[xen]], options: exits && { exits } },
  });
  const [vcpu] = machine.vcpus;
  vcpu.write(BASE + BigInt(AT.OPERATION + 8), Uint8Array.from(imm64(vcpu.cr3 >> 12n)), { as: 'supervisor' });
  const { reason: ended } = await machine.run();
  return { machine, reason: ended, left: Number(machine.stats()['exit.io'] ?? 0) };
}

describe('ports of a PV64 guest', () => {
  it.each(INPUTS.map((input) => ({ input })))('are read by its kernel without an exit: $input', async ({ input }) => {
    const state = { input, port: 0x42, rax: 0x1122_3344_5566_7788n, iopl: 1, inUserMode: false };
    const [direct, whole] = [await run(state), await run(state, 'all')];
    expect(seen(direct)).toEqual(seen(whole));
    expect(whole.reason).toEqual({ kind: 'poweroff' });
    expect([direct.left, whole.left]).toEqual([0, REPEATS]);
  });

  it('are as they are with an exit, whoever may read them', async () => {
    const states = fc.record<State>({
      input: fc.constantFrom(...INPUTS),
      port: fc.nat({ max: 0xffff }),
      rax: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      iopl: fc.constantFrom(undefined, 0, 1, 3),
      inUserMode: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(states, async (state) => {
        const [direct, whole] = [await run(state), await run(state, 'all')];
        expect(seen(direct)).toEqual(seen(whole));
        // Whoever may not read ends with its first try.
        const mayRead = (state.iopl ?? 0) >= 1;
        expect(direct.left).toBe(mayRead ? (state.inUserMode ? (state.iopl === 3 ? REPEATS : 1) : 0) : 1);
      }),
      { numRuns: 40 },
    );
  }, 120_000);
});

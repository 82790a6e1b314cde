import { describe, expect, it } from 'vitest';
import { POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import type { LiveOps } from './live-ops.ts';
import { readOpsObject } from './object-module.ts';
import { buildKernel } from './testing/kernel-fixture.ts';
import { attachTo, callTo, gvaOf, kernelOptions, placeKernel, RET, SITE } from './testing/kernel-in-memory.ts';
import { buildModule, type ModuleOptions } from './testing/module-fixture.ts';

const TRACER_NOP = [0x0f, 0x1f, 0x44, 0, 0];
const [REMEDY, CALLS_BACK, FAULTS] = [0x380, 0x3a0, 0x3b0];
const RCX = 1;
const RBX = 3;
const RBP = 5;
const RSP = 4;
const INTERRUPT_FLAG = 0x200n;

/** The kernel of the fixture, with `fixup_exception`, which knows no remedy, and functions that call RDI and that meet #UD. */
const kernel = buildKernel({
  ...kernelOptions,
  code: {
    ...kernelOptions.code,
    [REMEDY]: [...TRACER_NOP, 0x31, 0xc0, ...RET],
    [CALLS_BACK]: [0xff, 0xd7, ...RET],
    [FAULTS]: [0x0f, 0x0b],
  },
  symbols: {
    ...kernelOptions.symbols,
    ...{ fixup_exception: BigInt(REMEDY), calls_back: BigInt(CALLS_BACK), faults: BigInt(FAULTS) },
  },
});

/** As Linux enters an exception without error code: struct pt_regs on the stack, and out again if there is a remedy. */
const UNDEFINED_OPCODE = [
  '6aff 57 56 52 51 50 4150 4151 4152 4153 53 55 4154 4155 4156 4157', // push -1, rdi … r15
  `4889e7 ${callTo(gvaOf(REMEDY))} 85c0 741d`, // mov rdi, rsp; call; test eax, eax; jz
  '415f 415e 415d 415c 5d 5b 415b 415a 4159 4158 58 59 5a 5e 5f 4883c408 48cf', // pop r15 … rdi; add rsp, 8; iretq
  `48c7c30000ee00 ${POWER_OFF}`, // mov rbx, 0xee0000
].join(' ');

/** push rbx; xor ebx, ebx; xor ebp, ebp; cli; ud2. */
const FAULTY = [0x53, 0x31, 0xdb, 0x31, 0xed, 0xfa, 0x0f, 0x0b];
const text = (
  bytes: readonly number[],
  relocations: NonNullable<ModuleOptions['sections']>[number]['relocations'] = [],
) => ({
  sections: [{ name: '.text', flags: 6, bytes, alignBytes: 16, relocations }],
});

/** Loads a module with `op` for `halt`, which adds 1 to RBX by itself, and calls that slot twice with RBX 64 and interrupts on. */
async function run(module: Pick<ModuleOptions, 'sections' | 'symbols'>) {
  const said: string[] = [];
  let live: LiveOps | undefined;
  const calls = `${callTo(gvaOf(SITE.halt))}${callTo(gvaOf(SITE.halt))}`;
  const { gpr, end } = await runNative(
    `48c7c400001a00 48c7c340000000 48c7c555000000 fb ${calls} 9c59 ${POWER_OFF}`,
    { 6: UNDEFINED_OPCODE },
    () => ({ memoryBytes: 8 << 20 }),
    (machine) => {
      placeKernel(machine, kernel);
      live = attachTo(machine, kernel, (message) => said.push(message));
      const object = readOpsObject(buildModule({ ...module, ops: { halt: 'op' } }), 'faulty.o');
      live?.loadObject(object, { settled: true });
    },
  );
  if (end.report) throw new Error(end.report);
  const [loaded] = live?.modules ?? [];
  return {
    rbx: gpr[RBX],
    rbp: gpr[RBP],
    rsp: gpr[RSP],
    flags: gpr[RCX],
    failed: loaded.failed,
    said,
    live: live as LiveOps,
  };
}

describe('an operation in guest code', () => {
  it('that meets a fault is out of its slot, and the one before is called as if nothing had been between', async () => {
    const { rbx, rbp, rsp, flags, failed, said, live } = await run(text(FAULTY));
    expect(flags & INTERRUPT_FLAG).toBe(INTERRUPT_FLAG);
    expect({ rbx, rbp, rsp }).toEqual({ rbx: 66n, rbp: 0x55n, rsp: 0x1a0000n });
    const message = 'PV5019: ops module fixture has failed in halt, which is as before: a fault at op+0x6';
    expect(failed).toEqual([{ slot: 'halt', message }]);
    expect(said).toEqual([message]);
    expect(live.slots().find(({ slot }) => slot.name === 'halt')).toMatchObject({ state: 'forgotten' });
  });

  it('is not mistaken for the kernel: a fault in a function that it calls is as ever', async () => {
    const { rbx, failed } = await run(
      text([0xe8, 0, 0, 0, 0, 0xc3], [{ at: 1, type: 4, symbol: 'faults', addend: -4 }]),
    );
    expect([rbx, failed]).toEqual([0xee0000n, []]);
  });

  it('nor is a fault contained while a function of the kernel is on the way', async () => {
    // lea rdi, [rip+6]; call calls_back; ret; ud2
    const code = [0x48, 0x8d, 0x3d, 6, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xc3, 0x0f, 0x0b];
    const { rbx, failed } = await run(text(code, [{ at: 8, type: 4, symbol: 'calls_back', addend: -4 }]));
    expect([rbx, failed]).toEqual([0xee0000n, []]);
  });

  it('leaves no trace in the kernel when it is unloaded', async () => {
    const { live } = await run(text(FAULTY));
    const before = live.text();
    const { kernel: running } = live;
    const at = running.symbol('fixup_exception') ?? 0n;
    expect(running.read(at, 5)).not.toEqual(Uint8Array.from(TRACER_NOP));
    live.unload('fixture');
    expect(running.read(at, 5)).toEqual(Uint8Array.from(TRACER_NOP));
    expect(live.text()).not.toEqual(before);
  });
});

import type { CodeOp, CodePlace, TypescriptOps } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BtfWriter } from '../loader/image/testing/btf-fixture.ts';
import type { Machine } from '../machine/index.ts';
import { POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import { findKernelOps } from './kernel-ops.ts';
import type { LiveOps } from './live-ops.ts';
import { readOpsObject } from './object-module.ts';
import { planInstall } from './plan.ts';
import {
  BASES,
  buildKernel,
  type FixtureStaticCall,
  type KernelOptions,
  rel32,
  staticCallSymbols,
  type Width,
} from './testing/kernel-fixture.ts';
import { attachTo, callTo, gvaOf, KERNEL_AT, kernelOptions, placeKernel, RET } from './testing/kernel-in-memory.ts';
import { buildModule } from './testing/module-fixture.ts';

const CLOCK = 'time.sched_clock';
/** The function answers 9. */
const [TARGET, TRAMPOLINE, CALL, TAIL_CALL] = [0x340, 0x380, 0x100, 0x120];
const calls: readonly FixtureStaticCall[] = [
  // Not one that stands for an operation.
  { call: 'might_resched', target: 0x310, trampoline: 0x390, sites: [{ at: 0x140, opcode: 0xe8 }] },
  {
    ...{ call: 'pv_sched_clock', target: TARGET, trampoline: TRAMPOLINE },
    sites: [
      { at: CALL, opcode: 0xe8 },
      { at: TAIL_CALL, opcode: 0xe9 },
    ],
  },
];
const optionsOf = (width: Width, symbols: Readonly<Record<string, bigint>>): KernelOptions => ({
  ...kernelOptions,
  width,
  code: { ...kernelOptions.code, [TARGET]: [0xb8, 9, 0, 0, 0, ...RET], [CALL + 5]: RET },
  staticCalls: calls,
  symbols: { ...(kernelOptions.symbols as Record<string, bigint>), native_sched_clock: BigInt(TARGET), ...symbols },
});
const listed = (width: Width) => optionsOf(width, staticCallSymbols(width, calls));
/** A 32-bit kernel has no list of sites, and without symbols of data nothing names its keys. */
const unlisted = (width: Width) => optionsOf(width, staticCallSymbols(width, calls, false));

describe.each<Width>([64, 32])('static calls of a %i-bit kernel', (width) => {
  const address = (offset: number) => BASES[width] + BigInt(offset);

  it('are slots beside the table, with every branch to them as a site', () => {
    const { slots, staticCalls, all, unreadable } = findKernelOps(buildKernel(listed(width)));
    expect(slots.map(({ name }) => name)).toEqual(['halt', 'value']);
    expect(all).toEqual([...slots, ...staticCalls]);
    expect(unreadable).toBe(0);
    expect(staticCalls).toMatchObject([
      {
        ...{ index: 2, name: CLOCK, heldIn: 'staticCall', group: 'time', convention: 'c' },
        implementation: { kind: 'native', symbols: ['native_sched_clock'], address: address(TARGET) },
        sites: [
          { address: address(TRAMPOLINE), listedIn: '.static_call.text', sizeBytes: 5 },
          { address: address(CALL), listedIn: '.static_call_sites', sizeBytes: 5 },
          { address: address(TAIL_CALL), listedIn: '.static_call_sites', sizeBytes: 5 },
        ],
      },
    ]);
  });

  it('are called by the trampoline alone where there is no list', () => {
    const { staticCalls } = findKernelOps(buildKernel(unlisted(width)));
    expect(staticCalls).toMatchObject([
      { name: CLOCK, pointerAddress: undefined, implementation: { address: address(TARGET) }, sites: [{}] },
    ]);
  });

  it('are left out where there is a list that is not known, which then is where the calls are', () => {
    const { symbols = {}, ...options } = unlisted(width);
    const kernel = buildKernel({ ...options, symbols: { ...symbols, static_call_text_reserved: 0x3d0n } });
    expect(findKernelOps(kernel).staticCalls).toEqual([]);
  });

  it('are not there where the table has such a slot', () => {
    const types = new BtfWriter();
    const word = width / 8;
    const pointer = types.pointer(types.prototype(0, []));
    const time = types.struct('pv_time_ops', 2 * word, [
      ['sched_clock', pointer, 0],
      ['steal_clock', pointer, word],
    ]);
    types.struct('paravirt_patch_template', 2 * word, [['time', time, 0]]);
    const { slots, staticCalls } = findKernelOps(buildKernel({ ...listed(width), btf: types.bytes() }));
    expect([slots.map(({ name }) => name), staticCalls]).toEqual([[CLOCK, 'time.steal_clock'], []]);
  });

  it('have no sites that are no branches to the trampoline', () => {
    const options = listed(width);
    const code = { ...options.code, [CALL]: [0x90], [TAIL_CALL]: rel32(0xe9, TAIL_CALL, TARGET) };
    const kernel = buildKernel(options);
    const { offset } = kernel.section('.text') as { offset: number };
    for (const [at, bytes] of Object.entries(code)) kernel.bytes.set(bytes, offset + Number(at));
    const { staticCalls, unreadable } = findKernelOps(kernel);
    expect(staticCalls[0].sites).toMatchObject([{ address: address(TRAMPOLINE) }]);
    expect(unreadable).toBe(2);
  });

  it('need not be named by a table of ops that has to be whole', () => {
    const { all } = findKernelOps(buildKernel(listed(width)));
    const table = { name: 'mine', version: '1.0.0', ops: { halt: 'nop', value: 'nop' } as const };
    expect(planInstall(all, table, 'strict').ops.map(({ state }) => state)).toEqual(['nop', 'nop', 'forgotten']);
    expect(() => planInstall(all, { ...table, ops: { halt: 'nop' } }, 'strict')).toThrow(/forgets 1 of 2 slots: value/);
    const named = planInstall(all, { ...table, ops: { [CLOCK]: 'native' } }, 'overlay');
    expect(named.ops.map(({ state }) => state)).toEqual(['forgotten', 'forgotten', 'native']);
  });
});

it('whatever the list of sites and its bounds are, sites are branches to the trampoline', () => {
  const kernel = buildKernel(listed(64));
  const section = (name: string) => kernel.section(name) as { offset: number; sizeBytes: number };
  const damaged = ['.static_call_sites', '.keys', '.symtab', '.text'].map(section);
  const change = fc.tuple(fc.constantFrom(...damaged), fc.nat(), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
      const bytes = kernel.bytes.slice();
      for (const [{ offset, sizeBytes }, at, value] of changes) bytes[offset + (at % sizeBytes)] = value;
      try {
        for (const { sites, implementation } of findKernelOps({ ...kernel, bytes }).staticCalls) {
          expect(implementation.address).toBeGreaterThanOrEqual(BASES[64]);
          for (const { address } of sites) {
            expect([0xe8, 0xe9]).toContain(bytes[section('.text').offset + Number(address - BASES[64])]);
          }
        }
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^PV/) });
      }
    }),
    { numRuns: 500 },
  );
});

const RBP = 5;
/** `call site; mov rbp, rax` */
const callOf = (at: number) => `${callTo(gvaOf(at))}4889c5`;
const manifest = { name: 'mine', version: '1.0.0', api: '^1.6', guest: 'linux64' } as const;

/** Runs a call of a site with what `prepare` has loaded; `boot`: what the kernel has made of its sites. */
async function run(
  prepare: (live: LiveOps, machine: Machine) => void,
  { at = CALL, options = listed(64), boot = (_machine: Machine) => {} } = {},
) {
  const file = buildKernel(options);
  const said: string[] = [];
  let live: LiveOps | undefined;
  const { gpr, end, machine } = await runNative(
    `48c7c400001a00${callOf(at)}${POWER_OFF}`,
    {},
    () => ({ memoryBytes: 8 << 20 }),
    (made) => {
      placeKernel(made, file);
      boot(made);
      live = attachTo(made, file, (message) => said.push(message));
      const [vcpu] = made.vcpus;
      const { eflags } = vcpu;
      // At a safe point: halted, with interrupts on.
      vcpu.blocked = true;
      vcpu.eflags = eflags | 0x200;
      if (live) prepare(live, made);
      vcpu.blocked = false;
      vcpu.eflags = eflags;
    },
  );
  if (!live) throw new Error('the kernel has not been found');
  if (end.report) throw new Error(end.report);
  return { rbp: gpr[RBP], live, said, machine };
}
const clock = (op: TypescriptOps['ops'][string], name = 'mine') => ({ ...manifest, name, ops: { [CLOCK]: op } });
const stateOf = (live: LiveOps) => live.slots().find(({ slot }) => slot.name === CLOCK);
/** As a 64-bit kernel does when it boots. */
const inlined = (machine: Machine) => {
  for (const [at, opcode] of [
    [CALL, 0xe8],
    [TAIL_CALL, 0xe9],
  ])
    machine.memory.writeBytes(KERNEL_AT + at, Uint8Array.from(rel32(opcode, at, TARGET)));
};

describe('static calls of a kernel that runs', () => {
  it("are the kernel's own at first", async () => {
    const { rbp, live } = await run(() => {}, { boot: inlined });
    expect(rbp).toBe(9n);
    expect(stateOf(live)).toMatchObject({ state: 'native', targetName: 'native_sched_clock', sites: 3 });
  });

  it.each([
    ['a call', CALL],
    ['a tail call', TAIL_CALL],
    ['the trampoline', TRAMPOLINE],
  ])('take an operation in TypeScript, by %s, and its key leads there too', async (_what, at) => {
    const { rbp, live, machine } = await run((loaded) => loaded.load(clock(() => 5n)), { at, boot: inlined });
    expect(rbp).toBe(5n);
    expect(stateOf(live)).toMatchObject({ state: 'own', module: 'mine' });
    const key = machine.memory.read64(KERNEL_AT + 0x18010);
    expect(key).not.toBe(gvaOf(TARGET));
    live.unload('mine');
    expect(machine.memory.read64(KERNEL_AT + 0x18010)).toBe(gvaOf(TARGET));
  });

  it('reach what was there before, and are counted', async () => {
    const { rbp, live } = await run((loaded) => {
      loaded.load(clock(() => ({ previous: (result) => result + 100n })));
      expect(loaded.count(true)?.sites).toBe(6);
    });
    expect(rbp).toBe(109n);
    const counts = live.takeCounts().map((count, i) => [live.sites[i].address, count] as const);
    expect(counts.filter(([, count]) => count > 0)).toEqual([[BASES[64] + BigInt(CALL), 1]]);
  });

  it('are bit for bit as they were afterwards', async () => {
    await run(
      (live) => {
        const before = live.text();
        expect(live.load(clock(() => 5n))?.sites).toBe(3);
        expect(live.text()).not.toEqual(before);
        expect(live.strays()).toEqual([]);
        expect(live.unload('mine')?.sites).toBe(3);
        expect(live.text()).toEqual(before);
      },
      { boot: inlined },
    );
  });

  it('take an object, which finds what was there before', async () => {
    // lea rax, [before]; mov rax, [rax]; call rax; add rax, rax; ret: with the address of `before` relocated.
    const bytes = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0x8b, 0x00, 0xff, 0xd0, 0x48, 0x01, 0xc0, ...RET];
    const relocations = [{ at: 2, type: 1, symbol: 'before', addend: 0 }];
    const sections = [{ name: '.text', flags: 6, bytes, alignBytes: 16, relocations }];
    const options = { ops: { [CLOCK]: 'op' }, previous: { [CLOCK]: 'before' }, sections };
    const object = readOpsObject(buildModule(options), 'twice.o');
    const { rbp, live } = await run((loaded) => loaded.loadObject(object), { boot: inlined });
    expect(rbp).toBe(18n);
    expect(stateOf(live)).toMatchObject({ state: 'own', module: 'fixture' });
    expect(live.unload('fixture')?.sites).toBe(3);
  });

  it('are taken by the trampoline alone where no key is known', async () => {
    const andMore = () => ({ previous: (result: bigint) => result + 100n });
    const { rbp, live } = await run((loaded) => expect(loaded.load(clock(andMore))?.sites).toBe(1), {
      ...{ options: unlisted(64), at: TRAMPOLINE },
    });
    expect(rbp).toBe(109n);
    expect(stateOf(live)).toMatchObject({ sites: 1 });
  });

  it('leave alone a site that the kernel has made something else of', async () => {
    const boot = ({ memory }: Machine) => memory.writeBytes(KERNEL_AT + CALL, Uint8Array.of(0x0f, 0x1f, 0x44, 0, 0));
    const { live } = await run((loaded) => expect(loaded.load(clock(() => 5n))?.sites).toBe(2), { boot });
    expect(live.leftOut).toBe(1);
  });

  it('of whose key the guest says what can be no function refuse all operations', async () => {
    const boot = ({ memory }: Machine) => memory.write64(KERNEL_AT + 0x18010, 0xffff_8880_0000_1234n);
    const refusal = expect.objectContaining({ code: 'PV5011', message: expect.stringContaining(CLOCK) });
    await expect(run(() => {}, { boot })).rejects.toEqual(refusal);
  });
});

describe('memory of an operation in machine code', () => {
  /** mov rax, [data]; ret */
  const readData = ({ address, data }: CodePlace) => {
    const bytes = Uint8Array.from([0x48, 0x8b, 0x05, 0, 0, 0, 0, ...RET]);
    new DataView(bytes.buffer).setInt32(3, Number(data - (address + 7n)), true);
    return bytes;
  };

  it('is read by its code, and is 0 whenever its module is loaded', async () => {
    const places: CodePlace[] = [];
    const code = (place: CodePlace) => {
      places.push(place);
      return readData(place);
    };
    const op: CodeOp = { code, dataBytes: 8 };
    const write = (live: LiveOps, machine: Machine) => {
      // Code is also asked for to see what it looks at, and then does not stand anywhere.
      const { data } = places.findLast((place) => place.data !== place.address) as CodePlace;
      machine.memory.write64(live.kernel.gpaOf(data) as number, 7n);
    };
    const written = await run((live, machine) => {
      live.load(clock(op));
      write(live, machine);
    });
    expect(written.rbp).toBe(7n);
    const loadedAgain = await run((live, machine) => {
      live.load(clock({ ...op }));
      write(live, machine);
      live.load(clock(op));
      write(live, machine);
      live.load(clock(op));
    });
    expect(loadedAgain.rbp).toBe(0n);
  });

  it('is told to its trap, and to no other function', async () => {
    const read: bigint[] = [];
    const asks: CodeOp = {
      dataBytes: 16,
      code: ({ address, trap }) => Uint8Array.from(rel32(0xe9, Number(address & 0xffffffn), Number(trap & 0xffffffn))),
      trap: ({ memory, data }) => {
        read.push(memory.read64(data));
        memory.write64(data, 7n);
        read.push(memory.read64(data));
        return 3n;
      },
    };
    const { rbp, said } = await run((live) => live.load(clock(asks)));
    expect([rbp, read, said]).toEqual([3n, [0n, 7n], []]);
    const without = await run((live) => live.load(clock(({ data }) => BigInt(data))));
    expect(without.said).toEqual([expect.stringMatching(/PV5019: .*sched_clock.*no memory of its own/)]);
    expect(without.rbp).toBe(9n);
  });

  it.each([-1, 1.5, 257])('is refused if it is to be of %d bytes', async (dataBytes) => {
    await run((live) =>
      expect(() => live.load(clock({ code: readData, dataBytes }))).toThrow(
        expect.objectContaining({ code: 'PV5018' }),
      ),
    );
  });
});

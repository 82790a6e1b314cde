import { Gpr, type TypescriptOps } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../machine/index.ts';
import { POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import { GuestRegistrations } from './guest-calls.ts';
import { LiveOps } from './live-ops.ts';
import { BASES } from './testing/kernel-fixture.ts';
import { kernel, placeKernel, SITE, SLIDE } from './testing/kernel-in-memory.ts';

const [REGISTER, UNREGISTER, STATE] = [0x4f505301, 0x4f505302, 0x4f505303];
const [RBX, RBP] = [3, 5];
const KERNEL_AT = 0x400000;
/** Offsets in the kernel's image: the guest's own functions, a word for what was there before, texts and table. */
const At = { seven: 0x500, more: 0x520, previous: 0x600, manifest: 0x700, table: 0x800 } as const;
const gvaOf = (offset: number) => BASES[64] + SLIDE + BigInt(offset);
const MANIFEST = 'name=driver\nversion=1.0.0\napi=^1.2\nguest=linux64\n';
const ENTRY_BYTES = 72;

const le64 = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.toString('hex');
};
/** `mov r64, value`, by the register's encoding number. */
const move = (register: number, value: bigint | number) => `48${(0xb8 + register).toString(16)}${le64(BigInt(value))}`;
const VMCALL = '0f01c1';
const callOf = (number: number, [a, b, c, d]: readonly (bigint | number)[]) =>
  [move(3, a), move(1, b), move(2, c ?? 0), move(6, d ?? 0), move(0, number), VMCALL].join('');
const register = (entries = 1, sizeBytes = MANIFEST.length) =>
  callOf(REGISTER, [gvaOf(At.manifest), sizeBytes, gvaOf(At.table), entries]);
const named = (number: number) => callOf(number, [gvaOf(At.manifest) + 5n, 'driver'.length]);
/** `mov rdi, 21; call value; mov rbp, rax`. */
const VALUE = `48c7c71500000048b8${le64(gvaOf(SITE.value))}ffd04889c5`;
/** `mov r64, rax`. */
const KEEP = (register: number) => `4889${(0xc0 + register).toString(16)}`;

interface Entry {
  readonly slot: string;
  readonly gva: bigint;
  readonly previousAt?: bigint;
}

function placeTable({ memory }: Machine, entries: readonly Entry[]): void {
  for (const [i, { slot, gva, previousAt = 0n }] of entries.entries()) {
    const at = KERNEL_AT + At.table + i * ENTRY_BYTES;
    memory.fill(at, ENTRY_BYTES, 0);
    memory.writeBytes(at, new TextEncoder().encode(slot));
    memory.write64(at + 48, gva);
    memory.write64(at + 56, previousAt);
  }
}

const SEVEN: Entry = { slot: 'value', gva: gvaOf(At.seven), previousAt: gvaOf(At.previous) };

interface RunOptions {
  readonly entries?: readonly Entry[];
  readonly manifest?: string;
  /** Whether a moment is found for what it registers. */
  readonly settled?: boolean;
  readonly known?: boolean;
  readonly loaded?: TypescriptOps;
}

async function run(
  code: string,
  { entries = [SEVEN], manifest = MANIFEST, settled = true, known = true, loaded }: RunOptions = {},
) {
  const said: string[] = [];
  const state: { live?: LiveOps; machine?: Machine } = {};
  const { gpr, end, machine } = await runNative(
    `48c7c400001a0031db${code}${POWER_OFF}`,
    {},
    () => ({ memoryBytes: 8 << 20 }),
    (made) => {
      placeKernel(made);
      const { memory, vcpus } = made;
      // mov eax, 7; ret
      memory.writeBytes(KERNEL_AT + At.seven, Uint8Array.of(0xb8, 7, 0, 0, 0, 0xc3));
      // call [previous]; add rax, 1; ret
      const more = Buffer.from('ff15000000004883c001c3', 'hex');
      more.writeInt32LE(At.previous - (At.more + 6), 2);
      memory.writeBytes(KERNEL_AT + At.more, more);
      memory.writeBytes(KERNEL_AT + At.manifest, new TextEncoder().encode(manifest));
      placeTable(made, entries);
      const live = known
        ? LiveOps.attach(made, kernel, { nowNs: () => 0, cpuNs: () => 0, report: (text) => said.push(text) }, true)
        : undefined;
      if (live) state.live = live;
      if (loaded) live?.load(loaded, { settled: true });
      new GuestRegistrations(made, { live: () => live, report: (text) => said.push(text), handOver: async () => {} });
      const { attempt } = made;
      // While it is tried the vCPU is where it would be later: in user space.
      made.attempt = ((tried, forNs) => {
        if (!settled) return new Promise(() => {});
        const [vcpu] = vcpus;
        const { cpl } = vcpu;
        vcpu.cpl = 3;
        try {
          return attempt.call(made, tried, forNs);
        } finally {
          vcpu.cpl = cpl;
        }
      }) as typeof attempt;
    },
  );
  if (end.report) throw new Error(end.report);
  return { gpr, said, live: state.live, machine };
}

const signed = (value: bigint) => BigInt.asIntN(64, value);
/** What the last call answered is in RBX then. */
const ANSWER = KEEP(3);

describe('operations that a guest registers', () => {
  it('are in its slots from then on, and reach what was there before', async () => {
    const { gpr, live, machine } = await run(`${register()}${ANSWER}${VALUE}`);
    expect([signed(gpr[RBX]), gpr[RBP]]).toEqual([1n, 7n]);
    expect(live?.modules).toMatchObject([{ manifest: { name: 'driver' }, kind: 'guestTable', slots: ['value'] }]);
    expect(machine.memory.read64(KERNEL_AT + At.previous)).toBe(live?.previousOf('value'));
    const more = await run(`${register()}${VALUE}`, { entries: [{ ...SEVEN, gva: gvaOf(At.more) }] });
    expect(more.gpr[RBP]).toBe(43n);
  });

  it('are taken out when the guest says so, and its code is as it was', async () => {
    const { gpr, live } = await run(`${register()}${named(UNREGISTER)}${ANSWER}${VALUE}`);
    expect([signed(gpr[RBX]), gpr[RBP]]).toEqual([0n, 42n]);
    expect([live?.modules, live?.strays()]).toEqual([[], []]);
  });

  it('keep all registers but RAX', async () => {
    const { gpr } = await run(register());
    expect([gpr[Gpr.RCX], gpr[Gpr.RSI]]).toEqual([BigInt(MANIFEST.length), 1n]);
  });

  it('are told of by CPUID', async () => {
    const { gpr } = await run(`b804ff00400fa2${KEEP(RBP)}4889d7`);
    expect([gpr[RBP], gpr[RBX], gpr[Gpr.RCX], gpr[Gpr.RDI]]).toEqual([0x10001n, BigInt(REGISTER), 4n, 256n]);
  });

  it('wait for a moment, of which the guest can ask', async () => {
    const { gpr } = await run(`${register()}${named(STATE)}${ANSWER}${VALUE}`, { settled: false });
    expect([signed(gpr[RBX]), gpr[RBP]]).toEqual([1n, 42n]);
    expect(signed((await run(`${named(STATE)}${ANSWER}`)).gpr[RBX])).toBe(0n);
    expect(signed((await run(`${register()}${register()}${ANSWER}`, { settled: false })).gpr[RBX])).toBe(-5029n);
  });

  it('are for a kernel that is known', async () => {
    const { gpr, said } = await run(`${register()}${ANSWER}`, { known: false });
    expect(signed(gpr[RBX])).toBe(-5011n);
    expect(said).toEqual([expect.stringMatching(/^not registered by the guest: PV5011/)]);
  });

  it.each<[string, bigint, string, RunOptions]>([
    ['no entry', -5029n, register(0), {}],
    ['too many entries', -5029n, register(257), {}],
    ['entries beyond memory', -5029n, register(256), { entries: [] }],
    ['a text of no length', -5029n, register(1, 0), {}],
    ['a text that is too long', -5029n, register(1, 4097), {}],
    ['a text that is not mapped', -5029n, callOf(REGISTER, [0xdead_0000_0000n, 9, gvaOf(At.table), 1]), {}],
    ['an address that is none', -5029n, callOf(REGISTER, [1n << 63n, 9, gvaOf(At.table), 1]), {}],
    [
      'a table at the end of all',
      -5029n,
      callOf(REGISTER, [gvaOf(At.manifest), MANIFEST.length, 2n ** 64n - 8n, 1]),
      {},
    ],
    ['a text that is no manifest', -5020n, register(), { manifest: 'x'.repeat(MANIFEST.length) }],
    ['another API', -5021n, register(), { manifest: MANIFEST.replace('^1.2', '^9.0') }],
    ['another word size', -5022n, register(), { manifest: MANIFEST.replace('64', '32') }],
    ['an unknown slot', -5001n, register(), { entries: [{ ...SEVEN, slot: 'nothing' }] }],
    ['a slot twice', -5029n, register(2), { entries: [SEVEN, SEVEN] }],
    ['no name', -5029n, register(), { entries: [{ ...SEVEN, slot: '' }] }],
    ['a function that is nowhere', -5029n, register(), { entries: [{ ...SEVEN, gva: 0x1234_0000_0000n }] }],
    ['a function far from the kernel', -5026n, register(), { entries: [{ ...SEVEN, gva: 0x1000n }] }],
    ['a place that is nowhere', -5029n, register(), { entries: [{ ...SEVEN, previousAt: 0x1234_0000_0000n }] }],
    ['a name that is not registered', -5017n, named(UNREGISTER), {}],
  ])('with %s are refused with %i, and nothing is changed', async (_what, code, call, options) => {
    const { gpr, live, machine } = await run(`${call}${ANSWER}${VALUE}`, options);
    expect([signed(gpr[RBX]), gpr[RBP]]).toEqual([code, 42n]);
    expect(live?.modules).toEqual([]);
    expect(machine.memory.read64(KERNEL_AT + At.previous)).toBe(0n);
  });

  it('are there until they are taken out, once', async () => {
    expect(signed((await run(`${register()}${named(STATE)}${ANSWER}`)).gpr[RBX])).toBe(2n);
    const { gpr, live } = await run(`${register()}${named(UNREGISTER)}${named(UNREGISTER)}${ANSWER}`);
    expect([signed(gpr[RBX]), live?.modules]).toEqual([-5017n, []]);
  });

  it('cannot take out or replace what the host has loaded', async () => {
    const loaded = { name: 'driver', version: '1.0.0', api: '^1.2', guest: 'linux', ops: { halt: 'nop' } } as const;
    for (const [call, code] of [
      [register(), -5029n],
      [named(UNREGISTER), -5017n],
    ] as const) {
      const { gpr, live } = await run(`${call}${ANSWER}`, { loaded });
      expect([signed(gpr[RBX]), live?.modules.map(({ kind }) => kind)]).toEqual([code, ['typescript']]);
    }
  });

  it('answer something for whatever is in the registers', async () => {
    const word = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.constantFrom(gvaOf(At.manifest), gvaOf(At.table), gvaOf(0)),
      fc.bigInt({ min: 0n, max: 8192n }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(REGISTER, UNREGISTER, STATE),
        fc.tuple(word, word, word, word),
        async (n, args) => {
          const { gpr, live } = await run(`${callOf(n, args)}${ANSWER}${VALUE}`, { settled: false });
          expect(signed(gpr[RBX])).toBeLessThanOrEqual(1n);
          expect([gpr[RBP], live?.modules]).toEqual([42n, []]);
        },
      ),
      { numRuns: 12 },
    );
  });

  it('leave other numbers to whom they belong', async () => {
    // #UD goes to a handler that powers off.
    const { end } = await runNative(
      `48c7c400001a00${move(0, REGISTER + 4)}${VMCALL}`,
      { 6: POWER_OFF },
      () => ({ memoryBytes: 8 << 20 }),
      (made) => {
        new GuestRegistrations(made, { live: () => undefined, report: () => {}, handOver: async () => {} });
      },
    );
    expect(end.reason).toEqual({ kind: 'poweroff' });
  });
});

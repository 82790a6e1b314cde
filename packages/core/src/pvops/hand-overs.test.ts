import { Gpr, PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../machine/index.ts';
import { POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import { GuestRegistrations } from './guest-calls.ts';
import type { HandedOver } from './hand-overs.ts';

const HAND_OVER = 0x4f505304;
const VMCALL = '0f01c1';
const MIB = 1 << 20;
const [KERNEL, MODULE] = [1, 2];
const AT = 0x180000;

/** `mov r64, value`, by the register's encoding number. */
function move(register: number, value: bigint | number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
  return `48${(0xb8 + register).toString(16)}${bytes.toString('hex')}`;
}
const handOver = (at: bigint | number, sizeBytes: bigint | number, kind: bigint | number) =>
  `${move(3, at)}${move(1, sizeBytes)}${move(2, kind)}${move(0, HAND_OVER)}${VMCALL}`;
/** `mov rbp, rax; mov rsi, rdx`. */
const KEEP = '4889c54889d6';
const RBP = 5;

type Take = (kind: HandedOver, bytes: Uint8Array, machine: Machine) => Promise<void>;

async function run(code: string, take: Take = async () => {}) {
  const said: string[] = [];
  const taken: { kind: HandedOver; bytes: Uint8Array }[] = [];
  const { gpr, end, machine } = await runNative(
    `48c7c400001a00${code}${POWER_OFF}`,
    {},
    () => ({ memoryBytes: 8 * MIB }),
    (made) => {
      made.memory.writeBytes(AT, new TextEncoder().encode('some object'));
      new GuestRegistrations(made, {
        live: () => undefined,
        report: (text) => said.push(text),
        handOver: async (kind, bytes) => {
          taken.push({ kind, bytes });
          await take(kind, bytes, made);
        },
      });
    },
  );
  return { gpr, said, taken, end, machine };
}
const neverCalled = async () => {
  throw new TypeError('this is not to be called');
};

/** U/S in every entry that maps the first pages (SDM vol. 3A, 4.5). */
function openToUsers({ memory, vcpus }: Machine): void {
  let table = Number(vcpus[0].cr3);
  for (const _level of ['PML4', 'PDPT', 'PD']) {
    for (let at = table; at < table + 64; at += 8) memory.write64(at, memory.read64(at) | 4n);
    table = Number(memory.read64(table) & 0xff_ffff_f000n);
  }
  vcpus[0].flushTlb();
}

const signed = (value: bigint) => BigInt.asIntN(64, value);

describe('what a guest hands over', () => {
  it.each([
    [KERNEL, 'kernel'],
    [MODULE, 'module'],
  ] as const)('is copied, kind %i as a %s', async (number, kind) => {
    const { gpr, taken, said } = await run(`${handOver(AT, 11, number)}${KEEP}`);
    expect(taken).toEqual([{ kind, bytes: new TextEncoder().encode('some object') }]);
    expect([gpr[RBP], said]).toEqual([1n, []]);
    expect([gpr[Gpr.RBX], gpr[Gpr.RCX], gpr[Gpr.RSI]]).toEqual([BigInt(AT), 11n, BigInt(number)]);
  });

  it('is answered before the next instruction, however long it takes', async () => {
    const seen: { rip: bigint; ns: number }[] = [];
    const { gpr, taken } = await run(`${handOver(AT, 11, MODULE)}${KEEP}`, async (_kind, _bytes, { vcpus, clock }) => {
      for (const turn of [0, 1, 2]) {
        await new Promise((resolve) => setTimeout(resolve, turn));
        seen.push({ rip: vcpus[0].rip, ns: clock.nowNs() });
      }
    });
    expect([gpr[RBP], taken.length]).toEqual([1n, 1]);
    expect(seen).toEqual(Array(3).fill(seen[0]));
  });

  it('can be refused, with the number of its code', async () => {
    const { gpr, said } = await run(`${handOver(AT, 11, MODULE)}${KEEP}`, async () => {
      throw new PolyvisorError('PV5023', 'of another word size', 'compile it anew');
    });
    expect(signed(gpr[RBP])).toBe(-5023n);
    expect(said).toEqual([expect.stringMatching(/^not taken from the guest: PV5023: of another word size/)]);
  });

  it('does not hide an error of ours', async () => {
    const failing = run(handOver(AT, 11, MODULE), async () => {
      throw new TypeError('of ours');
    });
    await expect(failing).rejects.toThrow('of ours');
  });

  it.each<[string, string]>([
    ['nothing', handOver(AT, 0, MODULE)],
    ['too large a module', handOver(AT, 4 * MIB + 1, MODULE)],
    ['too large a kernel', handOver(AT, 64 * MIB + 1, KERNEL)],
    ['what no memory is at', handOver(0x1234_0000_0000n, 64, MODULE)],
    ['what reaches beyond memory', handOver(8 * MIB - 8, 64 * MIB, KERNEL)],
    ['what wraps around', handOver(-8, 64, MODULE)],
    ['another kind', handOver(AT, 11, 3)],
  ])('is refused and not looked at: %s', async (_what, call) => {
    const { gpr, taken, said } = await run(`${call}${KEEP}`);
    expect([signed(gpr[RBP]), taken]).toEqual([-5031n, []]);
    expect(said).toEqual([expect.stringMatching(/^not taken from the guest: PV5031/)]);
  });

  it.each([
    ['kernels', KERNEL, 2],
    ['modules', MODULE, 16],
  ] as const)('is bounded: %s', async (_what, kind, most) => {
    const { gpr, taken } = await run(`${handOver(AT, 11, kind).repeat(most + 1)}${KEEP}`);
    expect([signed(gpr[RBP]), taken.length]).toEqual([-5031n, most]);
    // Refused ones count.
    const small = await run(`${handOver(AT, 0, kind).repeat(most)}${handOver(AT, 11, kind)}${KEEP}`);
    expect([signed(small.gpr[RBP]), small.taken]).toEqual([-5031n, []]);
  });

  it('comes from CPL 0 alone', async () => {
    const said: string[] = [];
    // #UD finds no TSS, and so no way to its handler.
    const { gpr, end } = await runNative(
      handOver(AT, 11, MODULE),
      {},
      () => ({ memoryBytes: 8 * MIB }),
      (made) => {
        new GuestRegistrations(made, {
          live: () => undefined,
          report: (text) => said.push(text),
          handOver: neverCalled,
        });
        openToUsers(made);
        made.vcpus[0].cpl = 3;
      },
    );
    expect(end.reason).toMatchObject({ kind: 'crash' });
    expect([gpr[Gpr.RAX], said]).toEqual([BigInt(HAND_OVER), []]);
  });

  it('answers something for whatever is in the registers', async () => {
    const word = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.constantFrom(BigInt(AT), 0n, 0xffff_f000n),
      fc.bigInt({ min: 0n, max: 8192n }),
    );
    const kind = fc.oneof(word, fc.constantFrom(1n, 2n));
    await fc.assert(
      fc.asyncProperty(word, word, kind, async (at, sizeBytes, which) => {
        const { gpr, taken, end } = await run(`${handOver(at, sizeBytes, which)}${KEEP}`);
        expect(end.reason).toEqual({ kind: 'poweroff' });
        expect(signed(gpr[RBP])).toBe(taken.length === 1 ? 1n : -5031n);
      }),
      { numRuns: 20 },
    );
  });
});

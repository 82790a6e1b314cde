/** The whole plug-in, booted on fakes, under a guest that means harm. */
import type { Exit } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Booted, boot, hypercall, KERNEL_PADDR, VIRT_BASE } from './testing/guest.ts';
import { walk } from './testing/walk.ts';

const LAST_HYPERCALL = 55;
const MULTICALL = 13;
/** A page of the kernel image, for arguments. */
const SCRATCH = VIRT_BASE + KERNEL_PADDR + 0x2000n;
const GUEST_BYTES = 8 << 20;
/** Names of counters are the plug-in's, not the guest's. */
const MAX_COUNTERS = 600;

const anyWord = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const word = fc.oneof(
  anyWord,
  fc.nat(48).map(BigInt),
  fc.nat(0x1000).map((offset) => SCRATCH + BigInt(offset)),
  fc.nat(0x3000).map((mfn) => (BigInt(mfn) << 12n) | 3n),
  fc.constantFrom(0x7ff0n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_fff8n, 1n << 47n, 0xffff_ffffn),
);
const six = fc.array(word, { minLength: 6, maxLength: 6 });
const number = fc.oneof(
  { weight: 8, arbitrary: fc.nat(LAST_HYPERCALL) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
const instructionLength = fc.integer({ min: 1, max: 15 });
const gpr = fc.nat(15);
const exit: fc.Arbitrary<Exit> = fc.oneof(
  fc.record({ kind: fc.constant('exception' as const), vector: fc.nat(19), errorCode: fc.nat(0x1f), cr2: word }),
  fc.record({ kind: fc.constant('softwareInterrupt' as const), vector: fc.nat(255), instructionLength }),
  fc.record({ kind: fc.constant('readCr' as const), cr: fc.nat(8), gpr, instructionLength }),
  fc.record({ kind: fc.constant('writeCr' as const), cr: fc.nat(8), gpr, instructionLength }),
  fc.record({ kind: fc.constant('readDr' as const), dr: fc.nat(7), gpr, instructionLength }),
  fc.record({ kind: fc.constant('writeDr' as const), dr: fc.nat(7), gpr, instructionLength }),
  fc.record({
    kind: fc.constantFrom('syscall', 'sysenter', 'cpuid', 'rdmsr', 'wrmsr', 'clts', 'cli', 'sti', 'wbinvd', 'hlt'),
    instructionLength,
  }),
  fc.record({
    kind: fc.constant('io' as const),
    port: fc.nat(0xffff),
    sizeBytes: fc.constantFrom(1, 2, 4),
    direction: fc.constantFrom('in', 'out'),
    string: fc.boolean(),
    rep: fc.boolean(),
    addressSize: fc.constantFrom(32, 64),
    segment: fc.nat(5),
    instructionLength,
  }),
) as fc.Arbitrary<Exit>;

const action = fc.oneof(
  { weight: 6, arbitrary: fc.record({ call: number, args: six, scratch: fc.array(word, { maxLength: 24 }) }) },
  { weight: 2, arbitrary: fc.record({ batch: fc.array(fc.tuple(number, six), { maxLength: 8 }) }) },
  { weight: 2, arbitrary: fc.record({ exit, registers: fc.array(word, { minLength: 16, maxLength: 16 }), rip: word }) },
);

function put(guest: Booted, words: readonly bigint[]): void {
  words.forEach((value, index) => {
    const gpa = walk(guest.memory, guest.cpu.cr3, SCRATCH + BigInt(index * 8), 'write', true);
    if (typeof gpa === 'number') guest.memory.write64(gpa, value);
  });
}

function act(guest: Booted, each: typeof action extends fc.Arbitrary<infer T> ? T : never): void {
  if ('call' in each) {
    put(guest, each.scratch);
    hypercall(guest, each.call, ...each.args);
  } else if ('batch' in each) {
    put(
      guest,
      each.batch.flatMap(([op, args]) => [BigInt(op), 0n, ...args]),
    );
    hypercall(guest, MULTICALL, SCRATCH, BigInt(each.batch.length));
  } else {
    each.registers.forEach((value, index) => {
      guest.cpu.gpr[index] = value;
    });
    guest.cpu.rip = each.rip;
    guest.host.exit(guest.cpu, each.exit);
  }
}

/**
 * Guest frames stand at the top of machine memory, the hypervisor's own at its start. What the guest shares with it
 * (M2P, shared_info, tables) it may only change as itself: its own frames, and no others.
 */
function expectOwnFramesOnly(guest: Booted): void {
  const firstGuestFrame = (guest.memory.sizeBytes - GUEST_BYTES) / 4096;
  const root = Number(guest.cpu.cr3) / 4096;
  expect(root).toBeGreaterThanOrEqual(firstGuestFrame);
  for (let slot = 0; slot < 512; slot++) {
    const entry = guest.memory.read64(root * 4096 + slot * 8);
    const isHypervisorSlot = slot >= 256 && slot < 272;
    if ((entry & 1n) === 0n || isHypervisorSlot) continue;
    expect(Number((entry & 0x000f_ffff_ffff_f000n) >> 12n)).toBeGreaterThanOrEqual(firstGuestFrame);
  }
}

describe('a hostile guest', () => {
  it('never makes the plug-in throw or loop, leaves its own frames, or fill the host', () => {
    let actions = 0;
    fc.assert(
      fc.property(fc.array(action, { minLength: 20, maxLength: 80 }), (all) => {
        const guest = boot({ memoryBytes: GUEST_BYTES, vcpus: 2 });
        for (const each of all) {
          act(guest, each);
          actions++;
          guest.host.call('beforeEntry', guest.cpu);
          guest.machine.clock.advance(1_000);
          if (guest.machine.ended) break;
        }
        expectOwnFramesOnly(guest);
        expect(guest.host.counters.size).toBeLessThan(MAX_COUNTERS);
        guest.host.call('shutdown', guest.machine.ended ?? { kind: 'poweroff' });
      }),
      { seed: 20, numRuns: 400 },
    );
    expect(actions).toBeGreaterThan(3000);
  });

  it('makes no counters of its own, whatever operations it asks for', () => {
    const guest = boot();
    for (let call = 0; call <= LAST_HYPERCALL; call++) {
      if (call === 23) continue;
      for (let op = 1000; op < 1040; op++) hypercall(guest, call, op);
    }
    expect(guest.host.counters.size).toBeLessThan(200);
  });
});

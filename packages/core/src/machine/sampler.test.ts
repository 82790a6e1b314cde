import { describe, expect, it } from 'vitest';
import type { GuestSample } from './sampler.ts';
import { CODE, type TestGuest, testGuest } from './testing/test-guest.ts';

const RUN_NS = 3_000_000;

/** Runs `code` for 3 million instructions. */
async function run(code: string, options: { sampled?: boolean; prepare?: (guest: TestGuest) => void } = {}) {
  const samples: GuestSample[] = [];
  const guest = await testGuest({
    code: { [CODE]: code },
    options: options.sampled === false ? {} : { onSample: (sample) => samples.push(sample) },
    prepare(made) {
      options.prepare?.(made);
      made.machine.clock.at(RUN_NS, () => made.machine.shutdown({ kind: 'poweroff' }));
    },
  });
  await guest.run();
  return { samples, gpr: [...guest.vcpu.gpr], rip: guest.vcpu.rip, now: guest.machine.clock.nowNs(), guest };
}

const hexAddress = (sample: GuestSample) => sample.rip - BigInt(CODE);

/**
 * 0: call 7 ; 5: jmp 0
 * 7: push rbp ; mov rbp,rsp ; call 19 ; 16: pop rbp ; ret
 * 18 is a nop; 19: push rbp ; mov rbp,rsp ; mov ecx,50 ; 28: dec ecx ; jnz 28 ; inc rbx ; pop rbp ; ret
 */
const NESTED = 'e802000000 ebf9 55 4889e5 e803000000 5d c3 90 55 4889e5 b932000000 ffc9 75fc 48ffc3 5d c3';

describe('samples', () => {
  it('come every 20,000 to 60,000 instructions and stand for all that were executed', async () => {
    const { samples, now } = await run(NESTED);
    expect(samples.length).toBeGreaterThan(RUN_NS / 60_100);
    for (const { instructions } of samples) {
      expect(instructions).toBeGreaterThanOrEqual(20_000);
      expect(instructions).toBeLessThan(60_100);
    }
    const sum = samples.reduce((total, { instructions }) => total + instructions, 0);
    expect(now - sum).toBeGreaterThanOrEqual(0);
    expect(now - sum).toBeLessThan(60_100);
    expect(new Set(samples.map(({ instructions }) => instructions)).size).toBeGreaterThan(samples.length / 2);
  });

  it('name RIP and, by frame pointers, the callers', async () => {
    const { samples, guest } = await run(NESTED);
    const inner = samples.filter((sample) => hexAddress(sample) === 28n);
    expect(inner.length).toBeGreaterThan(samples.length * 0.8);
    expect(new Set(inner.map(({ callers }) => callers.join()))).toEqual(
      new Set([[BigInt(CODE) + 16n, BigInt(CODE) + 5n].join()]),
    );
    expect(inner[0]).toMatchObject({ vcpu: 0, cpl: 0, cr3: BigInt(guest.tables.root) });
  });

  it('are the same in each run, and change nothing in the guest', async () => {
    const [first, second, none] = [await run(NESTED), await run(NESTED), await run(NESTED, { sampled: false })];
    expect(second.samples).toEqual(first.samples);
    const state = ({ gpr, rip, now }: typeof first) => ({ gpr, rip, now });
    expect(state(first)).toEqual(state(none));
  });

  it('leave no accessed bit in page tables', async () => {
    const frame = 0x3f000n;
    const { samples, guest } = await run('ebfe', {
      prepare: ({ vcpu }) => {
        vcpu.gpr[4] = frame;
        vcpu.gpr[5] = frame;
      },
    });
    expect(samples.length).toBeGreaterThan(10);
    const entry = guest.vcpu.translate(frame, 'read');
    expect(entry.ok).toBe(true);
    expect(accessed(guest, frame)).toBe(false);
    expect(accessed(guest, BigInt(CODE))).toBe(true);
  });
});

/** The accessed bit of a page's entry (SDM vol. 3A, 4.8), by a walk of our own. */
function accessed(guest: TestGuest, gva: bigint): boolean {
  let table = BigInt(guest.tables.root);
  for (const shift of [39n, 30n, 21n]) {
    table = guest.machine.memory.read64(Number(table + ((gva >> shift) & 511n) * 8n)) & 0xffffffffff000n;
  }
  return (guest.machine.memory.read64(Number(table + ((gva >> 12n) & 511n) * 8n)) & 0x20n) !== 0n;
}

describe('frames that are none', () => {
  const place = (words: Record<string, bigint>, registers: { rsp: bigint; rbp: bigint }) => (guest: TestGuest) => {
    for (const [at, word] of Object.entries(words)) guest.machine.memory.write64(Number(at), word);
    guest.vcpu.gpr[4] = registers.rsp;
    guest.vcpu.gpr[5] = registers.rbp;
  };
  const after = BigInt(CODE) + 7n;
  // 0: jmp 0 ; 2: call ; 7: the return address
  const LOOP = 'ebfe e800000000 90';
  const callersOf = async (prepare: (guest: TestGuest) => void) => (await run(LOOP, { prepare })).samples[0].callers;

  it('a frame is taken', async () => {
    const words = { 98304: 0n, 98312: after };
    expect(await callersOf(place(words, { rsp: 0x17ff0n, rbp: 0x18000n }))).toEqual([after]);
  });
  it.each([
    ['below the stack pointer', { 98304: 0n, 98312: after }, { rsp: 0x18010n, rbp: 0x18000n }],
    ['far above it', { 229376: 0n, 229384: after }, { rsp: 0x18000n, rbp: 0x38000n }],
    ['not aligned', { 98308: 0n, 98316: after }, { rsp: 0x18000n, rbp: 0x18004n }],
    ['without a call before the address', { 98304: 0n, 98312: after - 1n }, { rsp: 0x18000n, rbp: 0x18000n }],
    ['not mapped', {}, { rsp: 0x7000_0000n, rbp: 0x7000_0000n }],
    ['at the end of the address space', {}, { rsp: 0xffff_ffff_ffff_fff8n, rbp: 0xffff_ffff_ffff_fff8n }],
  ])('%s', async (_what, words, registers) => {
    expect(await callersOf(place(words as Record<string, bigint>, registers))).toEqual([]);
  });
  it('a ring of frames ends', async () => {
    const words = { 98304: 0x18010n, 98312: after, 98320: 0x18000n, 98328: after };
    expect(await callersOf(place(words, { rsp: 0x18000n, rbp: 0x18000n }))).toEqual([after, after]);
  });
});

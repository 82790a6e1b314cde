/** The layouts of 32-bit guests: offsets and sizes as the public headers give them for i386. */
import { describe, expect, it } from 'vitest';
import { Copy } from '../grant/copy.ts';
import { HypercallNumber } from '../hypercall/table.ts';
import { FakeDomain } from '../testing/fakeDomain.ts';
import { widenArguments } from './registers.ts';
import { readWord, struct, wordList } from './struct.ts';

const ARGUMENT = 0x4000;
const LIST = 0x5000;
const domain32 = () => new FakeDomain(2, {}, 4);

describe('struct', () => {
  const Fields = struct({ a: 'u8', b: 'word', c: 'u64', d: ['u16', 3], e: 'u32' });

  it('lays fields out as compilers for AMD64 and i386 do', () => {
    expect(Fields[8]).toEqual({ sizeBytes: 40, alignBytes: 8, at: { a: 0, b: 8, c: 16, d: 24, e: 32 } });
    expect(Fields[4]).toEqual({ sizeBytes: 28, alignBytes: 4, at: { a: 0, b: 4, c: 8, d: 16, e: 24 } });
  });

  it('nests', () => {
    expect(Copy[8]).toMatchObject({ sizeBytes: 40, at: { destination: 16, sizeBytes: 32, flags: 34, status: 36 } });
    expect(Copy[4]).toMatchObject({ sizeBytes: 24, at: { destination: 8, sizeBytes: 16, flags: 18, status: 20 } });
  });

  it('reads and writes words', () => {
    const bytes = wordList([0x1_2345_6789n, -1n], 4);
    expect([...bytes]).toEqual([0x89, 0x67, 0x45, 0x23, 0xff, 0xff, 0xff, 0xff]);
    expect(readWord(new DataView(bytes.buffer), 4, 4)).toBe(0xffff_ffffn);
    expect(readWord(new DataView(wordList([-1n], 8).buffer), 0, 8)).toBe(0xffff_ffff_ffff_ffffn);
  });
});

describe('arguments in 32-bit registers', () => {
  const words = [1n, 2n, 3n, 4n, 5n, 6n];
  it('join halves where a call takes 64-bit arguments', () => {
    expect(widenArguments(14, words)).toEqual([1n, 2n | (3n << 32n), 4n, 0n, 0n, 0n]);
    expect(widenArguments(10, words)).toEqual([1n | (2n << 32n), 3n | (4n << 32n), 0n, 0n, 0n, 0n]);
    expect(widenArguments(HypercallNumber.SCHED_OP, words)).toBe(words);
  });

  it('reach the handler joined', () => {
    const domain = domain32();
    const port = bindTimer(domain);
    // 2^32 + 5 ns from the start of time: low half first.
    expect(domain.call(HypercallNumber.SET_TIMER_OP, 5, 1)).toBe(0n);
    domain.clock.advance(4_000_000_000);
    expect(takeEvent(domain, port)).toBe(false);
    domain.clock.advance(300_000_000);
    expect(takeEvent(domain, port)).toBe(true);
  });
});

function bindTimer(domain: FakeDomain): number {
  domain.put32(ARGUMENT, 0, 0, 0);
  expect(domain.call(HypercallNumber.EVENT_CHANNEL_OP, 1, ARGUMENT)).toBe(0n);
  return domain.memory.read32(ARGUMENT + 8);
}
const takeEvent = (domain: FakeDomain, port: number) =>
  domain.memory.testAndClearBit(domain.sharedInfoGpa + 2048, port);

describe('a 32-bit guest', () => {
  it('has 1,024 ports, whose selector has a bit for each 32', () => {
    const domain = domain32();
    domain.memory.fill(domain.sharedInfoGpa + 2176, 128, 0);
    const port = bindTimer(domain);
    expect(domain.call(HypercallNumber.SET_TIMER_OP, 1, 0)).toBe(0n);
    domain.clock.advance(1000);
    expect(domain.memory.read32(domain.vcpus[0].vcpuInfoGpa + 4)).toBe(1 << (port >> 5));
    const ports = [];
    for (;;) {
      domain.put32(ARGUMENT, 0x7ff0 | (0 << 16), 0);
      if (domain.call(HypercallNumber.EVENT_CHANNEL_OP, 6, ARGUMENT) !== 0n) break;
      ports.push(domain.memory.read32(ARGUMENT + 4));
    }
    expect(Math.max(...ports)).toBe(1023);
  });

  it('polls with a 16-byte structure', () => {
    const domain = domain32();
    const port = bindTimer(domain);
    domain.put32(LIST, port);
    domain.put32(ARGUMENT, LIST, 1, 0, 0);
    expect(domain.call(HypercallNumber.SCHED_OP, 3, ARGUMENT)).toBe(0n);
    expect(domain.vcpus[0].cpu.blocked).toBe(true);
  });

  it('reads its run state from 44 bytes', () => {
    const domain = domain32();
    domain.memory.fill(ARGUMENT, 48, 0xee);
    domain.clock.advance(700);
    expect(domain.call(HypercallNumber.VCPU_OP, 4, 0, ARGUMENT)).toBe(0n);
    const spent = [0, 1, 2, 3].map((state) => domain.memory.read32(ARGUMENT + 12 + state * 8));
    expect(spent.reduce((sum, ns) => sum + ns)).toBeGreaterThanOrEqual(700);
    expect(domain.memory.read32(ARGUMENT + 44)).toBe(0xeeee_eeee);
  });

  it('runs lists of 32-byte multicall entries', () => {
    const domain = domain32();
    domain.put32(ARGUMENT, HypercallNumber.XEN_VERSION, 0xdead, 7, 0, 0, 0, 0, 0);
    domain.put32(ARGUMENT + 32, 999, 0xdead, 0, 0, 0, 0, 0, 0);
    expect(domain.call(HypercallNumber.MULTICALL, ARGUMENT, 2)).toBe(0n);
    expect(domain.memory.read32(ARGUMENT + 4)).toBe(4096);
    expect(domain.memory.read32(ARGUMENT + 36) | 0).toBe(-38);
  });

  it('gets its grant table’s frames as 32-bit words', () => {
    const domain = domain32();
    domain.memory.fill(LIST, 16, 0xee);
    domain.put32(ARGUMENT, 0x7ff0, 2, 0xee, LIST);
    expect(domain.call(HypercallNumber.GRANT_TABLE_OP, 2, ARGUMENT, 1)).toBe(0n);
    expect(domain.memory.read16(ARGUMENT + 8)).toBe(0);
    const frames = [domain.memory.read32(LIST), domain.memory.read32(LIST + 4)];
    for (const mfn of frames) expect(domain.sharedFrames.has(mfn)).toBe(true);
    expect(domain.memory.read32(LIST + 8)).toBe(0xeeee_eeee);
  });

  it('finds the upper half of the wall clock behind arch_shared_info', () => {
    const domain = domain32();
    const base = domain.sharedInfoGpa;
    expect([base + 2308, base + 2340].map((gpa) => domain.memory.read32(gpa))).toEqual([1_704_067_200, 0]);
  });
});

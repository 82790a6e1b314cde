import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryWrites } from '../../memory/memory-writes.ts';
import { FORCED_REGIONS, TestBench } from '../testing/test-bench.ts';

const [RAX, RCX, RSP] = [0, 1, 4];
const figures = (bench: TestBench) => bench.engine.statistics();

describe('regions', () => {
  let bench: TestBench;
  beforeEach(() => {
    bench = new TestBench({ ramBytes: 1 << 20, regions: FORCED_REGIONS });
    bench.vcpu.gpr[RSP] = 0x9000n;
  });

  it('run a loop once it has been reached often enough, and not before', () => {
    const patient = new TestBench({ ramBytes: 1 << 20, regions: { threshold: 50, batch: 1 } });
    const loop = (count: bigint) => {
      // l: add eax,ecx ; loop l ; hlt
      patient.put(0x1000, '01c8 e2fc f4');
      patient.vcpu.gpr[RAX] = 0n;
      patient.vcpu.gpr[RCX] = count;
      expect(patient.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: Number(count) * 2 + 1 });
      expect(patient.vcpu.gpr[RAX]).toBe((count * (count + 1n)) / 2n);
    };
    loop(40n);
    expect(figures(patient).regions).toBe(0);
    loop(1000n);
    expect(figures(patient).regions).toBe(1);
    expect(figures(patient)['instructions in regions']).toBeGreaterThan(1800);
  });

  it('wait for a batch, unless one of them is reached again and again', () => {
    const waiting = new TestBench({ ramBytes: 1 << 20, regions: { threshold: 10, batch: 100 } });
    waiting.put(0x1000, '01c8 e2fc f4');
    waiting.vcpu.gpr[RCX] = 1000n;
    waiting.run(0x1000n);
    expect(figures(waiting)['region modules']).toBe(0);
    waiting.vcpu.gpr[RCX] = 40_000n;
    waiting.run(0x1000n, 100_000);
    expect(figures(waiting)['region modules']).toBe(1);
  });

  it('go when their bytes are overwritten, and only they', () => {
    // mov al,1 ; hlt … mov bl,2 ; hlt, in one page
    bench.put(0x1000, 'b001 f4').put(0x1800, 'b302 f4');
    bench.run(0x1000n);
    bench.run(0x1800n);
    expect(figures(bench)).toMatchObject({ 'regions in place': 2, 'regions dropped': 0 });
    bench.ram.write8(0x1001, 7);
    expect(figures(bench)).toMatchObject({ 'regions in place': 1, 'regions dropped': 1 });
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe(7n);
  });

  it('go together when bytes of many pages are overwritten at once, and only they', () => {
    const starts = [0x1000, 0x1800, 0x2000, 0x3000];
    for (const [i, at] of starts.entries()) {
      bench.put(at, `b00${i} f4`);
      bench.run(BigInt(at));
    }
    bench.ram.writeAll(MemoryWrites.of([0x1001, 0x2001, 0x3900].map((gpa) => ({ gpa, bytes: Uint8Array.of(9) }))));
    expect(figures(bench)).toMatchObject({ 'regions in place': 2, 'regions dropped': 2 });
    const results = starts.map((at) => {
      bench.run(BigInt(at));
      return bench.vcpu.gpr[RAX];
    });
    expect(results).toEqual([9n, 1n, 9n, 3n]);
  });

  it('go when a block is overwritten that is not where they start, and come again', () => {
    bench = new TestBench({ ramBytes: 1 << 20, regions: { ...FORCED_REGIONS, growAfter: 100 } });
    // jmp +0x20 … mov al,3 ; hlt
    bench.put(0x1000, 'eb20').put(0x1022, 'b003 f4');
    bench.run(0x1000n);
    bench.ram.write8(0x1023, 9);
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe(9n);
    expect(figures(bench)['regions dropped']).toBe(1);
    bench.run(0x1000n);
    expect(figures(bench)['regions in place']).toBeGreaterThan(0);
  });

  it('leave nothing behind when they go: places, modules', () => {
    const starts = Array.from({ length: 100 }, (_, i) => 0x1000 + i * 16);
    const many = new TestBench({ ramBytes: 1 << 20, regions: { threshold: 1, batch: starts.length } });
    const most = { 'regions in place': 0, 'region modules in place': 0 };
    for (let round = 0; round < 100; round++) {
      // mov eax,round ; hlt
      const bytes = Uint8Array.of(0xb8, round, 0, 0, 0, 0xf4);
      many.ram.writeAll(MemoryWrites.of(starts.map((gpa) => ({ gpa, bytes }))));
      for (const at of starts) many.run(BigInt(at));
      many.run(BigInt(starts[50]));
      expect(many.vcpu.gpr[RAX]).toBe(BigInt(round));
      const { 'regions in place': regions, 'region modules in place': modules } = figures(many);
      most['regions in place'] = Math.max(most['regions in place'], regions);
      most['region modules in place'] = Math.max(most['region modules in place'], modules);
    }
    expect(figures(many)).toMatchObject({ regions: 10_000, 'regions dropped': 9_900, 'region modules': 100 });
    expect(most).toEqual({ 'regions in place': 100, 'region modules in place': 1 });
  });

  it('hand over to tier 0 for what they cannot hold, and take over again', () => {
    // l: add eax,ecx ; sgdt [0x8000] ; loop l ; hlt
    bench.put(0x1000, '01c8 0f010425 00800000 e2f4 f4');
    bench.vcpu.gpr[RCX] = 100n;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 301 });
    expect(bench.vcpu.gpr[RAX]).toBe(5050n);
    expect(figures(bench)['instructions in regions']).toBeGreaterThan(90);
    expect(figures(bench)['instructions in regions']).toBeLessThan(301);
  });
});

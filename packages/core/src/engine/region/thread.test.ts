import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { ManualThread } from '../testing/manual-thread.ts';
import { TestBench } from '../testing/test-bench.ts';

const [RAX, RCX, RDX, RSP] = [0, 1, 2, 4];
const figures = (bench: TestBench) => bench.engine.statistics();
// l: add eax,ecx ; loop l ; hlt
const LOOP = '01c8 e2fc f4';
const sum = (count: bigint) => (count * (count + 1n)) / 2n;

describe('regions that another thread makes', () => {
  let thread: ManualThread;
  let bench: TestBench;
  const start = (regions = { threshold: 10, batch: 1, growAfter: 20 }, more = {}) => {
    thread = new ManualThread();
    bench = new TestBench({ ramBytes: 1 << 20, regions, regionThread: thread, ...more });
    thread.work();
    bench.vcpu.gpr[RSP] = 0x9000n;
  };
  /** A run of the loop at 0x1000, which must be right however it is run. */
  const loop = (count = 100n) => {
    bench.vcpu.gpr[RAX] = 0n;
    bench.vcpu.gpr[RCX] = count;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: Number(count) * 2 + 1 });
    expect(bench.vcpu.gpr[RAX]).toBe(sum(count));
  };
  beforeEach(() => start());

  it('come when the thread has made and compiled them, and not before', () => {
    bench.put(0x1000, LOOP);
    loop();
    loop();
    expect(figures(bench)).toMatchObject({ 'instructions in regions': 0, 'regions made in thread': 0 });
    thread.work();
    loop();
    expect(figures(bench)).toMatchObject({ 'instructions in regions': 0, 'regions made in thread': 1 });
    thread.work();
    loop();
    expect(figures(bench)).toMatchObject({ regions: 1, 'regions in place': 1, 'region generation ms': 0 });
    expect(figures(bench)['instructions in regions']).toBe(200);
  });

  it('wait for a batch, unless one of them is reached again and again', () => {
    start({ threshold: 10, batch: 100, growAfter: 20 });
    bench.put(0x1000, LOOP);
    const settle = () => {
      thread.work();
      bench.run(0x1004n);
    };
    loop();
    settle();
    settle();
    expect(figures(bench)).toMatchObject({ 'regions made in thread': 1, 'region modules': 0 });
    bench.vcpu.gpr[RCX] = 40_000n;
    bench.run(0x1000n, 100_000);
    settle();
    expect(figures(bench)).toMatchObject({ 'region modules': 1, 'regions in place': 1 });
  });

  const overwrite = () => {
    // sub eax,ecx
    bench.put(0x1000, '29c8');
    bench.vcpu.gpr[RAX] = 0n;
    bench.vcpu.gpr[RCX] = 3n;
    bench.run(0x1000n);
    expect(BigInt.asIntN(32, bench.vcpu.gpr[RAX])).toBe(-6n);
  };
  it('are outdated when their page changes before they are made', () => {
    bench.put(0x1000, LOOP);
    loop();
    thread.work();
    overwrite();
    expect(figures(bench)).toMatchObject({ 'regions made in thread': 0, 'outdated in thread': 1, regions: 0 });
  });
  it('are dropped when their bytes change while they wait', () => {
    start({ threshold: 10, batch: 2, growAfter: 20 });
    bench.put(0x1000, LOOP);
    loop();
    thread.work();
    bench.run(0x1004n);
    overwrite();
    // Another two make a batch without it.
    bench.put(0x2000, LOOP).put(0x2800, LOOP);
    for (const at of [0x2000n, 0x2800n, 0x1004n, 0x1004n]) {
      bench.vcpu.gpr[RCX] = 50n;
      bench.run(at);
      thread.work();
    }
    bench.run(0x1004n);
    expect(figures(bench)).toMatchObject({ 'regions made in thread': 3, regions: 2 });
    overwrite();
  });
  it('are dropped when their bytes change while they are compiled, and the others of the module are not', () => {
    start({ threshold: 10, batch: 2, growAfter: 20 });
    bench.put(0x1000, LOOP).put(0x2000, LOOP);
    loop();
    bench.vcpu.gpr[RCX] = 50n;
    bench.run(0x2000n);
    thread.work();
    bench.run(0x1004n);
    overwrite();
    thread.work();
    bench.run(0x1004n);
    expect(figures(bench)).toMatchObject({ 'regions made in thread': 2, 'regions in place': 1 });
    overwrite();
  });
  it('are forgotten when all decoded code is', () => {
    bench.put(0x1000, LOOP);
    loop();
    thread.work();
    bench.engine.code.flush();
    loop(5n);
    thread.work();
    loop(5n);
    expect(figures(bench)).toMatchObject({ 'regions made in thread': 0, regions: 0 });
    loop();
    for (let i = 0; i < 2; i++) {
      thread.work();
      bench.run(0x1004n);
    }
    expect(figures(bench)).toMatchObject({ 'regions made in thread': 1, 'regions in place': 1 });
  });

  it('end at an instruction for which a plug-in has built code', () => {
    const directCode = new Map([['syscall', () => {}]]);
    start(undefined, { directCode });
    // l: syscall, with SYSCALL taken by nobody, stands behind the loop's end
    bench.put(0x1000, '01c8 e2fc 0f05');
    bench.vcpu.gpr[RCX] = 100n;
    bench.run(0x1000n);
    for (let i = 0; i < 3; i++) {
      thread.work();
      expect(bench.run(0x1004n)).toMatchObject({ exit: 'syscall' });
    }
    expect(figures(bench)).toMatchObject({ regions: 1, 'regions made in thread': 1 });
  });
  it('are made here as long as the thread has not started', () => {
    thread = new ManualThread();
    bench = new TestBench({ ramBytes: 1 << 20, regions: { threshold: 10, batch: 1 }, regionThread: thread });
    bench.put(0x1000, LOOP);
    loop();
    expect(figures(bench)).toMatchObject({ regions: 1, 'regions made in thread': 0 });
  });
  it('are made here when the thread does not come to it, and what it makes then is void', () => {
    bench.put(0x1000, LOOP);
    loop();
    bench.vcpu.gpr[RCX] = 20_000n;
    bench.run(0x1000n, 100_000);
    expect(figures(bench)).toMatchObject({ regions: 1, 'regions in place': 1, 'regions made in thread': 0 });
    thread.work();
    loop();
    expect(figures(bench)).toMatchObject({ regions: 1, 'regions in place': 1, 'regions made in thread': 0 });
  });
  it('are made here when the thread has failed', () => {
    bench.put(0x1000, LOOP);
    loop();
    thread.failed = true;
    loop();
    expect(figures(bench).regions).toBe(0);
    // Reported again after so many arrivals.
    bench.vcpu.gpr[RCX] = 20_000n;
    bench.run(0x1000n, 100_000);
    expect(figures(bench)).toMatchObject({ regions: 1, 'regions made in thread': 0 });
  });

  it('grow, with what they call', () => {
    // mov ecx,200 ; l: call 0x3000 ; add eax,edx ; loop l ; hlt … lea edx,[rcx+5] ; ret
    bench.put(0x1000, 'b9c8000000 e8f61f0000 01d0 e2f7 f4').put(0x3000, '8d5105 c3');
    const entries: number[] = [];
    for (let i = 0; i < 12; i++) {
      const before = figures(bench)['region entries'];
      bench.vcpu.gpr[RAX] = 0n;
      expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 1 + 200 * 5 + 1 });
      expect(bench.vcpu.gpr[RAX]).toBe(sum(200n) + 1000n);
      entries.push(figures(bench)['region entries'] - before);
      thread.work();
    }
    expect(Math.max(...entries)).toBeGreaterThan(300);
    expect(entries[11]).toBeLessThan(40);
  });

  it('leave a run as it is, whenever the thread works and whatever is overwritten', () => {
    const run = fc.record({ kind: fc.constant('run' as const), budget: fc.integer({ min: 1, max: 700 }) });
    const work = fc.record({ kind: fc.constant('work' as const), messages: fc.integer({ min: 1, max: 4 }) });
    const places = fc.constantFrom(0x1006, 0x3002);
    const write = fc.record({ kind: fc.constant('write' as const), at: places, byte: fc.integer({ min: 1, max: 9 }) });
    const flush = fc.record({ kind: fc.constant('flush' as const) });
    const act = fc.oneof(
      { arbitrary: run, weight: 12 },
      { arbitrary: work, weight: 12 },
      { arbitrary: write, weight: 2 },
      { arbitrary: flush, weight: 1 },
    );
    start({ threshold: 5, batch: 2, growAfter: 10 });
    const plain = new TestBench({ ramBytes: 1 << 20 });
    fc.assert(
      fc.property(fc.array(act, { minLength: 20, maxLength: 60 }), (acts) => {
        for (const each of [bench, plain]) {
          each.reset();
          each.vcpu.gpr[RSP] = 0x9000n;
          // l: add ecx,9 ; add eax,imm8 ; call 0x3000 ; add eax,edx ; jmp l … lea edx,[rcx+imm8] ; test ecx,1 ; jz r ; inc eax ; r: ret
          each.put(0x1001, '83c109 83c005 e8f41f0000 01d0 ebf1').put(0x3000, '8d5105 f7c101000000 7402 ffc0 c3');
          each.vcpu.rip = 0x1001n;
        }
        for (const each of acts) {
          if (each.kind === 'work') thread.work(each.messages);
          else if (each.kind === 'flush') bench.engine.code.flush();
          else if (each.kind === 'write') for (const one of [bench, plain]) one.ram.write8(each.at, each.byte);
          else {
            const stops = [bench, plain].map((one) => [
              one.run(undefined, each.budget),
              [RAX, RCX, RDX, RSP].map((register) => one.vcpu.gpr[register]),
            ]);
            expect(stops[0]).toEqual(stops[1]);
          }
        }
      }),
      { numRuns: 200 },
    );
    expect(figures(bench)['instructions in regions']).toBeGreaterThan(100_000);
    expect(figures(bench)['outdated in thread']).toBeGreaterThan(10);
  });
});

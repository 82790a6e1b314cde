import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { Pte } from '../../memory/walk.ts';
import { ManualThread } from '../testing/manual-thread.ts';
import { MemoryKeeper } from '../testing/memory-keeper.ts';
import { PageTables, TestBench } from '../testing/test-bench.ts';
import { StartFilter } from './kept-regions.ts';
import { uncallableFunctions } from './maker.ts';

const [RAX, RCX, RDX, RBX, RSP] = [0, 1, 2, 3, 4];
const RAM_BYTES = 1 << 20;
const regions = { threshold: 10, batch: 1, growAfter: 20 };
const figures = (bench: TestBench) => bench.engine.statistics();
// l: add eax,ecx ; loop l ; hlt
const LOOP = '01c8 e2fc f4';
const sum = (count: bigint) => (count * (count + 1n)) / 2n;
// mov ecx,200 ; l: call +0x2000 ; add eax,edx ; loop l ; hlt
const CALLER = 'b9c8000000 e8f61f0000 01d0 e2f7 f4';
// lea edx,[rcx+5] ; ret
const CALLEE = '8d5105 c3';

describe('regions that are kept', () => {
  let keeper: MemoryKeeper;
  const machine = (more = {}) => {
    const bench = new TestBench({ ramBytes: RAM_BYTES, regions, codeKeeper: keeper, ...more });
    bench.vcpu.gpr[RSP] = 0x9000n;
    return bench;
  };
  const loop = (bench: TestBench, at: bigint, count = 100n) => {
    bench.vcpu.gpr[RAX] = 0n;
    bench.vcpu.gpr[RCX] = count;
    expect(bench.run(at)).toMatchObject({ exit: 'hlt', executed: Number(count) * 2 + 1 });
    return bench.vcpu.gpr[RAX];
  };
  const call = (bench: TestBench, at: bigint) => {
    bench.vcpu.gpr[RAX] = 0n;
    expect(bench.run(at)).toMatchObject({ exit: 'hlt', executed: 1 + 200 * 5 + 1 });
    return bench.vcpu.gpr[RAX];
  };
  beforeEach(() => {
    keeper = new MemoryKeeper();
  });

  it('are there at once in another machine, wherever the code lies', () => {
    const first = machine().put(0x1000, LOOP);
    loop(first, 0x1000n);
    expect(figures(first)).toMatchObject({ 'regions from before': 0 });
    const second = machine().put(0x5000, LOOP);
    expect(loop(second, 0x5000n)).toBe(sum(100n));
    expect(figures(second)).toMatchObject({ 'regions from before': 1, 'instructions compiled': 0 });
    expect(figures(second)['instructions in regions']).toBeGreaterThan(150);
  });

  it('have functions for who compiles them without an engine, which cannot be called', () => {
    const bench = machine().put(0x1000, LOOP);
    loop(bench, 0x1000n);
    const [{ bytes }] = keeper.kept;
    const { region0 } = uncallableFunctions(bench.memory.memory)(new WebAssembly.Module(bytes as BufferSource));
    expect(region0).toBeTypeOf('function');
    expect(() => (region0 as () => unknown)()).toThrow(TypeError);
  });

  it('are used after a few arrivals, long before a place is hot', () => {
    loop(machine().put(0x1000, LOOP), 0x1000n);
    const [known, unknown] = [machine(), machine({ codeKeeper: new MemoryKeeper() })];
    for (const each of [known, unknown]) loop(each.put(0x1000, LOOP), 0x1000n, 7n);
    expect(figures(known)).toMatchObject({ 'regions from before': 1 });
    expect(figures(unknown)).toMatchObject({ regions: 0 });
  });

  it('are there again after all decoded code has been dropped', () => {
    const bench = machine().put(0x1000, LOOP);
    loop(bench, 0x1000n);
    const before = figures(bench)['instructions compiled'];
    bench.engine.code.flush();
    expect(loop(bench, 0x1000n)).toBe(sum(100n));
    expect(figures(bench)).toMatchObject({ 'regions from before': 1, 'instructions compiled': before });
  });

  it('are not taken for other code that begins in the same way', () => {
    loop(machine().put(0x1000, LOOP), 0x1000n);
    // l: add eax,ecx ; add eax,ecx ; loop l ; hlt
    const other = machine().put(0x1000, '01c8 01c8 e2fa f4');
    other.vcpu.gpr[RCX] = 100n;
    expect(other.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 301 });
    expect(other.vcpu.gpr[RAX]).toBe(sum(100n) * 2n);
    expect(figures(other)).toMatchObject({ 'regions from before': 0 });
  });

  it('are not taken by a machine with another memory', () => {
    loop(machine().put(0x1000, LOOP), 0x1000n);
    const larger = machine({ ramBytes: RAM_BYTES * 2 }).put(0x1000, LOOP);
    expect(loop(larger, 0x1000n)).toBe(sum(100n));
    expect(figures(larger)).toMatchObject({ 'regions from before': 0 });
  });

  it('go when their code is overwritten, though it has never been decoded here', () => {
    const first = machine().put(0x1000, CALLER).put(0x3000, CALLEE);
    for (let i = 0; i < 3; i++) call(first, 0x1000n);
    const second = machine().put(0x1000, CALLER).put(0x3000, CALLEE);
    call(second, 0x1000n);
    expect(figures(second)['regions from before']).toBeGreaterThan(0);
    second.put(0x3000, '8d5109 c3');
    expect(call(second, 0x1000n)).toBe(sum(200n) + 200n * 9n);
  });

  it('hold what they call in other pages, for the mapping of these that is found', () => {
    const first = machine().put(0x1000, CALLER).put(0x3000, CALLEE);
    for (let i = 0; i < 3; i++) expect(call(first, 0x1000n)).toBe(sum(200n) + 200n * 5n);
    expect(keeper.kept.some(({ regions }) => (regions.start(0)?.growth ?? 0) > 0)).toBe(true);
    const second = machine();
    const tables = new PageTables(second.ram, 0x40000);
    tables.identity(0x1000, 0x2000);
    tables.identity(0x8000, 0xa000);
    tables.map(0x3000n, 0x6000);
    second.page(tables.root);
    second.put(0x1000, CALLER).put(0x6000, CALLEE).put(0x5000, '8d5109 c3');
    for (let i = 0; i < 3; i++) expect(call(second, 0x1000n)).toBe(sum(200n) + 200n * 5n);
    expect(figures(second)['regions from before']).toBeGreaterThan(0);
    tables.map(0x3000n, 0x5000);
    second.vcpu.flushTlb();
    expect(call(second, 0x1000n)).toBe(sum(200n) + 200n * 9n);
  });

  it('can be in two places at once, each with other pages beside it', () => {
    const first = machine().put(0x1000, CALLER).put(0x3000, CALLEE);
    for (let i = 0; i < 3; i++) call(first, 0x1000n);
    const second = machine().put(0x1000, CALLER).put(0x3000, CALLEE).put(0x11000, CALLER).put(0x13000, CALLEE);
    for (let i = 0; i < 3; i++)
      for (const at of [0x1000n, 0x11000n]) expect(call(second, at)).toBe(sum(200n) + 200n * 5n);
    expect(figures(second)['regions from before']).toBeGreaterThan(1);
    second.put(0x13000, '8d5109 c3');
    expect(call(second, 0x11000n)).toBe(sum(200n) + 200n * 9n);
    expect(call(second, 0x1000n)).toBe(sum(200n) + 200n * 5n);
  });

  it('leave the accessed bits of pages that they hold code of as they are', () => {
    // l: test edx,edx ; jz s ; call 0x3000 ; s: loop l ; hlt
    const code = '85d2 7405 e8f71f0000 e2f5 f4';
    const run = (bench: TestBench, edx: bigint) => {
      bench.vcpu.gpr[RDX] = edx;
      bench.vcpu.gpr[RCX] = 100n;
      expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    };
    const first = machine().put(0x1000, code).put(0x3000, CALLEE);
    for (let i = 0; i < 3; i++) run(first, 1n);
    const second = machine();
    const tables = new PageTables(second.ram, 0x40000);
    tables.identity(0x1000, 0x2000);
    tables.identity(0x8000, 0xa000);
    tables.map(0x3000n, 0x3000);
    second.page(tables.root);
    second.put(0x1000, code).put(0x3000, CALLEE);
    const accessed = () => Number(second.ram.read64(tables.entry(0x3000n)) & BigInt(Pte.accessed));
    run(second, 0n);
    expect(figures(second)['regions from before']).toBeGreaterThan(0);
    expect(accessed()).toBe(0);
    run(second, 1n);
    expect(accessed()).toBe(Pte.accessed);
  });

  describe('with addresses that move with the code', () => {
    const KERNEL = 0xffffffff81001000n;
    const TEXT = 0x1000;
    const DATA = 0x3000;
    const word = (value: bigint) =>
      [0, 8, 16, 24].map((shift) => byte(Number((value >> BigInt(shift)) & 0xffn))).join('');
    const byte = (value: number) => value.toString(16).padStart(2, '0');
    /** l: mov rdx,data ; add rdx,[data+8] ; mov rbx,gs:[0x50, from rip] ; add eax,ecx ; loop l ; hlt */
    const codeAt = (base: bigint, data = base + 0x2000n) =>
      `48c7c2 ${word(data)} 48031425 ${word(data + 8n)} 65488b1d ${word(0x50n - (base + 23n))} 01c8 e2e5 f4`;
    const kernel = (base: bigint, code = codeAt(base)) => {
      const bench = machine();
      const tables = new PageTables(bench.ram, 0x40000);
      tables.map(base, TEXT);
      tables.map(base + 0x2000n, DATA);
      tables.map(0x8000n, 0x8000);
      bench.page(tables.root);
      bench.put(TEXT, code);
      bench.ram.write64(DATA + 8, 0x1111n);
      bench.ram.write64(0x8050, 0x2222n);
      bench.vcpu.setSegment(5, { ...bench.vcpu.segment(5), base: 0x8000n });
      return { bench, tables };
    };
    const run = (bench: TestBench, at: bigint) => {
      bench.vcpu.gpr[RAX] = 0n;
      bench.vcpu.gpr[RCX] = 100n;
      expect(bench.run(at)).toMatchObject({ exit: 'hlt', executed: 501 });
      expect(bench.vcpu.gpr[RAX]).toBe(sum(100n));
      expect(bench.vcpu.gpr[RBX]).toBe(0x2222n);
      return BigInt.asUintN(64, bench.vcpu.gpr[RDX]);
    };

    it.each([0x200000n, 0x3e000000n, -0x1000n])('are used again when all has moved by %s', (slide) => {
      expect(run(kernel(KERNEL).bench, KERNEL)).toBe(KERNEL + 0x3111n);
      const { bench } = kernel(KERNEL + slide);
      expect(run(bench, KERNEL + slide)).toBe(KERNEL + slide + 0x3111n);
      expect(figures(bench)).toMatchObject({ 'regions from before': 1, 'instructions compiled': 0 });
      expect(figures(bench)['instructions in regions']).toBeGreaterThan(400);
    });

    it('are not where one of the addresses has moved otherwise', () => {
      run(kernel(KERNEL).bench, KERNEL);
      const moved = KERNEL + 0x200000n;
      const { bench } = kernel(moved, codeAt(moved, moved + 0x2010n));
      bench.ram.write64(DATA + 0x18, 0x1111n);
      expect(run(bench, moved)).toBe(moved + 0x2010n + 0x1111n);
      expect(figures(bench)).toMatchObject({ 'regions from before': 0 });
    });

    it('are what they are, wherever else the page is mapped', () => {
      const moved = KERNEL + 0x200000n;
      for (const base of [KERNEL, moved]) {
        const { bench, tables } = kernel(base);
        const alias = base + 0x100000n;
        tables.map(alias, TEXT);
        bench.vcpu.flushTlb();
        expect(run(bench, base)).toBe(base + 0x3111n);
        // From there, gs:[rip+distance] is as far away as the alias is.
        bench.vcpu.setSegment(5, { ...bench.vcpu.segment(5), base: 0x8000n - 0x100000n });
        expect(run(bench, alias)).toBe(base + 0x3111n);
      }
    });
  });

  it('come from another thread too', () => {
    const thread = new ManualThread();
    const first = machine({ regionThread: thread });
    thread.work();
    first.put(0x1000, LOOP);
    for (let i = 0; i < 4; i++) {
      loop(first, 0x1000n);
      thread.work();
    }
    expect(figures(first)).toMatchObject({ 'regions made in thread': 1 });
    const second = machine().put(0x1000, LOOP);
    loop(second, 0x1000n);
    expect(figures(second)).toMatchObject({ 'regions from before': 1, 'instructions compiled': 0 });
  });

  it('leave a run as it is, whatever is kept and overwritten', () => {
    const CODE = [LOOP, '01c8 01c8 e2fa f4', CALLER, 'b9c8000000 e8f60f0000 01d0 e2f7 f4', CALLEE, '8d5109 c3'];
    const step = fc.record({
      put: fc.constantFrom(...CODE),
      at: fc.constantFrom(0x1000, 0x2000, 0x3000, 0x11000, 0x12000, 0x13000),
      run: fc.constantFrom(0x1000n, 0x11000n),
      count: fc.integer({ min: 1, max: 60 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const [bench, plain] = [machine(), new TestBench({ ramBytes: RAM_BYTES })];
        for (const each of [bench, plain]) for (const at of [0x2000, 0x3000, 0x12000, 0x13000]) each.put(at, CALLEE);
        for (const { put, at, run, count } of steps) {
          const stops = [bench, plain].map((each) => {
            each.put(at, put);
            each.vcpu.gpr[RSP] = 0x9000n;
            each.vcpu.gpr[RCX] = BigInt(count);
            const stop = each.run(run, 5000);
            return [stop, [RAX, RCX, RDX, RSP].map((register) => each.vcpu.gpr[register])];
          });
          expect(stops[0]).toEqual(stops[1]);
        }
      }),
      { numRuns: 30 },
    );
  });
});

it('the filter of starts lets through all that may start, whatever follows the first block, and little else', () => {
  const filter = new StartFilter();
  const starts = fc.sample(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 9 }), fc.nat(4095)), {
    numRuns: 3000,
    seed: 1,
  });
  for (const [bytes, offset] of starts) filter.add(bytes, 0, bytes.length, offset);
  for (const [bytes, offset] of starts) {
    const memory = Uint8Array.from([0, ...bytes, 0xaa, 0xbb, 0xcc]);
    expect(filter.mayStart(memory, 1, offset)).toBe(true);
  }
  const others = fc.sample(fc.tuple(fc.uint8Array({ minLength: 9, maxLength: 9 }), fc.nat(4095)), {
    numRuns: 3000,
    seed: 2,
  });
  const through = others.filter(([bytes, offset]) => filter.mayStart(bytes, 0, offset));
  expect(through.length).toBeLessThan(300);
});

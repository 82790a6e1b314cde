import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { MAX_REGION_TABLES } from '../../memory/layout.ts';
import { FORCED_REGIONS, PageTables, TestBench } from '../testing/test-bench.ts';

const [RAX, RCX, RDX, RBX, RSP, RSI] = [0, 1, 2, 3, 4, 6];
const ALL = Array.from({ length: 16 }, (_, register) => register);
/** A region holds what it calls: few entries for many instructions. */
const entries = (bench: TestBench) => bench.engine.statistics()['region entries'];

// mov ecx,200 ; l: call 0x3000 ; add eax,edx ; loop l ; hlt
const CALLER = 'b9c8000000 e8f61f0000 01d0 e2f7 f4';
// lea edx,[rcx+5] ; ret
const CALLEE = '8d5105 c3';

function caller(bench: TestBench): TestBench {
  return bench.put(0x1000, CALLER).put(0x3000, CALLEE);
}

describe('regions that grow', () => {
  let bench: TestBench;
  let plain: TestBench;
  beforeEach(() => {
    bench = new TestBench({ ramBytes: 1 << 20, regions: FORCED_REGIONS });
    plain = new TestBench({ ramBytes: 1 << 20 });
    for (const each of [bench, plain]) each.vcpu.gpr[RSP] = 0x9000n;
  });

  it('go into a function of another page and come back', () => {
    expect(caller(bench).run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 1 + 200 * 5 + 1 });
    const before = entries(bench);
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 1 + 200 * 5 + 1 });
    expect(entries(bench) - before).toBeLessThan(40);
    expect(bench.vcpu.gpr[RSP]).toBe(0x9000n);
  });

  it('become longer where what is entered most is longer still', () => {
    // All of it twice as long as a region that has grown once, so that these start where others end.
    const additions = 478;
    // add eax,1 … ; dec ecx ; jne to the start ; hlt
    const back = Buffer.alloc(4);
    back.writeInt32LE(-(additions * 3 + 2 + 6));
    bench.put(0x1000, `${'83c001'.repeat(additions)} ffc9 0f85 ${back.toString('hex')} f4`);
    const rounds = (count: number) => {
      const before = entries(bench);
      bench.vcpu.gpr[RCX] = BigInt(count);
      const executed = count * (additions + 2) + 1;
      expect(bench.run(0x1000n, executed + 1)).toMatchObject({ exit: 'hlt', executed });
      return entries(bench) - before;
    };
    rounds(1000);
    // Two regions by turns.
    expect(rounds(1000)).toBeGreaterThan(1900);
    // Until one of them has been entered 65,536 times, four times.
    expect(rounds(300_000)).toBeLessThan(8 * 65_536 + 100);
    expect(bench.vcpu.gpr[RAX]).toBe(302_000n * BigInt(additions));
  });

  it('come back to each of several callers', () => {
    // l: call f ; add eax,edx ; call f ; lea ebx,[rbx+rdx] ; loop l ; hlt … f: lea edx,[rcx+5] ; ret
    const code = 'e8fb0f0000 01d0 e8f40f0000 8d1c13 e2ef f4';
    for (const each of [bench, plain]) {
      each.put(0x1000, code).put(0x2000, CALLEE);
      each.vcpu.gpr[RCX] = 300n;
      expect(each.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 300 * 9 + 1 });
    }
    for (const register of [RAX, RBX, RCX, RDX]) expect(bench.vcpu.gpr[register]).toBe(plain.vcpu.gpr[register]);
    expect(bench.vcpu.gpr[RAX]).toBe(bench.vcpu.gpr[RBX]);
  });

  it('leave where the function returns to somewhere else', () => {
    // As above, but the function returns behind the caller's ADD when ecx is 50: cmp ecx,50 ; jne r ; add qword [rsp],2 ; r: ret
    for (const each of [bench, plain]) {
      each.put(0x1000, CALLER).put(0x3000, '8d5105 83f932 7505 4883042402 c3');
      each.run(0x1000n);
    }
    expect(bench.vcpu.gpr[RAX]).toBe(plain.vcpu.gpr[RAX]);
  });

  it('go through more pages than they can look for', () => {
    const pages = MAX_REGION_TABLES + 6;
    // add eax,1 ; jmp to the next page … add eax,1 ; dec ecx ; jne to the first page ; hlt
    const steps = Array.from(
      { length: pages - 1 },
      (_, page) => [0x10000 + page * 0x1000, '83c001 e9f80f0000'] as const,
    );
    const back = Buffer.alloc(4);
    back.writeInt32LE(-(pages - 1) * 0x1000 - 11);
    for (const each of [bench, plain]) {
      for (const [at, code] of steps) each.put(at, code);
      each.put(0x10000 + (pages - 1) * 0x1000, `83c001 ffc9 0f85 ${back.toString('hex')} f4`);
      for (let i = 0; i < 2; i++) {
        each.vcpu.gpr[RCX] = 200n;
        expect(each.run(0x10000n)).toMatchObject({ exit: 'hlt', executed: 200 * (pages * 2 + 1) + 1 });
      }
    }
    expect(bench.vcpu.gpr[RAX]).toBe(plain.vcpu.gpr[RAX]);
    expect(bench.vcpu.gpr[RAX]).toBe(BigInt(2 * 200 * pages));
    // One region goes as far as it can, and others do the rest.
    expect(entries(bench)).toBeLessThan(2 * 200 * 8);
    expect(entries(bench)).toBeGreaterThan(200);
  });

  it('leave the budget where tier 0 leaves it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1100 }), fc.integer({ min: 1, max: 400 }), (first, second) => {
        const stops = [bench, plain].map((each) => {
          each.reset();
          each.vcpu.gpr[RSP] = 0x9000n;
          caller(each).run(0x1000n);
          return [each.run(0x1000n, first), each.run(undefined, second), ALL.map((i) => each.vcpu.gpr[i])];
        });
        expect(stops[0]).toEqual(stops[1]);
      }),
      { numRuns: 60 },
    );
  });

  it('go when the function is overwritten', () => {
    caller(bench).run(0x1000n);
    bench.put(0x3000, '8d5106 c3').vcpu.gpr[RAX] = 0n;
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe((200n * 201n) / 2n + 200n * 6n);
  });

  it('go when what lay before and behind them is overwritten first', () => {
    caller(bench).put(0x3004, '90 90 90 c3');
    bench.run(0x1000n);
    // The run of the function goes on behind the branch that the region knows.
    bench.put(0x3006, 'c3').run(0x1000n);
    bench.put(0x3000, '8d5107 c3').vcpu.gpr[RAX] = 0n;
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe((200n * 201n) / 2n + 200n * 7n);
  });

  it('hold for one mapping of the function, and not for another', () => {
    const tables = new PageTables(bench.ram, 0x40000);
    tables.identity(0x1000, 0x2000);
    tables.identity(0x8000, 0xa000);
    tables.map(0x3000n, 0x3000);
    bench.page(tables.root);
    bench.put(0x1000, CALLER).put(0x3000, CALLEE).put(0x5000, '8d5109 c3');
    bench.run(0x1000n);
    bench.run(0x1000n);
    tables.map(0x3000n, 0x5000);
    bench.vcpu.flushTlb();
    bench.vcpu.gpr[RAX] = 0n;
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe((200n * 201n) / 2n + 200n * 9n);
    tables.map(0x3000n, 0x3000);
    bench.vcpu.flushTlb();
    bench.vcpu.gpr[RAX] = 0n;
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe((200n * 201n) / 2n + 200n * 5n);
  });

  it('report a fault in the function at its place', () => {
    // f: mov edx,[rbx] ; ret, with rbx leading out of memory's mapping in the end
    const tables = new PageTables(bench.ram, 0x40000);
    tables.identity(0x1000, 0x4000);
    tables.identity(0x8000, 0xa000);
    bench.page(tables.root);
    bench.put(0x1000, 'b9c8000000 e8f61f0000 4883c310 e2f5 f4').put(0x3000, '8b13 c3');
    bench.vcpu.gpr[RBX] = 0x9700n;
    expect(bench.run(0x1000n)).toMatchObject({
      why: 'fault',
      vector: 14,
      rip: 0x3000n,
      address: 0xa000n,
      executed: 1 + 144 * 5 + 1,
    });
    expect(bench.vcpu.gpr[RSP]).toBe(0x8ff8n);
    expect(bench.vcpu.gpr[RCX]).toBe(200n - 144n);
  });
});

describe('regions that grow in 32-bit code', () => {
  const flat = { selector: 16, base: 0n, limit: 0xffffffff, accessRights: 0xc093 };
  /** Compatibility mode, which has the four levels of page tables that this bench can make. */
  const make = (regions: typeof FORCED_REGIONS | false): TestBench => {
    const bench = new TestBench({ ramBytes: 1 << 20, regions });
    const tables = new PageTables(bench.ram, 0x40000);
    tables.identity(0, 0x4000);
    tables.identity(0x8000, 0xa000);
    bench.page(tables.root);
    for (const segment of [0, 2, 3]) bench.vcpu.setSegment(segment, flat);
    bench.vcpu.setSegment(1, { ...flat, selector: 8, accessRights: 0xc09b });
    bench.vcpu.gpr[RSP] = 0x9000n;
    return bench;
  };
  let bench: TestBench;
  let plain: TestBench;
  beforeEach(() => {
    bench = make(FORCED_REGIONS);
    plain = make(false);
  });
  const runBoth = () => {
    const [ends, expected] = [bench, plain].map((each) => each.run(0x1000n));
    expect(ends).toEqual(expected);
    for (const register of ALL) expect(bench.vcpu.gpr[register]).toBe(plain.vcpu.gpr[register]);
  };

  it('go into a function of another page and come back', () => {
    // lea edx,[ecx+5] has the bytes that [rcx+5] has in 64-bit code.
    for (const each of [bench, plain]) caller(each);
    runBoth();
    const before = entries(bench);
    runBoth();
    expect(entries(bench) - before).toBeLessThan(40);
  });

  it('go where a register says', () => {
    // mov ecx,200 ; l: call ebx ; add eax,edx ; loop l ; hlt
    for (const each of [bench, plain])
      each.put(0x1000, 'b9c8000000 ffd3 01d0 e2fa f4').put(0x3000, CALLEE).vcpu.gpr[RBX] = 0x3000n;
    runBoth();
    const before = entries(bench);
    runBoth();
    expect(entries(bench) - before).toBeLessThan(40);
  });
});

/** RBX or a word at 0x6000 says what is called. */
describe('regions with indirect calls', () => {
  // mov ecx,200 ; l: call [0x6000] ; add eax,edx ; loop l ; hlt
  const BY_MEMORY = 'b9c8000000 ff142500600000 01d0 e2f5 f4';
  // mov ecx,200 ; l: call rbx ; add eax,edx ; loop l ; hlt
  const BY_REGISTER = 'b9c8000000 ffd3 01d0 e2fa f4';
  // lea edx,[rcx+7] ; ret
  const OTHER = '8d5107 c3';
  const pointer = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer).toString('hex');
  const put = (bench: TestBench) => {
    bench.vcpu.gpr[RSP] = 0x9000n;
    return bench.put(0x1000, BY_MEMORY).put(0x3000, CALLEE).put(0x3100, OTHER).put(0x6000, pointer(0x3000));
  };
  let bench: TestBench;
  let plain: TestBench;
  beforeEach(() => {
    bench = put(new TestBench({ ramBytes: 1 << 20, regions: FORCED_REGIONS }));
    plain = put(new TestBench({ ramBytes: 1 << 20 }));
  });
  const registers = (of: TestBench) => ALL.map((i) => of.vcpu.gpr[i]);
  /** Answers how often regions were entered. */
  const runBoth = () => {
    const before = entries(bench);
    const [ends, expected] = [bench, plain].map((each) => each.run(0x1000n));
    expect(ends).toEqual(expected);
    expect(registers(bench)).toEqual(registers(plain));
    return entries(bench) - before;
  };

  it('hold what has been called', () => {
    runBoth();
    expect(runBoth()).toBeLessThan(40);
  });

  it('leave for what has not been called before they were made', () => {
    runBoth();
    runBoth();
    for (const each of [bench, plain]) each.put(0x6000, pointer(0x3100));
    expect(runBoth()).toBeGreaterThan(200);
    for (const each of [bench, plain]) each.put(0x6000, pointer(0x3000));
    expect(runBoth()).toBeLessThan(40);
  });

  it('go by turns to one that they hold and one that they do not', () => {
    // xor qword [0x6000],0x100 ; lea edx,[rcx+…] ; ret, 0x100 apart
    for (const each of [bench, plain]) {
      for (const [at, code] of [
        [0x3000, CALLEE],
        [0x3100, OTHER],
      ] as const)
        each.put(at, `4881342500600000 00010000 ${code}`);
    }
    for (let i = 0; i < 3; i++) runBoth();
  });

  it('go when the function is overwritten', () => {
    runBoth();
    for (const each of [bench, plain]) each.put(0x3000, '8d5106 c3');
    runBoth();
    runBoth();
  });

  it('hold for one mapping of the function, and not for another', () => {
    const tables = [bench, plain].map((each) => {
      const made = new PageTables(each.ram, 0x40000);
      made.identity(0x1000, 0x2000);
      made.identity(0x6000, 0xa000);
      made.map(0x3000n, 0x3000);
      each.page(made.root);
      return each.put(0x5000, OTHER) && made;
    });
    runBoth();
    runBoth();
    for (const to of [0x5000, 0x3000]) {
      for (const each of tables) each.map(0x3000n, to);
      for (const each of [bench, plain]) each.vcpu.flushTlb();
      runBoth();
    }
  });

  it('do not hold what is far away', () => {
    for (const each of [bench, plain]) {
      const tables = new PageTables(each.ram, 0x40000);
      tables.identity(0x1000, 0x2000);
      tables.identity(0x8000, 0xa000);
      tables.map(0x4000_0000n, 0x3000);
      each.page(tables.root);
      each.put(0x1000, BY_REGISTER).vcpu.gpr[RBX] = 0x4000_0000n;
    }
    runBoth();
    expect(runBoth()).toBeGreaterThan(200);
  });

  it('leave the budget where tier 0 leaves it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1100 }), fc.integer({ min: 1, max: 400 }), (first, second) => {
        const stops = [bench, plain].map((each) => {
          each.reset();
          put(each).run(0x1000n);
          return [each.run(0x1000n, first), each.run(undefined, second), registers(each)];
        });
        expect(stops[0]).toEqual(stops[1]);
      }),
      { numRuns: 60 },
    );
  });
});

/** An interpreter: RSI leads through bytecode at 0x7000, the table of handlers is at 0x6000. */
describe('regions with an interpreter', () => {
  // movzx eax,byte [rsi] ; inc rsi ; jmp [rax*8+0x6000]
  const NEXT = '0fb606 48ffc6 ff24c500600000';
  const HANDLERS = [
    // add ebx,3
    [0x1100, `83c303 ${NEXT}`],
    // lea edx,[rbx+rbx*2] ; xor ebx,edx
    [0x1140, `8d145b 31d3 ${NEXT}`],
    // In another page: add ebx,edx
    [0x2100, `01d3 ${NEXT}`],
    // dec ecx ; jz end ; mov rsi,0x7000 … end: hlt
    [0x1180, `ffc9 7414 48c7c600700000 ${NEXT} f4`],
  ] as const;
  const ROUNDS = 200;
  const quad = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer).toString('hex');
  const put = (bench: TestBench) => {
    // mov ecx,200 ; mov rsi,0x7000
    bench.put(0x1000, `b9c8000000 48c7c600700000 ${NEXT}`).put(0x7000, '00 01 02 01 00 02 03');
    HANDLERS.forEach(([at, code], i) => {
      bench.put(at, code).put(0x6000 + i * 8, quad(at));
    });
    return bench;
  };
  const registers = (bench: TestBench) => ALL.map((i) => bench.vcpu.gpr[i]);
  let bench: TestBench;
  let plain: TestBench;
  beforeEach(() => {
    bench = put(new TestBench({ ramBytes: 1 << 20, regions: FORCED_REGIONS }));
    plain = put(new TestBench({ ramBytes: 1 << 20 }));
  });
  const runBoth = () => {
    const [ends, expected] = [bench, plain].map((each) => each.run(0x1000n));
    expect(ends).toEqual(expected);
    expect(registers(bench)).toEqual(registers(plain));
  };

  it('go round in it, whatever handler comes next', () => {
    runBoth();
    const before = entries(bench);
    runBoth();
    expect(entries(bench) - before).toBeLessThan(20);
  });

  it('leave for a handler that they do not know, and for the same address in another mapping', () => {
    runBoth();
    for (const each of [bench, plain]) each.put(0x5000, `83eb07 ${NEXT}`).put(0x6008, quad(0x5000));
    runBoth();
    for (const each of [bench, plain]) {
      const tables = new PageTables(each.ram, 0x40000);
      tables.identity(0x1000, 0x2000);
      tables.identity(0x5000, 0xa000);
      tables.map(0x2000n, 0x3000);
      each.put(0x3100, `29d3 83c301 ${NEXT}`).page(tables.root);
    }
    runBoth();
  });

  it('take in handlers that come later, from others alone and after many other jumps', () => {
    for (const each of [bench, plain]) each.put(0x7000, '00 00 00 03');
    for (let i = 0; i < 3; i++) runBoth();
    // mov eax,next ; jmp rax … hlt
    const jumps = Array.from({ length: 150 }, (_, i) => `b8${quad(0x8007 + i * 7).slice(0, 8)} ffe0`).join('');
    for (const each of [bench, plain]) each.put(0x8000, `${jumps} f4`).run(0x8000n);
    for (const each of [bench, plain]) each.put(0x7000, '00 02 00 01 03');
    for (let i = 0; i < 20; i++) runBoth();
    const before = entries(bench);
    runBoth();
    expect(entries(bench) - before).toBeLessThan(20);
  });

  it('leave by a jump all of whose targets are places on the way to it', () => {
    // mov ecx,2 ; test cl,1 ; jz b ; a: add ebx,3 ; jmp j ; b: add ebx,5
    // j: dec ecx ; jz end ; mov eax,ecx ; and eax,1 ; jmp [rax*8+0x6000] ; end: jmp 0x3000
    const code = 'b902000000 f6c101 7405 83c303 eb03 83c305 ffc9 740c 89c8 83e001 ff24c500600000 e9d91f0000';
    for (const each of [bench, plain]) {
      // 0x3000: dec esi ; jz $+7 ; jmp 0x1000 ; hlt
      each.put(0x1000, code).put(0x3000, 'ffce 7405 e9f7dfffff f4');
      each.put(0x6000, quad(0x100a) + quad(0x100f)).vcpu.gpr[RSI] = 200n;
    }
    runBoth();
  });

  it('go when a handler is overwritten', () => {
    runBoth();
    for (const each of [bench, plain]) each.put(0x2100, `29d3 ${NEXT}`);
    runBoth();
  });

  it('leave the budget where tier 0 leaves it', () => {
    runBoth();
    runBoth();
    fc.assert(
      fc.property(fc.integer({ min: 1, max: ROUNDS * 20 }), fc.integer({ min: 1, max: 400 }), (first, second) => {
        const stops = [bench, plain].map((each) => {
          each.vcpu.gpr[RBX] = 0n;
          return [each.run(0x1000n, first), each.run(undefined, second), registers(each)];
        });
        expect(stops[0]).toEqual(stops[1]);
      }),
      { numRuns: 60 },
    );
  });
});

import { beforeEach, describe, expect, it } from 'vitest';
import { HOT_INSTRUCTIONS } from './hot.ts';
import { FORCED_REGIONS, IDLE_HELPERS, PageTables, TestBench } from './testing/test-bench.ts';

const benches = {
  compiled: new TestBench(),
  inline: new TestBench({ hot: undefined }),
  regions: new TestBench({ regions: FORCED_REGIONS }),
};
const [RAX, RCX, RSI, RDI, RSP] = [0, 1, 6, 7, 4];

describe.each(Object.entries(benches))('bounded runs (%s)', (_name, bench) => {
  const { vcpu } = bench;
  beforeEach(() => bench.reset());

  it('leave an endless loop, and count it exactly', () => {
    bench.put(0x1000, 'ebfe');
    expect(bench.run(0x1000n, 1000)).toEqual({ why: 'budget', rip: 0x1000n, executed: 1000 });
    expect(bench.run(undefined, 7)).toMatchObject({ executed: 7 });
    // Across pages, and by indirect jumps: jmp +0xff8 ; jmp rax
    bench.put(0x2000, 'e9f80f0000').put(0x2ffd, 'ffe0');
    vcpu.gpr[RAX] = 0x2000n;
    expect(bench.run(0x2000n, 1000)).toMatchObject({ why: 'budget', executed: 1000 });
  });

  it('leave a huge REP STOS in the middle and go on with it', () => {
    bench.put(0x1000, 'f348ab f4');
    vcpu.gpr[RCX] = 50_000n;
    vcpu.gpr[RDI] = 0x10000n;
    let executed = 0;
    let turns = 0;
    for (vcpu.rip = 0x1000n; ; turns++) {
      const stop = bench.run(undefined, 1000);
      executed += stop.executed;
      if (stop.why !== 'budget') break;
      expect(stop).toMatchObject({ rip: 0x1000n, executed: 1000 });
      expect(vcpu.gpr[RDI]).toBe(0x10000n + BigInt(executed) * 8n);
    }
    expect([turns, executed]).toEqual([49, 50_001]);
    expect(vcpu.gpr[RCX]).toBe(0n);
  });

  it('count straight code longer than a run, wherever it is entered', () => {
    bench.put(0x1000, `${'90'.repeat(900)} f4`);
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 901 });
    for (const start of [0, 1, 57, 199, 200, 201, 450, 899]) {
      expect(bench.run(0x1000n + BigInt(start))).toMatchObject({ exit: 'hlt', executed: 901 - start });
    }
    bench.engine.code.flush();
    for (const start of [600, 450, 10, 0])
      expect(bench.run(0x1000n + BigInt(start))).toMatchObject({ executed: 901 - start });
  });

  it('count up to a fault, and over page borders', () => {
    const tables = new PageTables(bench.ram, 0x400000);
    tables.identity(0x1000, 0x4000);
    bench.page(tables.root);
    bench.put(0x1fd0, `${'90'.repeat(100)} 8b07`);
    vcpu.gpr[RDI] = 0x700000n;
    expect(bench.run(0x1fd0n)).toMatchObject({ why: 'fault', executed: 100, rip: 0x2034n });
    expect(bench.run(0x2030n)).toMatchObject({ why: 'fault', executed: 4, rip: 0x2034n });
    // A page that is not there is reached by flow.
    bench.put(0x3ff0, '90'.repeat(16));
    expect(bench.run(0x3ff0n)).toMatchObject({
      why: 'fault',
      vector: 14,
      executed: 16,
      rip: 0x4000n,
      address: 0x4000n,
    });
  });

  it('count loops, calls and REP by iteration', () => {
    // mov ecx,10 ; l: call f ; loop l ; hlt … f: nop ; ret
    bench.put(0x1000, 'b90a000000 e8f6000000 e2f9 f4').put(0x1100, '90c3');
    vcpu.gpr[RSP] = 0x9000n;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 1 + 10 * 4 + 1 });
    bench.put(0x2000, 'f3a4 f4');
    for (const count of [0n, 1n, 2n, 9n]) {
      vcpu.gpr[RCX] = count;
      vcpu.gpr[RSI] = 0x5000n;
      vcpu.gpr[RDI] = 0x6000n;
      expect(bench.run(0x2000n)).toMatchObject({ exit: 'hlt', executed: Math.max(1, Number(count)) + 1 });
    }
  });

  it('count the same whatever the size of the turns', () => {
    const program = 'b9c8000000 8d440801 a801 7404 ffc0 eb02 31c0 0107 48ffc9 75ea f4';
    const total = (turn: number) => {
      bench.reset();
      bench.put(0x1000, program);
      vcpu.gpr[RDI] = 0x8000n;
      vcpu.rip = 0x1000n;
      let executed = 0;
      for (;;) {
        const stop = bench.run(undefined, turn);
        executed += stop.executed;
        if (stop.why !== 'budget')
          return { executed, state: [...vcpu.gpr, vcpu.rflags, BigInt(bench.ram.read32(0x8000))] };
      }
    };
    const whole = total(1_000_000);
    for (const turn of [1, 2, 3, 10, 77]) expect(total(turn)).toEqual(whole);
  });
});

describe.each([
  ['tier 0', false],
  ['regions', { threshold: 1, batch: 1 }],
  ['inline handlers', 'hot'],
] as const)('leave when a device asks for it: %s', (_name, how) => {
  const DEVICE = 64n << 20n;
  const make = () => {
    const asking = new TestBench({
      fresh: true,
      regions: how === 'hot' ? false : how,
      ...(how === 'hot' && { hot: HOT_INSTRUCTIONS }),
      host: {
        mmioWrite: () => asking.engine.requestExit(),
        mmioRead: () => asking.engine.requestExit(),
      },
    });
    asking.vcpu.gpr[3] = DEVICE;
    return asking;
  };
  it.each([
    ['a write', '8803'],
    ['a read', '8a03'],
  ])('%s, at the next transfer backwards', (_access, code) => {
    const asking = make();
    // l: inc rax ; the access ; inc rcx ; jmp l
    asking.put(0x1000, `48ffc0 ${code} 48ffc1 ebf6`);
    for (let turn = 1; turn <= 5; turn++) {
      const stop = asking.run(turn === 1 ? 0x1000n : undefined, 1000);
      expect(stop).toMatchObject({ why: 'budget', rip: 0x1000n, executed: 4 });
      expect(asking.vcpu.gpr[1]).toBe(BigInt(turn));
    }
  });
  it('forgets what was asked for before', () => {
    const asking = make();
    asking.put(0x1000, 'ebfe');
    asking.engine.requestExit();
    expect(asking.run(0x1000n, 1000)).toMatchObject({ why: 'budget', executed: 1000 });
  });
});

describe.each([
  ['tier 0', { regions: false, hot: [] }],
  ['inline handlers', { regions: false, hot: HOT_INSTRUCTIONS }],
  ['regions', { regions: FORCED_REGIONS, hot: [] }],
] as const)('helpers see how much of the budget is left: %s', (_name, options) => {
  const seen: number[] = [];
  const rdtsc = () => {
    seen.push(reading.engine.budget);
    return -1;
  };
  const reading: TestBench = new TestBench({ ...options, host: { helpers: { ...IDLE_HELPERS, rdtsc } } });
  beforeEach(() => {
    reading.reset();
    seen.length = 0;
    // l: nop ; rdtsc ; jmp l
    reading.put(0x1000, '90 0f31 ebfb');
  });
  it('in a run', () => {
    reading.run(0x1000n, 9);
    expect(seen).toEqual([8, 5, 2]);
  });
  it('in a step', () => {
    reading.step(0x1001n, 500);
    expect(seen).toEqual([500]);
  });
});

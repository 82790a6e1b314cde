import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualThread } from '../testing/manual-thread.ts';
import { MemoryKeeper } from '../testing/memory-keeper.ts';
import { FORCED_REGIONS, hex, PageTables, TestBench } from '../testing/test-bench.ts';

const [RAX, RCX, RDX, RBX] = [0, 1, 2, 3];
const ALL = Array.from({ length: 16 }, (_, register) => register);
const RAM_BYTES = 1 << 20;
const PAGES = 0x40000;
const BOUNDARY = 0x11000;
const SECOND = 0x20000;
/** What else the second page may be: the same but for a byte, unless that is in the first one. */
const OTHER_SECOND = 0x21000;
const ROUNDS = 60;

/**
 * l: add eax,0x11223344 ; test eax,eax ; js m ; movzx esi,al ; mov edx,[rsi+0x3003c] ; m: lea ebx,[rax+rdx*4+0x55667788] ; sbb edx,ebx ;
 * mov rsi,0x1122334455667788 ; dec ecx ; then jnz l ; hlt
 */
const INSTRUCTIONS = [
  '0544332211',
  '85c0',
  '7809',
  '0fb6f0',
  '8b963c000300',
  '8d9c9088776655',
  '19da',
  '48be8877665544332211',
  'ffc9',
] as const;
const LAST_OF_LEA = INSTRUCTIONS.slice(0, 6).join('').length / 2 - 1;
const BODY_BYTES = INSTRUCTIONS.join('').length / 2;
const back = Buffer.alloc(4);
back.writeInt32LE(-(BODY_BYTES + 6));
const CODE = `${INSTRUCTIONS.join('')}0f85${back.toString('hex')}f4`;
const CODE_BYTES = CODE.length / 2;

/** So many of its bytes lie before the end of the page. */
function put(bench: TestBench, before: number): PageTables {
  const bytes = hex(CODE);
  const other = bytes.slice();
  other[LAST_OF_LEA] ^= 0x10;
  bench.ram.writeBytes(BOUNDARY - before, bytes.subarray(0, before));
  bench.ram.writeBytes(SECOND, bytes.subarray(before));
  bench.ram.writeBytes(OTHER_SECOND, other.subarray(before));
  bench.ram.writeBytes(
    0x30000,
    Uint8Array.from({ length: 0x200 }, (_, i) => i * 37),
  );
  const tables = new PageTables(bench.ram, PAGES);
  tables.identity(BOUNDARY - 0x1000, BOUNDARY);
  tables.identity(0x30000, PAGES);
  tables.map(BigInt(BOUNDARY), SECOND);
  bench.page(tables.root);
  return tables;
}
const begin = (bench: TestBench) => {
  for (const register of [RAX, RDX, RBX]) bench.vcpu.gpr[register] = BigInt(register * 7);
  bench.vcpu.gpr[RCX] = BigInt(ROUNDS);
};
const state = (bench: TestBench) => [ALL.map((i) => bench.vcpu.gpr[i]), bench.vcpu.rflags];
const entries = (bench: TestBench) => bench.engine.statistics()['region entries'];
const startOf = (before: number) => BigInt(BOUNDARY - before);

/** The second page between two runs. */
const CHANGES = ['same', 'other', 'absent', 'overwritten'] as const;
function change(bench: TestBench, tables: PageTables, what: (typeof CHANGES)[number]): void {
  if (what === 'overwritten') {
    const [byte] = bench.ram.readBytes(SECOND, 1);
    bench.ram.writeBytes(SECOND, Uint8Array.of(byte ^ 1));
    return;
  }
  if (what === 'absent') tables.unmap(BigInt(BOUNDARY));
  else tables.map(BigInt(BOUNDARY), what === 'other' ? OTHER_SECOND : SECOND);
  bench.vcpu.flushTlb();
}

describe('regions across the end of a page', () => {
  it.each(Array.from({ length: CODE_BYTES - 1 }, (_, i) => i + 1))(
    'go on in the next page, %i bytes before it',
    (before) => {
      const compiled = new TestBench({ ramBytes: RAM_BYTES, regions: FORCED_REGIONS });
      const plain = new TestBench({ ramBytes: RAM_BYTES });
      let entered = 0;
      for (let run = 0; run < 4; run++) {
        const [end, expected] = [compiled, plain].map((bench) => {
          if (run === 0) put(bench, before);
          begin(bench);
          entered = entries(compiled);
          return bench.run(startOf(before));
        });
        expect(end).toEqual(expected);
        expect(end).toMatchObject({ exit: 'hlt' });
        expect(state(compiled)).toEqual(state(plain));
      }
      // The last run: all rounds are in a region or two.
      begin(compiled);
      entered = entries(compiled);
      compiled.run(startOf(before));
      expect(entries(compiled) - entered).toBeLessThan(10);
    },
  );

  it('do what is interpreted, whatever becomes of the second page and whenever the budget ends', () => {
    const compiled = new TestBench({ ramBytes: RAM_BYTES, regions: FORCED_REGIONS });
    const plain = new TestBench({ ramBytes: RAM_BYTES });
    const steps = fc.array(fc.tuple(fc.constantFrom(...CHANGES), fc.integer({ min: 1, max: ROUNDS * 13 })), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: CODE_BYTES - 1 }), steps, (before, all) => {
        const seen = [compiled, plain].map((bench) => {
          bench.reset();
          const tables = put(bench, before);
          const ends: unknown[] = [];
          for (let run = 0; run < 3; run++) {
            begin(bench);
            ends.push(bench.run(startOf(before)), state(bench));
          }
          for (const [what, budget] of all) {
            change(bench, tables, what);
            begin(bench);
            ends.push(bench.run(startOf(before), budget), state(bench));
            ends.push(bench.run(undefined, 50), state(bench));
          }
          return ends;
        });
        expect(seen[0]).toEqual(seen[1]);
      }),
      { numRuns: 150 },
    );
  });

  it('are made in another thread, and kept', () => {
    // In LEA, three bytes of whose displacement lie in the second page.
    const before = 22;
    const keeper = new MemoryKeeper();
    const regions = { threshold: 4, batch: 1, growAfter: 50 };
    const thread = new ManualThread();
    const first = new TestBench({ ramBytes: RAM_BYTES, regions, regionThread: thread, codeKeeper: keeper });
    const plain = new TestBench({ ramBytes: RAM_BYTES });
    thread.work();
    const run = (bench: TestBench) => {
      begin(bench);
      const entered = entries(bench);
      expect(bench.run(startOf(before))).toMatchObject({ exit: 'hlt' });
      return entries(bench) - entered;
    };
    for (const bench of [first, plain]) put(bench, before);
    run(plain);
    for (let i = 0; i < 12; i++) {
      run(first);
      thread.work();
    }
    expect(run(first)).toBeLessThan(10);
    expect(state(first)).toEqual(state(plain));
    expect(first.engine.statistics()).toMatchObject({ 'outdated in thread': 0, 'region generation ms': 0 });

    const second = new TestBench({ ramBytes: RAM_BYTES, regions, codeKeeper: keeper });
    const tables = put(second, before);
    for (let i = 0; i < 6; i++) run(second);
    expect(second.engine.statistics()).toMatchObject({ 'instructions compiled': 0 });
    expect(run(second)).toBeLessThan(10);
    expect(state(second)).toEqual(state(plain));
    change(second, tables, 'overwritten');
    change(plain, put(plain, before), 'overwritten');
    run(second);
    run(plain);
    expect(state(second)).toEqual(state(plain));

    // The last of the three is another one.
    const third = new TestBench({ ramBytes: RAM_BYTES, regions, codeKeeper: keeper });
    for (const bench of [third, plain]) change(bench, put(bench, before), 'other');
    for (let i = 0; i < 6; i++) run(third);
    run(plain);
    expect(state(third)).toEqual(state(plain));
  });
});

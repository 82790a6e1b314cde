import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pte } from '../memory/walk.ts';
import { FORCED_REGIONS, PageTables, type Stop, TestBench } from './testing/test-bench.ts';

const [RAX, RCX, RSI, RDI] = [0, 1, 6, 7];
const REGISTERS = [RAX, RCX, RSI, RDI];
const CODE = 0x1000;
const DATA = 0x20000;
const PAGES = 6;
const DATA_BYTES = PAGES * 4096;
const DIRECTION = 0x400n;

// With hlt behind.
const INSTRUCTIONS = ['f3a4', 'f366a5', 'f3a5', 'f348a5', 'f3aa', 'f366ab', 'f3ab', 'f348ab', 'f364a4', 'f367a4'];
const FLAT32_INSTRUCTIONS = ['f3a4', 'f3a5', 'f3aa', 'f3ab'];
const CODE32 = { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xc09b } as const;
const DATA32 = { selector: 16, base: 0n, limit: 0xffffffff, accessRights: 0xc093 } as const;

interface Case {
  readonly rax: bigint;
  readonly count: number;
  readonly from: number;
  readonly to: number;
  readonly down: boolean;
  readonly budget: number;
  /** What each page is mapped to (identity if undefined), and its rights; −1: nothing. */
  readonly pages: readonly { readonly to: number | undefined; readonly bits: number }[];
}

const allBits = Pte.present | Pte.write | Pte.user;
const anyCase: fc.Arbitrary<Case> = fc.record({
  rax: fc.oneof(fc.constantFrom(0n, -1n, 0x2020202020202020n), fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })),
  count: fc.oneof(fc.nat(20), fc.nat(4000), fc.constant(DATA_BYTES)),
  from: fc.nat(DATA_BYTES - 1),
  to: fc.nat(DATA_BYTES - 1),
  down: fc.boolean().chain((first) => (first ? fc.boolean() : fc.constant(false))),
  budget: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9000 })),
  pages: fc.array(
    fc.record({
      to: fc.oneof(fc.constant(undefined), fc.constant(undefined), fc.nat(PAGES - 1)),
      bits: fc.constantFrom(allBits, allBits, allBits, allBits, Pte.present, 0),
    }),
    { minLength: PAGES, maxLength: PAGES },
  ),
});
const pattern = Uint8Array.from({ length: DATA_BYTES }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

/** Machines that are set up once; each case writes all that it depends on. */
function machine(regions: boolean, mode: 'long64' | 'flat32') {
  const bench = new TestBench({ ramBytes: 1 << 20, fresh: true, regions: regions ? FORCED_REGIONS : false });
  const { vcpu } = bench;
  const tables = new PageTables(bench.ram, 0x80000);
  if (mode === 'long64') {
    tables.identity(CODE, CODE + 0x1000);
    bench.page(tables.root);
  } else {
    vcpu.efer = 0n;
    vcpu.setSegment(1, CODE32);
    for (const segment of [0, 2, 3]) vcpu.setSegment(segment, DATA32);
  }
  const set = (each: Case) => {
    const step = each.down ? vcpu.rflags | DIRECTION : vcpu.rflags & ~DIRECTION;
    vcpu.rflags = step;
    vcpu.gpr[RAX] = BigInt.asUintN(64, each.rax);
    vcpu.gpr[RCX] = BigInt(each.count);
    vcpu.gpr[RSI] = BigInt(DATA + each.from);
    vcpu.gpr[RDI] = BigInt(DATA + each.to);
    bench.ram.writeBytes(DATA, pattern);
    if (mode === 'flat32') return;
    each.pages.forEach(({ to, bits }, i) => {
      tables.map(BigInt(DATA + i * 4096), DATA + (to ?? i) * 4096, bits);
    });
    vcpu.flushTlb();
  };
  const state = () => ({
    registers: REGISTERS.map((register) => vcpu.gpr[register]),
    memory: Buffer.from(bench.ram.readBytes(DATA, DATA_BYTES)).toString('latin1'),
    accessed: mode === 'flat32' ? [] : each(PAGES, (i) => bench.ram.read64(tables.entry(BigInt(DATA + i * 4096)))),
  });
  return { bench, set, state };
}
/** A run whose budget is used up has stopped where steps stop. */
const asStep = ({ why, ...rest }: Stop) => ({ ...rest, why: why === 'budget' ? 'stop' : why });
const each = <T>(count: number, of: (i: number) => T) => Array.from({ length: count }, (_, i) => of(i));

describe.each(['long64', 'flat32'] as const)('REP MOVS and STOS in %s mode, many iterations at once', (mode) => {
  it.each([
    ['interpreted', false],
    ['compiled', true],
  ])('do what they do one by one, within any budget (%s)', (_name, regions) => {
    const [one, many] = [machine(false, mode), machine(regions, mode)];
    let most = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...(mode === 'flat32' ? FLAT32_INSTRUCTIONS : INSTRUCTIONS)),
        anyCase,
        (code, given) => {
          for (const { bench } of [one, many]) bench.put(CODE, `${code} f4`);
          const idle = { ...given, count: 0 };
          // Reached often enough to be compiled.
          for (let i = 0; i < (regions ? 4 : 0); i++) {
            many.set(idle);
            many.bench.run(BigInt(CODE));
          }
          for (const each of [one, many]) each.set(given);
          let executed = 0;
          // One iteration a step: that leaves none to be done at once.
          const step = (rip?: bigint) => {
            const stop = one.bench.step(rip);
            expect(stop.executed).toBeLessThanOrEqual(1);
            executed += stop.executed;
            return stop;
          };
          let stop = step(BigInt(CODE));
          while (stop.why === 'stop' && executed < given.budget) stop = step();
          const together = many.bench.run(BigInt(CODE), given.budget);
          most = Math.max(most, together.executed);
          expect(asStep(together)).toEqual(asStep({ ...stop, executed }));
          expect(many.state()).toEqual(one.state());
        },
      ),
      { numRuns: 150 },
    );
    expect(most).toBeGreaterThan(3000);
  });
});

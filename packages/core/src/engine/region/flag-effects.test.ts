/** Flags that nobody sees are not made in regions; whoever looks, at the end, behind a fault or in between, sees those of the instructions. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { FORCED_REGIONS, PageTables, TestBench } from '../testing/test-bench.ts';

const [RCX, RSP, RSI] = [1, 4, 6];
const ALL = Array.from({ length: 16 }, (_, register) => register);
/** What leaves some flags as they are, what writes all, what reads some, and what may fault. */
const INSTRUCTIONS = [
  ['rol eax, 5', 'c1c005'],
  ['ror ebx, cl', 'd3cb'],
  ['rcl eax, 1', 'd1d0'],
  ['inc ebx', 'ffc3'],
  ['dec edx', 'ffca'],
  ['shl edx, cl', 'd3e2'],
  ['shr eax, 3', 'c1e803'],
  ['add eax, ebx', '01d8'],
  ['adc edx, eax', '11c2'],
  ['xor ebx, edx', '31d3'],
  ['cmc', 'f5'],
  ['sete dl', '0f94c2'],
  ['bt ebx, 3', '0fbae303'],
  ['mov edi, [rsi]', '8b3e'],
  ['add ebx, [rsi]', '031e'],
  ['lea rsi, [rsi+64]', '488d7640'],
  ['imul eax, ebx', '0fafc3'],
] as const;
const ROUNDS = 60;

describe('flags that are overwritten unseen', () => {
  const make = (regions: typeof FORCED_REGIONS | false): TestBench => new TestBench({ ramBytes: 1 << 20, regions });
  let bench: TestBench;
  let plain: TestBench;
  beforeEach(() => {
    [bench, plain] = [make(FORCED_REGIONS), make(false)];
  });

  it('make no difference to whoever looks', () => {
    const instruction = fc.constantFrom(...INSTRUCTIONS);
    fc.assert(
      fc.property(
        fc.array(instruction, { minLength: 3, maxLength: 14 }),
        fc.integer({ min: 1, max: ROUNDS * 16 }),
        fc.record({ source: fc.integer({ min: 0xe000, max: 0xfff8 }), count: fc.constantFrom(0, 1, 7, 32) }),
        fc.array(instruction, { maxLength: 3 }),
        (list, budget, { source, count }, first) => {
          const before = first.map(([, code]) => code).join('');
          const body = list.map(([, code]) => code).join('');
          // … ; loop: … ; dec ebp ; jnz loop ; hlt
          const back = Buffer.alloc(4);
          back.writeInt32LE(-(body.length / 2 + 2 + 6));
          const code = `${before} ${body} ffcd 0f85 ${back.toString('hex')} f4`;
          const seen = [bench, plain].map((each) => {
            each.reset();
            const tables = new PageTables(each.ram, 0x40000);
            tables.identity(0x1000, 0x2000);
            tables.identity(0xe000, 0x10000);
            each.page(tables.root);
            each.put(0x1000, code);
            const start = () => {
              for (const register of ALL) each.vcpu.gpr[register] = BigInt(register * 0x1234567 + 3);
              each.vcpu.gpr[5] = BigInt(ROUNDS);
              each.vcpu.gpr[RCX] = BigInt(count);
              each.vcpu.gpr[RSI] = BigInt(source);
              each.vcpu.gpr[RSP] = 0xf000n;
            };
            const look = () => [each.vcpu.rflags, ...ALL.map((register) => each.vcpu.gpr[register])];
            start();
            const whole = [each.run(0x1000n), look()];
            start();
            return [whole, each.run(0x1000n, budget), look(), each.run(), look()];
          });
          expect(seen[0]).toEqual(seen[1]);
        },
      ),
      { numRuns: 250 },
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PageTables, type TestBench } from '../testing/test-bench.ts';
import { BOUNDARY, FIRST, interpreted, prepare, regions, SECOND_PAGES, seen } from '../testing/two-pages.ts';

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const byte = (value: number) => (value & 0xff).toString(16).padStart(2, '0');

/** A loop, RCX times; DEC RCX sets the flags that JNZ looks at. */
function loop(body: string): string {
  return `${body} 48ffc9 75${byte(-sizeOf(body) - 5)}`;
}
const sizeOf = (code: string): number => code.replaceAll(' ', '').length / 2;

const near = fc.integer({ min: -128, max: 127 }).map(byte);
const instruction = fc.oneof(
  // add rax,[rbx+d] ; mov dl,[rbx+d] ; mov [rbx+d],rdx ; mov [rbx+d],al ; add [rbx+d],eax ; xchg [rbx+d],rdx
  near.map((d) => `480343${d}`),
  near.map((d) => `8a53${d}`),
  near.map((d) => `488953${d}`),
  near.map((d) => `8843${d}`),
  near.map((d) => `0143${d}`),
  near.map((d) => `488753${d}`),
  // The same from RSI: add rax,[rsi+d] ; mov [rsi+d],edx ; movzx edx,word [esi+d]
  near.map((d) => `480346${d}`),
  near.map((d) => `8956${d}`),
  near.map((d) => `670fb756${d}`),
  // push and pop at RSP: push rax ; pop rdx
  fc.constantFrom('50', '5a'),
);
/** How far RBX and RSI move in each round: lea rbx,[rbx+d] ; lea rsi,[rsi+d] */
const step = fc.tuple(near, near).map(([b, s]) => `488d5b${b} 488d76${s}`);

describe('accesses in a small loop', () => {
  it('do what they do without one, wherever a page ends', () => {
    fc.assert(
      fc.property(
        fc.array(instruction, { minLength: 1, maxLength: 6 }),
        step,
        fc.constantFrom(...SECOND_PAGES),
        fc.integer({ min: -1000, max: 1000 }),
        fc.integer({ min: -1000, max: 1000 }),
        (body, steps, second, pointer, other) => {
          const code = `${loop(`${body.join('')} ${steps}`)} f4`;
          const [expected, found] = [interpreted, regions].map((bench) => {
            prepare(bench, second);
            bench.put(0x1000, code);
            // The second time the TLB holds what the first has left.
            return [0, 1].map(() => {
              const { gpr } = bench.vcpu;
              Object.assign(gpr, { [RAX]: 0x11223344n, [RDX]: 7n, [RCX]: 30n });
              Object.assign(gpr, {
                [RBX]: BOUNDARY + BigInt(pointer),
                [RSI]: BOUNDARY + BigInt(other),
                [RSP]: 0x18800n,
              });
              bench.vcpu.rflags = 2n;
              return seen(bench, bench.run(0x1000n));
            });
          });
          expect(found).toEqual(expected);
        },
      ),
      { numRuns: 400 },
    );
  });

  it.each([
    ['0, where nothing is', 0n],
    ['that is not canonical', 0x8000_0000_0000_0000n],
  ])('fault at the first address if it is %s', (_what, pointer) => {
    const [expected, found] = [interpreted, regions].map((bench) => {
      prepare(bench, 'elsewhere');
      const tables = new PageTables(bench.ram, 0x410000);
      tables.map(0x1000n, 0x1000);
      tables.map(FIRST, 0x6000);
      bench.page(tables.root);
      // add rax,[rbx] ; add rbx,8
      bench.put(0x1000, `${loop('480303 4883c308')} f4`);
      return [FIRST, FIRST, pointer].map((rbx) => {
        Object.assign(bench.vcpu.gpr, { [RAX]: 0n, [RBX]: rbx, [RCX]: 3n });
        return seen(bench, bench.run(0x1000n));
      });
    });
    expect(found).toEqual(expected);
    expect(found[2].stop).not.toMatchObject({ exit: 'hlt' });
  });

  it('look at the TLB once for a page, though another of the same entry comes in between', () => {
    const rival = FIRST + (8n << 20n);
    prepare(regions, 'elsewhere');
    new PageTables(regions.ram, 0x400000).map(rival, 0xa000);
    // add rax,[rbx] ; the loop: add rax,[rbx] ; add rdx,[rdi]
    regions.put(0x1000, `480303 ${loop('480303 480317')} f4`);
    const fillsOfRun = () => {
      const fills = () => regions.engine.statistics()['TLB fills'];
      Object.assign(regions.vcpu.gpr, { [RBX]: FIRST, [RDI]: rival, [RCX]: 50n });
      const before = fills();
      expect(regions.run(0x1000n)).toMatchObject({ exit: 'hlt' });
      return fills() - before;
    };
    fillsOfRun();
    expect(fillsOfRun()).toBe(2);
  });

  it('forget where they were when the loop is entered again', () => {
    const [expected, found] = [interpreted, regions].map((bench) => {
      prepare(bench, 'elsewhere');
      const entry = prepareEntry(bench);
      // mov ecx,3 ; the loop with add r8,[rbx] ; xor qword [rsi],0xf000 ; rdtsc, which drops translations ; dec rbp ; jnz to the start
      const outer = `b903000000 ${loop('4c0303')} 48813600f00000 0f31 48ffcd`;
      bench.put(0x1000, `${outer} 75${byte(-sizeOf(outer) - 2)} f4`);
      return [0, 1].map(() => {
        Object.assign(bench.vcpu.gpr, { [R8]: 0n, [RBX]: FIRST, [RBP]: 6n, [RSI]: entry });
        return seen(bench, bench.run(0x1000n));
      });
    });
    // Half of the time it leads to the one, half of it to the other.
    expect(found[1].registers[R8]).toBe(9n * 0x6000n + 9n * 0x9000n);
    expect(found).toEqual(expected);
  });

  it('follow a list from page to page, to whatever its last pointer leads to', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 511 }), { minLength: 2, maxLength: 40 }),
        fc.constantFrom(0n, BOUNDARY + 0xffcn, 0x8000_0000_0000_0000n, 0xffff_ffff_ffff_fff8n),
        // add rax,[rbx+8] ; mov rbx,[rbx] ; the same by way of RDX: mov rdx,[rbx] ; mov [rbx+8],rax ; mov rbx,rdx
        fc.constantFrom('48034308 488b1b', '488b13 48034308 48894308 4889d3'),
        (places, last, body) => {
          const [expected, found] = [interpreted, regions].map((bench) => {
            prepare(bench, 'elsewhere');
            const addressOf = (place: number) => FIRST + BigInt(place * 16);
            const hostOf = (place: number) => (place < 256 ? 0x6000 + place * 16 : 0x9000 + (place - 256) * 16);
            places.forEach((place, i) => {
              bench.ram.write64(hostOf(place), i + 1 < places.length ? addressOf(places[i + 1]) : last);
            });
            bench.put(0x1000, `${loop(body)} f4`);
            return [places.length, places.length + 1].map((rounds) => {
              const registers = { [RAX]: 0n, [RBX]: addressOf(places[0]), [RCX]: BigInt(rounds), [RDX]: 0n };
              Object.assign(bench.vcpu.gpr, registers);
              bench.vcpu.rflags = 2n;
              return seen(bench, bench.run(0x1000n));
            });
          });
          expect(found).toEqual(expected);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('are not in one where translations are dropped', () => {
    const [expected, found] = [interpreted, regions].map((bench) => {
      prepare(bench, 'elsewhere');
      const entry = prepareEntry(bench);
      // add r8,[rbx] ; add r8,[rdi] ; xor qword [rsi],0xf000 ; rdtsc
      bench.put(0x1000, `${loop('4c0303 4c0307 48813600f00000 0f31')} f4`);
      return [0, 1].map(() => {
        Object.assign(bench.vcpu.gpr, { [R8]: 0n, [RBX]: FIRST, [RDI]: FIRST, [RCX]: 10n, [RSI]: entry });
        return seen(bench, bench.run(0x1000n));
      });
    });
    expect(found[1].registers[R8]).toBe(10n * 0x6000n + 10n * 0x9000n);
    expect(found).toEqual(expected);
  });
});

/** Tables in which the entry of the first page is mapped; answers where. 0x6000 and 0x9000, to which it may lead, differ in 0xf000. */
function prepareEntry(bench: TestBench): bigint {
  const tables = new PageTables(bench.ram, 0x410000);
  tables.identity(0, 0x20000);
  tables.map(FIRST, 0x6000);
  const entry = tables.entry(FIRST);
  tables.map(BOUNDARY, entry & -4096);
  bench.page(tables.root);
  return BOUNDARY + BigInt(entry & 0xfff);
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TestBench } from '../testing/test-bench.ts';
import { BOUNDARY, FIRST, interpreted, prepare, regions, SECOND_PAGES, seen } from '../testing/two-pages.ts';

const [RAX, RCX, RDX, RBX, RSP, RSI, RDI, R8] = [0, 1, 2, 3, 4, 6, 7, 8];
const byte = (value: number) => (value & 0xff).toString(16).padStart(2, '0');
const sizeOf = (code: string): number => code.replaceAll(' ', '').length / 2;

/** Register operands of ModRM among RAX, RDX and RSI. */
const pair = fc
  .tuple(fc.constantFrom(RAX, RDX, RSI), fc.constantFrom(RAX, RDX, RSI))
  .map(([r, rm]) => byte(0xc0 | (r << 3) | rm));
const prefix = fc.constantFrom('', '48', '66', '4c');
/** What sets flags: from registers that stay, that are written, from memory; with a carry, one by one, in part. */
const setter = fc.oneof(
  // add, or, adc, sbb, and, sub, xor, cmp r/m,r ; test ; cmp r,r/m
  fc
    .tuple(prefix, fc.constantFrom('01', '09', '11', '19', '21', '29', '31', '39', '85', '3b', '00', '28', '38'), pair)
    .map((parts) => parts.join('')),
  // add, or, adc, sbb, and, sub, xor, cmp by an immediate byte
  fc
    .tuple(prefix, fc.integer({ min: 0, max: 7 }), fc.constantFrom(RAX, RDX, RSI), fc.integer({ min: -128, max: 127 }))
    .map(([p, operation, rm, imm]) => `${p}83${byte(0xc0 | (operation << 3) | rm)}${byte(imm)}`),
  // add dl,ah ; cmp ah,dl ; test ah,ah ; sub ah,1
  fc.constantFrom('00e2', '38d4', '84e4', '80ec01'),
  // add rax,[rbx] ; cmp [rbx],rdx ; sub [rbx],edx ; add rdx,[rdi] ; cmp dword [rdi],5
  fc.constantFrom('480303', '483913', '2913', '480317', '833f05'),
  // shl eax,3 ; shr rdx,1 ; sar esi,31 ; shl edx,cl ; shr eax,0 ; shr al,2 ; rol eax,5 ; shld eax,edx,4
  fc.constantFrom('c1e003', '48d1ea', 'c1fe1f', 'd3e2', 'c1e800', 'c0e802', 'c1c005', '0fa4d004'),
  // neg rax ; inc edx ; dec rsi ; imul eax,edx ; xadd rax,rdx ; bt eax,3 ; stc ; cmc ; bsf eax,edx ; sahf
  fc.constantFrom('48f7d8', 'ffc2', '48ffce', '0fafc2', '480fc1d0', '0fbae003', 'f9', 'f5', '0fbcc2', '9e'),
);
/** What changes none: mov, lea, extensions, xchg, push. */
const quiet = fc.oneof(
  fc.tuple(fc.constantFrom('89', '4889', '4887', '6689', '88', '0fb6'), pair).map((parts) => parts.join('')),
  // lea rax,[rdx+rsi+1] ; mov r8,rax ; mov rax,r8 ; movsx edx,al ; push rax ; pop rdx ; mov esi,[rbx]
  fc.constantFrom('488d443201', '4989c0', '4c89c0', '0fbed0', '50', '5a', '8b33'),
);
/** What reads them, and what calls TypeScript: cmovc rax,rdx ; sete dl ; lahf ; rdtsc */
const reader = fc.constantFrom('480f42c2', '0f94c2', '9f', '0f31');
/** What may fault: mov rax,[rdi] ; mov edx,[rdi+4] ; mov [rdi],rax ; mov [rdi-8],dl ; add rdx,[rdi] ; sub [rdi],eax ; xchg [rdi],rsi */
const access = fc.constantFrom('488b07', '8b5704', '488907', '8857f8', '480317', '2907', '488737');
const piece = (...parts: fc.Arbitrary<string>[]) =>
  fc.array(fc.oneof(...parts), { maxLength: 3 }).map((found) => found.join(''));
/** Setters, a branch over some more, and an access where both ways meet. */
const diamond = fc
  .tuple(
    piece(setter, quiet),
    fc.integer({ min: 0, max: 15 }),
    piece(setter, quiet, access),
    piece(quiet),
    access,
    piece(setter, reader, quiet),
  )
  .map(([before, condition, over, meet, last, after]) =>
    [before, byte(0x70 | condition), byte(sizeOf(over)), over, meet, last, after].join(''),
  );
/** RCX times, RDI on the move, by instructions that leave the flags alone. */
function loop(body: string, step: number): string {
  // lea rdi,[rdi+step] ; lea rcx,[rcx-1] ; jrcxz +5 ; jmp back
  const whole = `${body} 488dbf${dword(step)} 488d49ff e305`;
  return `${whole} e9${dword(-(sizeOf(whole) + 5))}`;
}
const dword = (value: number) => Buffer.from(Int32Array.of(value).buffer).toString('hex');

function runs(
  bench: TestBench,
  text: string,
  start: { registers: bigint[]; flags: number; budget: number; rdi: bigint; rounds: bigint },
) {
  const { vcpu } = bench;
  bench.put(0x1000, `${text} f4`);
  const [rax, rdx, rsi] = start.registers;
  return [0, 1].map(() => {
    Object.assign(vcpu.gpr, { [RAX]: rax, [RDX]: rdx, [RSI]: rsi, [RCX]: start.rounds, [R8]: 5n });
    Object.assign(vcpu.gpr, { [RBX]: FIRST + 0x100n, [RDI]: start.rdi, [RSP]: 0x18800n });
    vcpu.rflags = BigInt(start.flags & 0x8d5) | 2n;
    vcpu.rip = 0x1000n;
    const stops: unknown[] = [];
    for (let i = 0; i < 40; i++) {
      const stop = bench.run(undefined, start.budget);
      stops.push(seen(bench, stop));
      if (stop.why !== 'budget') break;
    }
    return stops;
  });
}

describe('flags where several ways meet', () => {
  it('are those of the way that was taken, wherever the region is left', () => {
    fc.assert(
      fc.property(
        fc.array(diamond, { minLength: 1, maxLength: 2 }),
        fc.constantFrom(0x1000, 0x3f0, -24),
        fc.constantFrom(...SECOND_PAGES),
        fc.record({
          registers: fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 3, maxLength: 3 }),
          flags: fc.integer({ min: 0, max: 0x8d5 }),
          budget: fc.constantFrom(7, 23, 1000),
          // Also the count of shifts by CL: 0 in the second round of one.
          rounds: fc.constantFrom(12n, 33n),
          rdi: fc.constantFrom(-0x1000, -0xfd0, 0x30).map((distance) => BOUNDARY + BigInt(distance)),
        }),
        (diamonds, step, second, start) => {
          const [expected, found] = [interpreted, regions].map((bench) => {
            prepare(bench, second);
            return runs(bench, loop(diamonds.join(''), step), start);
          });
          expect(found).toEqual(expected);
        },
      ),
      { numRuns: 600 },
    );
  });

  it.each([
    ['a shift by 0, which sets none: dec rsi ; shl edx,cl', '48ffce d3e2'],
    ['ZF alone behind a shift: shl edx,3 ; bsf eax,esi', 'c1e203 0fbcc6'],
    ['CF alone behind a shift: shl edx,3 ; stc', 'c1e203 f9'],
    ['a result in AH: sub ah,1', '80ec01'],
    ['a negative result of 32 bits: shl eax,1', 'd1e0'],
    ['an operand that the instruction writes: xadd rax,rdx', '480fc1d0'],
  ])('are found again after %s', (_what, set) => {
    for (const rax of [0n, 0x40000000n, 0xffff_ffff_ffff_00ffn]) {
      const start = { registers: [rax, rax, rax], flags: 0x895, budget: 1000, rounds: 33n, rdi: BOUNDARY - 0x1000n };
      const [expected, found] = [interpreted, regions].map((bench) => {
        prepare(bench, 'absent');
        // jnz over mov esi,esi ; mov rax,[rdi], which faults in the second round ; add rax,rax
        return runs(bench, loop(`${set} 7502 89f6 488b07 4801c0`, 0x1000), start);
      });
      expect(found).toEqual(expected);
    }
  });
});

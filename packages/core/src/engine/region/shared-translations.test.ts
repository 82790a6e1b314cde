import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { PageTables } from '../testing/test-bench.ts';
import { BOUNDARY, FIRST, interpreted, prepare, regions, SECOND_PAGES, seen } from '../testing/two-pages.ts';

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7];

/** Instructions that access memory near RBX, RSP or RBP, or move what they count from, in hexadecimal digits. */
const byte = (value: number) => (value & 0xff).toString(16).padStart(2, '0');
const displacement = fc.integer({ min: -128, max: 127 });
const near = displacement.map(byte);
const instruction = fc.oneof(
  // mov rax,[rbx+d] ; mov [rbx+d],rcx ; mov dl,[rbx+d] ; mov [rbx+d],dx ; add [rbx+d],eax ; mov rbp,[rbx+d] ; xchg [rbx+d],rsi
  near.map((d) => `488b43${d}`),
  near.map((d) => `48894b${d}`),
  near.map((d) => `8a53${d}`),
  near.map((d) => `668953${d}`),
  near.map((d) => `0143${d}`),
  near.map((d) => `488773${d}`),
  // The same from RSP: mov rdi,[rsp+d] ; mov [rsp+d],edx
  near.map((d) => `488b7c24${d}`),
  near.map((d) => `895424${d}`),
  // push rax ; push rcx ; pop rdx ; pop rsi ; lea rsp,[rsp+d]
  fc.constantFrom('50', '51', '5a', '5e'),
  near.map((d) => `488d6424${d}`),
  // lea rbx,[rbx+d] ; add rbx,d ; mov rbp,rbx ; mov rax,[rbp+d] ; cmovz rbx,rbp ; inc rbx ; mov bl,bl
  near.map((d) => `488d5b${d}`),
  near.map((d) => `4883c3${d}`),
  fc.constantFrom('4889dd', '480f44dd', '48ffc3', '88db'),
  near.map((d) => `488b45${d}`),
  // mov eax,[ebx+d], of 32-bit addresses ; test al,1 and a jump over the next two bytes: inc edx
  near.map((d) => `678b43${d}`),
  fc.constant('a8017502ffc2'),
  // cmpxchg8b [rbx+d], of what is there and of something else ; the same of 16 bytes, behind and rbx,-16
  near.map((d) => `0fc74b${d}`),
  displacement.map((d) => `8b43${byte(d)} 8b53${byte(d + 4)} 0fc74b${byte(d)}`),
  near.map((d) => `480fc74b${d}`),
  fc
    .integer({ min: -8, max: 7 })
    .map((d) => `4883e3f0 488b43${byte(d * 16)} 488b53${byte(d * 16 + 8)} 480fc74b${byte(d * 16)}`),
  // mov cl,5 ; rep movsb ; mov rax,[rsi+d] ; mov [rdi+d],rdx
  fc.constantFrom('b105', 'f3a4'),
  near.map((d) => `488b46${d}`),
  near.map((d) => `488957${d}`),
);

describe('accesses that share a translation', () => {
  it('do what they do one by one, wherever a page ends', () => {
    fc.assert(
      fc.property(
        fc.array(instruction, { minLength: 2, maxLength: 12 }),
        fc.constantFrom(...SECOND_PAGES),
        fc.integer({ min: -160, max: 160 }),
        fc.integer({ min: -160, max: 160 }),
        (code, second, pointer, stack) => {
          const [expected, found] = [interpreted, regions].map((bench) => {
            prepare(bench, second);
            bench.put(0x1000, `${code.join('')} f4`);
            // The second time the TLB holds what the first has left.
            return [0, 1].map(() => {
              const { gpr } = bench.vcpu;
              gpr[RAX] = gpr[RDX] = 0x11223344n;
              gpr[RCX] = 0n;
              gpr[RBX] = gpr[RBP] = gpr[RSI] = BOUNDARY + BigInt(pointer);
              gpr[RSP] = gpr[RDI] = BOUNDARY + BigInt(stack);
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
    // cmpxchg rbx,rcx ; bsf rbx,rcx
    ['what an instruction sets in some cases', '488b03 488bc3 480fb1cb 488b5308'],
    ['what an instruction sets in most cases', '488b03 480fbcd9 488b5308'],
    // test al,1 ; jz ; add rbx,8 ; mov rdx,[rbx+8] ; hlt ; add rbx,16 ; mov rdx,[rbx+8]
    ['what happens on another way', '488b13 a801 7409 4883c308 488b5308 f4 4883c310 488b5308'],
  ])('do not take for known %s', (_what, code) => {
    for (const accumulator of [0n, 1n]) {
      const [expected, found] = [interpreted, regions].map((bench) => {
        prepare(bench, 'elsewhere');
        bench.put(0x1000, `${code} f4`);
        // What has not been decoded is in no region.
        const starts = [0x1007n, 0x1010n, 0x1000n, 0x1000n];
        return starts.map((rip) => {
          Object.assign(bench.vcpu.gpr, { [RAX]: accumulator, [RCX]: 0x9100n, [RDX]: 0n, [RBX]: FIRST });
          return seen(bench, bench.run(rip));
        });
      });
      expect(found).toEqual(expected);
    }
  });

  it.each([
    ['of 32 bits, on both sides of 4 GiB', '678b43f8 678b4b08', 0x7_0000_0000n],
    ['of 32 bits and of 64', '488b4308 678b4b10', 0x1_0005_0000n],
    ['of 64 bits and of 32', '678b4310 488b4b08', 0x1_0005_0000n],
    ['counted from a register that was cut', '488b4308 89db 488b4b10', 0x1_0005_0000n],
    ['on both sides of 0', '488b43f8 488b4b08', 0n],
  ])('keep addresses apart: %s', (_what, code, pointer) => {
    const [expected, found] = [interpreted, regions].map((bench) => {
      prepare(bench, 'elsewhere');
      const tables = new PageTables(bench.ram, 0x410000);
      tables.identity(0, 0x20000);
      tables.map(FIRST, 0x6000);
      for (const page of [0xffff_f000n, 0xffff_ffff_ffff_f000n]) tables.map(page, 0x6000);
      tables.map(0x1_0005_0000n, 0x9000);
      bench.page(tables.root);
      bench.put(0x1000, `${code} f4`);
      return [0, 1].map(() => {
        Object.assign(bench.vcpu.gpr, { [RAX]: 0n, [RCX]: 0n, [RBX]: pointer });
        return seen(bench, bench.run(0x1000n));
      });
    });
    expect(expected[0].stop).toMatchObject({ exit: 'hlt' });
    expect(found).toEqual(expected);
  });

  describe('look at the TLB once', () => {
    /** In the entry of the TLB that the first page has too. */
    const RIVAL = FIRST + (8n << 20n);
    const fills = () => regions.engine.statistics()['TLB fills'];
    beforeEach(() => {
      prepare(regions, 'elsewhere');
      new PageTables(regions.ram, 0x400000).map(RIVAL, 0xa000);
    });

    it.each([
      ['by the same register', '488b03 488b0f 488b5308', 2],
      ['by a register that a constant was added to', '488b03 488b0f 4883c308 488b13', 2],
      ['by a copy of it', '4889dd 488b03 488b0f 488b5508', 2],
      ['where one is written', '488903 488b0f 488b5308', 2],
      ['not by another register', '488b03 488b0f 488b5608', 3],
      ['not by one that was loaded', '4889de 488b03 488b0f 488b1e 488b13', 3],
      ['not where the first was only read', '488b03 488b0f 48895308', 3],
      ['not behind what changes by chance', '488b03 488b0f 480f44de 488b5308', 3],
    ])('%s', (_what, code, expected) => {
      regions.put(0x1000, `${code} f4`);
      regions.ram.write64(0x6000, FIRST);
      const { gpr } = regions.vcpu;
      Object.assign(gpr, { [RBX]: FIRST, [RSI]: FIRST, [RDI]: RIVAL });
      expect(regions.run(0x1000n)).toMatchObject({ exit: 'hlt' });
      gpr[RBX] = FIRST;
      regions.vcpu.flushTlb();
      const before = fills();
      expect(regions.run(0x1000n)).toMatchObject({ exit: 'hlt' });
      expect(fills() - before).toBe(expected);
    });

    it('behind a jump too, where control comes from one place alone', () => {
      regions.put(0x1000, '488b03 488b0f a801 7401 f4 488b5308 f4');
      const { gpr } = regions.vcpu;
      Object.assign(gpr, { [RAX]: 0n, [RBX]: FIRST, [RDI]: RIVAL });
      // What has not been decoded is in no region.
      regions.run(0x100bn);
      regions.run(0x1000n);
      regions.vcpu.flushTlb();
      const before = fills();
      expect(regions.run(0x1000n)).toMatchObject({ exit: 'hlt', rip: 0x100fn });
      expect(fills() - before).toBe(2);
    });

    it('and find what it holds where the end of a page is between them', () => {
      regions.put(0x1000, '488b43f8 488b03 488b4bf0 f4');
      regions.vcpu.gpr[RBX] = BOUNDARY;
      regions.run(0x1000n);
      const before = fills();
      expect(regions.run(0x1000n)).toMatchObject({ exit: 'hlt' });
      expect(fills() - before).toBe(0);
      expect([regions.vcpu.gpr[RAX], regions.vcpu.gpr[RCX]]).toEqual([0x9000n, 0x6ff0n]);
    });
  });
});

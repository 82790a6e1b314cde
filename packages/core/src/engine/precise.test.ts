import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { FORCED_REGIONS, PageTables, TestBench } from './testing/test-bench.ts';

const benches = {
  compiled: new TestBench(),
  inline: new TestBench({ hot: undefined }),
  regions: new TestBench({ regions: FORCED_REGIONS }),
};
const [RAX, RCX, RBX, RSP, RSI, RDI] = [0, 1, 3, 4, 6, 7];
const ARITHMETIC = 0x8d5n;
const NOWHERE = 0x600000n;

describe.each(Object.entries(benches))('precise exceptions (%s)', (_name, bench) => {
  const { vcpu, ram } = bench;
  let tables: PageTables;
  beforeEach(() => {
    bench.reset();
    tables = new PageTables(ram, 0x400000);
    tables.identity(0, 0x20000);
    bench.page(tables.root);
    vcpu.gpr[RSP] = 0x9000n;
  });

  it('a page fault in the middle of a run finds the state of the instruction before', () => {
    // mov eax,1 ; stc ; add ebx,-1 ; mov [rdi],eax ; xor ebx,ebx ; hlt
    bench.put(0x1000, 'b801000000 f9 83c3ff 8907 31db f4');
    vcpu.gpr[RDI] = NOWHERE;
    vcpu.gpr[RBX] = 1n;
    expect(bench.run(0x1000n)).toMatchObject({ vector: 14, errorCode: 2, address: NOWHERE, rip: 0x1009n, executed: 3 });
    expect([vcpu.gpr[RAX], vcpu.gpr[RBX]]).toEqual([1n, 0n]);
    expect(vcpu.rflags & ARITHMETIC).toBe(0x55n);
  });

  it.each([
    ['#UD', '90 0f0b', { vector: 6, rip: 0x1001n }],
    ['#UD of bytes that are no instruction', '90 06', { vector: 6, rip: 0x1001n }],
    ['#DE', '31db 90 f7f3', { vector: 0, rip: 0x1003n }],
    ['#GP for an SSE operand that is not aligned', '488d7c2401 660f6f07', { vector: 13, errorCode: 0, rip: 0x1005n }],
    ['#GP for 16 bytes of prefixes', `90 ${'66'.repeat(15)}90`, { vector: 13, errorCode: 0, rip: 0x1001n }],
    ['#UD for LOCK without memory', 'f0 01c0', { vector: 6, rip: 0x1000n }],
  ])('%s is raised at its instruction', (_what, code, expected) => {
    bench.put(0x1000, code);
    vcpu.cr4 |= 0x200n;
    const stop = bench.run(0x1000n);
    expect(stop).toMatchObject({ why: 'fault', ...expected });
    expect('errorCode' in stop).toBe('errorCode' in expected);
  });

  it.each([
    ['JMP', 'ffe0'],
    ['CALL', 'ffd0'],
    ['RET', 'c3'],
    ['RET imm16', 'c20800'],
  ])('%s to an address that is not canonical is #GP(0) at the branch, with nothing done', (_name, code) => {
    bench.put(0x1000, `90 ${code}`);
    for (const target of [0x8000_0000_0000n, 0xffff_7fff_ffff_ffffn, 0xaaaa_aaaa_aaaa_aaaan]) {
      vcpu.gpr[RAX] = target;
      ram.write64(0x9000, target);
      ram.write64(0x8ff8, 0x55n);
      expect(bench.run(0x1000n)).toMatchObject({ vector: 13, errorCode: 0, rip: 0x1001n, executed: 1 });
      expect([vcpu.gpr[RSP], ram.read64(0x8ff8)]).toEqual([0x9000n, 0x55n]);
    }
  });

  const FAR = 0x8000_0000_0000n;
  const [SS, GP] = [12, 13];
  it.each<[string, string, number, number?]>([
    ['or [rax]', '480b00', GP],
    ['or [rsp+rax]', '480b0404', SS],
    ['or [rbp+rax+8]', '480b440508', SS],
    ['or [r12+rax], a base of the same ModRM bits', '490b0404', GP],
    ['or fs:[rsp+rax]', '64480b0404', GP],
    ['or ss:[rax], a prefix that does not count', '36480b00', GP],
    ['or ds:[rsp+rax], a prefix that does not count', '3e480b0404', SS],
    ['push [rax]', 'ff30', GP],
    ['push [rsp+rax]', 'ff3404', SS],
    ['pop [rax]', '8f00', GP],
    ['call [rax]', 'ff10', GP],
    ['push, the stack itself', '50', SS, RSP],
    ['push [rbx], the stack itself', 'ff33', SS, RSP],
    ['pushf, the stack itself', '9c', SS, RSP],
    ['pop, the stack itself', '5b', SS, RSP],
    ['ret, the stack itself', 'c3', SS, RSP],
    ['call, the stack itself', 'e800000000', SS, RSP],
    ['leave', 'c9', SS, 5],
    ['enter', 'c8000000', SS, RSP],
    ['stosq', '48ab', GP, RDI],
    ['lodsq', '48ad', GP, RSI],
    ['xlat', 'd7', GP, RBX],
  ])('%s raises #SS(0) or #GP(0) where it is not canonical', (_what, code, vector, register = RAX) => {
    bench.put(0x1000, `90 ${code}`);
    vcpu.gpr[RBX] = 0x5000n;
    vcpu.gpr[5] = 0n;
    vcpu.gpr[register] = FAR + 0x100n;
    for (const run of [() => bench.run(0x1000n), () => bench.step(0x1001n)]) {
      expect(run()).toMatchObject({ why: 'fault', vector, errorCode: 0, rip: 0x1001n });
    }
  });

  it('an operand that reaches beyond the last canonical address is told by the segment of its beginning', () => {
    tables.map(FAR - 0x1000n, 0x6000);
    // push [rax], whose upper half is not canonical; the stack is in order.
    bench.put(0x1000, 'ff30').put(0x1100, 'ff3404');
    vcpu.gpr[RAX] = FAR - 4n;
    expect(bench.run(0x1000n)).toMatchObject({ vector: GP, errorCode: 0, rip: 0x1000n });
    vcpu.gpr[RAX] = FAR - 4n - vcpu.gpr[RSP];
    expect(bench.run(0x1100n)).toMatchObject({ vector: SS, errorCode: 0, rip: 0x1100n });
  });

  it('REP MOVS stops at the element that faults', () => {
    bench.put(0x1000, 'f3a4 f4');
    vcpu.gpr[RCX] = 100n;
    vcpu.gpr[RSI] = 0x5000n;
    vcpu.gpr[RDI] = 0x20000n - 10n;
    expect(bench.run(0x1000n)).toMatchObject({ vector: 14, errorCode: 2, address: 0x20000n, rip: 0x1000n });
    expect([vcpu.gpr[RCX], vcpu.gpr[RSI], vcpu.gpr[RDI]]).toEqual([90n, 0x500an, 0x20000n]);
    tables.map(0x20000n, 0x20000);
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 91 });
  });

  it('a jump to nowhere faults at its target', () => {
    bench.put(0x1000, '90 ffe7');
    vcpu.gpr[RDI] = NOWHERE;
    const there = { why: 'fault', vector: 14, errorCode: 0x10, address: NOWHERE, rip: NOWHERE, executed: 2 };
    expect(bench.run(0x1000n)).toMatchObject(there);
  });

  describe('single steps', () => {
    it('do one instruction: straight, branches, calls and returns', () => {
      // nop ; jmp +1 ; hlt ; call +0xf7 … at 0x1100: ret ; then jmp $
      bench.put(0x1000, '90 eb01 f4 e8f7000000 ebfe').put(0x1100, 'c3');
      // The code is known as a run already.
      bench.run(0x1000n, 20);
      vcpu.rip = 0x1000n;
      vcpu.gpr[RSP] = 0x9000n;
      const path = Array.from({ length: 6 }, () => bench.step());
      expect(path.map((stop) => stop.rip)).toEqual([0x1001n, 0x1004n, 0x1100n, 0x1009n, 0x1009n, 0x1009n]);
      for (const stop of path) expect(stop).toMatchObject({ why: 'stop', executed: 1 });
      expect(bench.run(undefined, 10)).toMatchObject({ why: 'budget', executed: 10 });
    });

    it('do one iteration of REP', () => {
      bench.put(0x1000, 'f3aa f4');
      vcpu.gpr[RCX] = 3n;
      vcpu.gpr[RDI] = 0x8000n;
      vcpu.rip = 0x1000n;
      expect([0, 1, 2].map(() => bench.step().rip)).toEqual([0x1000n, 0x1000n, 0x1002n]);
      expect(vcpu.gpr[RCX]).toBe(0n);
    });

    it('raise exceptions and leave for instructions as a run does', () => {
      bench.put(0x1000, '8b07').put(0x1100, 'f4').put(0x1200, '06');
      vcpu.gpr[RDI] = NOWHERE;
      expect(bench.step(0x1000n)).toMatchObject({ why: 'fault', vector: 14, rip: 0x1000n, executed: 0 });
      expect(bench.step(0x1100n)).toMatchObject({ why: 'instruction', exit: 'hlt', rip: 0x1100n });
      expect(bench.step(0x1200n)).toMatchObject({ why: 'fault', vector: 6, rip: 0x1200n });
      expect(bench.step(NOWHERE)).toMatchObject({ why: 'fault', vector: 14, rip: NOWHERE });
    });

    it('see their own code change and fetch across pages', () => {
      // mov byte [rip-1],0x90 changes the last byte of itself (its immediate)
      bench.put(0x1000, 'c605 ffffffff 41 f4');
      expect(bench.step(0x1000n)).toMatchObject({ why: 'stop', rip: 0x1007n, executed: 1 });
      bench.put(0x1ffd, 'b8 0102').put(0x2000, '0304 f4');
      expect(bench.step(0x1ffdn)).toMatchObject({ why: 'stop', rip: 0x2002n });
      expect(vcpu.gpr[RAX]).toBe(0x04030201n);
      tables.unmap(0x2000n);
      vcpu.flushTlb(0x2000n);
      expect(bench.step(0x1ffdn)).toMatchObject({ why: 'fault', vector: 14, address: 0x2000n, rip: 0x1ffdn });
    });
  });

  it('random code leaves the same state at once, in steps and with a fault behind it', () => {
    const registers = [0, 1, 2, 3, 6];
    const alu = fc
      .tuple(
        fc.integer({ min: 0, max: 7 }),
        fc.constantFrom(...registers),
        fc.constantFrom(...registers),
        fc.constantFrom(0, 1, 2, 3),
      )
      .map(([operation, to, from, size]) => {
        const prefix = size === 3 ? '48' : size === 2 ? '66' : '';
        const opcode = operation * 8 + (size === 0 ? 0 : 1);
        // Byte registers: AL CL DL BL only.
        const [a, b] = size === 0 ? [to & 3, from & 3] : [to, from];
        return prefix + [opcode, 0xc0 | (b << 3) | a].map((x) => x.toString(16).padStart(2, '0')).join('');
      });
    const other = fc.constantFrom(
      'ffc0',
      '48ffc9',
      'fec2',
      'f7d8',
      '48f7d3',
      'd1e0',
      'd3e2',
      '48d3eb',
      'c1c003',
      'd3c0',
      'd3d8',
      '0fafc2',
      'f7e3',
      '48f7eb',
      'f8',
      'f9',
      'f5',
      '9f',
      '9e',
      '0f92c0',
      '0f4cc3',
      '0fbaf803',
      '0fa3d8',
      '0fbcc2',
      '0fbdc2',
      '0fc1d8',
      '0fb0d9',
      '0107',
      '4829 07',
      '8307ff',
      'd127',
      'f61f',
      '0fb137',
      '9c',
      '8b37',
      '480307',
      '85c0',
      '3c05',
      'e300',
      '7500',
      '98',
      '0fa4c205',
      '480fadd9',
      'ff07',
    );
    fc.assert(
      fc.property(
        fc.array(fc.oneof(alu, other), { minLength: 1, maxLength: 40 }),
        fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 5, maxLength: 5 }),
        fc.integer({ min: 0, max: 0x8d5 }),
        (code, values, flags) => {
          const outcome = (go: () => void) => {
            registers.forEach((register, i) => {
              vcpu.gpr[register] = values[i];
            });
            vcpu.gpr[RDI] = 0x8000n;
            vcpu.gpr[RSP] = 0x9000n;
            vcpu.rflags = (BigInt(flags) & ARITHMETIC) | 2n;
            ram.fill(0x8000, 0x1000, 0x5a);
            ram.write64(0x8000, values[0]);
            bench.engine.code.flush();
            go();
            return { gpr: [...vcpu.gpr], flags: vcpu.rflags, rip: vcpu.rip, memory: ram.read64(0x8000) };
          };
          const text = code.join('');
          const length = text.replace(/ /g, '').length / 2;
          bench.put(0x1000, `${text} 0f0b`);
          const whole = outcome(() =>
            expect(bench.run(0x1000n)).toMatchObject({ vector: 6, rip: BigInt(0x1000 + length) }),
          );
          const stepped = outcome(() => {
            vcpu.rip = 0x1000n;
            for (let i = 0; i < code.length; i++) expect(bench.step()).toMatchObject({ why: 'stop', executed: 1 });
          });
          expect(stepped).toEqual(whole);
          bench.put(0x1000, `${text} a1 0000700000000000`);
          const fault = outcome(() => expect(bench.run(0x1000n)).toMatchObject({ vector: 14, address: 0x700000n }));
          expect(fault).toEqual(whole);
        },
      ),
      { seed: 11, numRuns: 150 },
    );
  });
});

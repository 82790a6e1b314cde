import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryWrites } from '../memory/memory-writes.ts';
import { FORCED_REGIONS, PageTables, TestBench } from './testing/test-bench.ts';

const benches = {
  compiled: new TestBench(),
  inline: new TestBench({ hot: undefined }),
  regions: new TestBench({ regions: FORCED_REGIONS }),
};

describe.each(Object.entries(benches))('self-modifying code (%s)', (_name, bench) => {
  beforeEach(() => bench.reset());
  const { vcpu } = bench;
  /** Tables at 4 MiB; the first MiB maps to itself. */
  const paged = (): PageTables => {
    const tables = new PageTables(bench.ram, 0x400000);
    tables.identity(0, 0x100000);
    bench.page(tables.root);
    return tables;
  };

  it('sees a change of the next instruction', () => {
    // mov byte [rip+1],0x42 ; mov al,0 ; hlt
    bench.put(0x1000, 'c605 01000000 42 b000 f4');
    for (let i = 0; i < 3; i++) {
      bench.put(0x1000, 'c605 01000000 42 b000 f4');
      vcpu.gpr[0] = 0n;
      expect(bench.run(0x1000n)).toMatchObject({ why: 'instruction', exit: 'hlt', executed: 3 });
      expect(vcpu.gpr[0]).toBe(0x42n);
    }
  });

  it('keeps the flags of the instruction that changes the code behind it', () => {
    // cmp eax,eax ; add byte [rip+0],0xc4 ; xor al,al — which becomes hlt, and nobody overwrites the flags.
    bench.put(0x1000, '39c0 8005 00000000 c4 30c0 f4');
    // 0x30 + 0xc4 = 0xf4: HLT, no carry, sign set.
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', rip: 0x1009n, executed: 3 });
    expect(vcpu.rflags & 0x8d5n).toBe(0x80n);
  });

  it('sees a change of another block', () => {
    // loop: call 0x1100 ; dec byte [0x1101] … the callee is mov al,imm ; ret
    bench.put(0x1100, 'b005 c3').put(0x1000, 'e8 fb000000 88c3 c60425 01110000 07 e8 ec000000 f4');
    vcpu.gpr[4] = 0x9000n;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    expect([vcpu.gpr[3], vcpu.gpr[0]]).toEqual([5n, 7n]);
  });

  it('repeats a changed block through links', () => {
    // mov ecx,3 ; l: add eax,imm8 ; inc byte [l+2] ; loop l ; hlt
    bench.put(0x1000, 'b903000000 83c001 fe0425 07100000 e2f4 f4');
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', executed: 1 + 3 * 3 + 1 });
    expect(vcpu.gpr[0]).toBe(6n);
  });

  it('lets REP STOS overwrite itself', () => {
    // rep stosb over its own bytes with nop; the iteration that destroys it is the last one
    vcpu.gpr[0] = 0x90n;
    vcpu.gpr[1] = 16n;
    vcpu.gpr[7] = 0x1000n;
    bench.put(0x1000, 'f3aa').put(0x1010, 'f4');
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt', rip: 0x1010n });
    // The first byte written turned the prefix into NOP; what remained was a single STOSB.
    expect(vcpu.gpr[7]).toBe(0x1002n);
  });

  it.each(['vcpu.write', 'GuestMemory', 'many writes to GuestMemory'])('sees code written by %s', (way) => {
    bench.put(0x1000, 'b001 f4');
    bench.run(0x1000n);
    if (way === 'GuestMemory') bench.ram.write8(0x1001, 9);
    else if (way.startsWith('many')) {
      const writes = MemoryWrites.of([0x1001, 0x1800, 0x3000].map((gpa) => ({ gpa, bytes: Uint8Array.of(9) })));
      bench.ram.writeAll(writes);
    } else vcpu.write(0x1001n, Uint8Array.of(9));
    bench.run(0x1000n);
    expect(vcpu.gpr[0]).toBe(9n);
  });

  it('knows nothing more of code that is to be written to again, until that has run again', () => {
    bench.put(0x1000, 'b001 f4').put(0x1800, 'b302 f4');
    const writes = MemoryWrites.of([0x1001, 0x1004].map((gpa) => ({ gpa, bytes: Uint8Array.of(9) })));
    const { statistics } = bench.engine.code;
    const invalidations = () => {
      const before = statistics.invalidations;
      bench.ram.writeAll(writes);
      return statistics.invalidations - before;
    };
    for (const at of [0x1000n, 0x1800n]) bench.run(at);
    bench.ram.rewriteAll(writes);
    expect(invalidations()).toBe(0);
    for (const at of [0x1000n, 0x1800n]) bench.run(at);
    expect([vcpu.gpr[0], vcpu.gpr[3]]).toEqual([9n, 2n]);
    expect(invalidations()).toBe(1);
  });

  describe('a page of code that is overwritten from its start on', () => {
    const { statistics } = bench.engine.code;
    /** Answers how many writes have been looked at. NOP all over the page and HLT at its end ; then stosq ; dec ecx ; jnz */
    const overwrite = (words: number): number => {
      bench.put(0x5000, `${'90'.repeat(0xfff)} f4`).put(0x1000, '48ab ffc9 75fa f4');
      expect(bench.run(0x5000n)).toMatchObject({ exit: 'hlt', executed: 0x1000 });
      vcpu.gpr.set([0n, BigInt(words), 0n, 0n, 0n, 0n, 0n, 0x5000n]);
      const before = statistics.invalidations;
      expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
      const expected = Uint8Array.from({ length: 0x1000 }, (_, i) => (i < words * 8 ? 0 : i < 0xfff ? 0x90 : 0xf4));
      expect(bench.ram.readBytes(0x5000, 0x1000)).toEqual(expected);
      return statistics.invalidations - before;
    };

    it('is given up as such', () => {
      expect(overwrite(512)).toBeLessThan(40);
      bench.put(0x5800, 'b007 f4');
      bench.run(0x5800n);
      expect(vcpu.gpr[0]).toBe(7n);
    });

    it('keeps what is behind a patch', () => {
      expect(overwrite(31)).toBe(31);
      const { decoded } = statistics;
      expect(bench.run(0x5800n)).toMatchObject({ exit: 'hlt', executed: 0x800 });
      expect(statistics.decoded).toBe(decoded);
    });
  });

  it('sees code written through an alias of its page, also by a stale write translation', () => {
    const tables = paged();
    tables.map(0x80000000n, 0x5000);
    bench.put(0x5000, 'b001 f4');
    // mov byte [rax],7 ; hlt: the write translation of the alias is made first, the page becomes code later.
    bench.put(0x1000, 'c60007 f4');
    vcpu.gpr[0] = 0x80000800n;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    expect(bench.run(0x5000n)).toMatchObject({ exit: 'hlt' });
    vcpu.gpr[0] = 0x80000001n;
    bench.run(0x1000n);
    bench.run(0x5000n);
    expect(vcpu.gpr[0] & 0xffn).toBe(7n);
  });

  it('forgets write translations of a new code page in other banks', () => {
    paged();
    bench.put(0x5000, 'b001 f4').put(0x1000, 'c60007 f4');
    vcpu.cpl = 3;
    vcpu.gpr[0] = 0x5800n;
    bench.run(0x1000n);
    vcpu.cpl = 0;
    bench.run(0x5000n);
    vcpu.cpl = 3;
    vcpu.gpr[0] = 0x5001n;
    bench.run(0x1000n);
    vcpu.cpl = 0;
    bench.run(0x5000n);
    expect(vcpu.gpr[0] & 0xffn).toBe(7n);
  });

  it('takes a page as code, data and code again', () => {
    bench.put(0x5000, 'b001 f4').put(0x1000, 'c70425 00500000 b002f490 f4').put(0x1100, 'c70425 00500000 b003f490 f4');
    bench.run(0x5000n);
    for (const [writer, value] of [
      [0x1000n, 2n],
      [0x1100n, 3n],
      [0x1000n, 2n],
    ] as const) {
      bench.run(writer);
      bench.run(writer);
      bench.run(0x5000n);
      expect(vcpu.gpr[0]).toBe(value);
    }
  });

  describe('an instruction across two pages', () => {
    // mov eax,imm32 at 0x1ffd: two bytes of immediate lie in the next page.
    const across = (immediate: string) => `90 b8 0100 ${immediate} f4`;

    it('is read again when its second page is written', () => {
      bench.put(0x1ffc, across('0000'));
      bench.run(0x1ffcn);
      expect(vcpu.gpr[0]).toBe(1n);
      bench.ram.write8(0x2000, 5);
      bench.run(0x1ffcn);
      expect(vcpu.gpr[0]).toBe(0x50001n);
    });

    it('is read again when its second page is remapped, and runs on when it is not', () => {
      const tables = paged();
      bench.put(0x1ffc, across('0000')).put(0x3000, '0700 f4');
      expect(bench.run(0x1ffcn)).toMatchObject({ exit: 'hlt', executed: 3 });
      vcpu.flushTlb();
      expect(bench.run(0x1ffcn)).toMatchObject({ exit: 'hlt', executed: 3 });
      expect(vcpu.gpr[0]).toBe(1n);
      for (const [page, value] of [
        [0x3000, 0x70001n],
        [0x2000, 1n],
        [0x3000, 0x70001n],
      ] as const) {
        tables.map(0x2000n, page);
        vcpu.flushTlb(0x2000n);
        expect(bench.run(0x1ffcn)).toMatchObject({ exit: 'hlt', executed: 3 });
        expect(vcpu.gpr[0]).toBe(value);
      }
    });

    it('faults at the second page, and runs once it is there', () => {
      const tables = paged();
      tables.unmap(0x2000n);
      bench.put(0x1ffc, across('0400'));
      const missing = { why: 'fault', vector: 14, address: 0x2000n, rip: 0x1ffdn, executed: 1 };
      expect(bench.run(0x1ffcn)).toMatchObject(missing);
      expect(bench.run(0x1ffcn)).toMatchObject(missing);
      expect(bench.run()).toMatchObject({ ...missing, executed: 0 });
      // Elsewhere meanwhile: the fault is not remembered.
      bench.put(0x5ffe, '90f4');
      tables.unmap(0x6000n);
      expect(bench.run(0x5ffen)).toMatchObject({ exit: 'hlt' });
      tables.map(0x2000n, 0x2000);
      expect(bench.run(0x1ffcn)).toMatchObject({ exit: 'hlt', executed: 3 });
      expect(vcpu.gpr[0]).toBe(0x40001n);
      tables.unmap(0x2000n);
      vcpu.flushTlb(0x2000n);
      expect(bench.run(0x1ffcn)).toMatchObject(missing);
    });

    it('keeps its decoding once the second page has come', () => {
      const tables = paged();
      tables.unmap(0x2000n);
      bench.put(0x1ffc, across('0400'));
      bench.run(0x1ffcn);
      tables.map(0x2000n, 0x2000);
      bench.run(0x1ffcn);
      const { decoded } = bench.engine.code.statistics;
      for (let i = 0; i < 5; i++) bench.run(0x1ffcn);
      expect(bench.engine.code.statistics.decoded).toBe(decoded);
    });
  });
});

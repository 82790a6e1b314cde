import { describe, expect, it } from 'vitest';
import type { CodePage } from './code-cache.ts';
import { FIRST_HANDLER } from './record.ts';
import { TestBench } from './testing/test-bench.ts';

const RAX = 0;

describe('the code cache', () => {
  it('starts afresh when its records are used up, also by single steps', () => {
    const bench = new TestBench({ room: { records: 1500, pages: 100 } });
    bench.put(0x1000, 'ffc0'.repeat(4000));
    bench.vcpu.rip = 0x1000n;
    for (let i = 0; i < 4000; i++) bench.engine.step();
    expect(bench.engine.code.statistics.flushes).toBeGreaterThan(4);
    expect(bench.vcpu.gpr[RAX]).toBe(4000n);
    // A run of code over many pages, twice.
    for (let page = 0x10000; page < 0x60000; page += 0x1000) bench.put(page, `${'ffc0'.repeat(100)} e9 330f0000`);
    bench.put(0x60000, 'f4');
    for (let i = 0; i < 2; i++) {
      bench.vcpu.gpr[RAX] = 0n;
      expect(bench.run(0x10000n, 1_000_000)).toMatchObject({ exit: 'hlt', executed: 80 * 101 + 1 });
      expect(bench.vcpu.gpr[RAX]).toBe(8000n);
    }
    expect(bench.memory.layout.ram).toBeGreaterThan(bench.memory.layout.recordsEnd);
  });

  it('decodes what is stepped over once, until its bytes change', () => {
    const bench = new TestBench();
    const { vcpu, engine } = bench;
    bench.put(0x1000, 'ffc0 ebfc');
    vcpu.rip = 0x1000n;
    const steps = (count: number) => {
      for (let i = 0; i < count; i++) engine.step();
    };
    steps(2);
    const { decoded } = engine.code.statistics;
    steps(3000);
    expect(engine.code.statistics.decoded).toBe(decoded);
    expect(vcpu.gpr[RAX]).toBe(1501n);
    bench.ram.write8(0x1001, 0xc8);
    steps(2);
    expect(vcpu.gpr[RAX]).toBe(1500n);
    expect(engine.code.statistics.decoded).toBe(decoded + 1);
  });

  it('knows once what compiled code is made of, however often that comes and goes, until it changes', () => {
    const bench = new TestBench();
    bench.put(0x1000, 'ffc0 f4');
    bench.run(0x1000n);
    const { code } = bench.engine;
    const page = code.pageOfTable(bench.memory.layout.entryTables) as CodePage;
    const cover = () => code.cover({ page, blocks: [0x100, 0x108, 0x100, 0x110] });
    const before = page.runs.length;
    for (let i = 0; i < 3; i++) cover();
    expect(page.runs.length).toBe(before + 2);
    const { invalidations } = code.statistics;
    bench.ram.write8(0x1108, 1);
    expect(page.runs.length).toBe(before + 1);
    cover();
    expect(page.runs.length).toBe(before + 2);
    bench.ram.write8(0x110f, 1);
    bench.ram.write8(0x1107, 1);
    expect(page.runs.length).toBe(before);
    expect(code.statistics.invalidations).toBe(invalidations + 3);
  });

  it('starts afresh when its entry tables are used up', () => {
    const bench = new TestBench({ room: { records: 100_000, pages: 10 } });
    for (let page = 0x10000; page < 0x30000; page += 0x1000) bench.put(page, 'ffc0 e9 f90f0000');
    bench.put(0x30000, 'f4');
    const before = bench.engine.code.statistics.flushes;
    for (let i = 0; i < 3; i++) expect(bench.run(0x10000n)).toMatchObject({ exit: 'hlt', executed: 65 });
    expect(bench.engine.code.statistics.flushes).toBeGreaterThan(before + 5);
    expect(bench.vcpu.gpr[RAX]).toBe(96n);
  });

  it('sees code change after a flush', () => {
    const bench = new TestBench();
    bench.put(0x1000, 'b001 f4').put(0x2000, 'c60425 01100000 07 f4');
    bench.run(0x1000n);
    bench.run(0x2000n);
    bench.engine.code.flush();
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe(7n);
    bench.put(0x2000, 'c60425 01100000 08 f4');
    bench.run(0x2000n);
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[RAX]).toBe(8n);
  });

  it('compiles one handler per shape, and forgets them when there are too many', () => {
    const bench = new TestBench({ maxCompiledHandlers: 420 });
    bench.put(0x1000, '89c1 89d3 01d8 f4');
    bench.run(0x1000n);
    // MOV, ADD and HLT; not one more for other registers.
    expect(bench.engine.statistics().handlers).toBe(3);
    const prefixes = ['', '66', '48', '67', '6667', '6748'];
    const forms = ['8b0424', '03042 4', '2b0424', '330424', '0b0424', '230424'].map((form) => form.replace(' ', ''));
    let at = 0x2000;
    for (const prefix of prefixes) {
      for (const form of forms) {
        bench.put(at, `${prefix}${form} f4`);
        bench.vcpu.gpr[4] = 0x9000n;
        expect(bench.run(BigInt(at))).toMatchObject({ exit: 'hlt', executed: 2 });
        at += 16;
      }
    }
    expect(bench.engine.code.statistics.flushes).toBeGreaterThan(1);
    expect(bench.engine.statistics().handlers).toBeLessThan(420 - FIRST_HANDLER);
    bench.vcpu.gpr[RAX] = 5n;
    bench.run(0x1000n);
    expect(bench.vcpu.gpr[1]).toBe(5n);
  });
});

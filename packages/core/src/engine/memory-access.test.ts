import { beforeEach, describe, expect, it } from 'vitest';
import { FORCED_REGIONS, PageTables, TestBench } from './testing/test-bench.ts';

const log: string[] = [];
const device = new Uint8Array(16).map((_, i) => 0x10 + i);
const host = {
  mmioRead(gpa: number, into: Uint8Array) {
    log.push(`read ${gpa.toString(16)} ${into.length}`);
    for (let i = 0; i < into.length; i++) into[i] = device[(gpa + i) & 15];
  },
  mmioWrite(gpa: number, bytes: Uint8Array) {
    log.push(`write ${gpa.toString(16)} ${[...bytes].map((byte) => byte.toString(16)).join(' ')}`);
  },
};
const RAM_BYTES = 8 << 20;
const benches = {
  compiled: new TestBench({ host, ramBytes: RAM_BYTES }),
  inline: new TestBench({ host, ramBytes: RAM_BYTES, hot: undefined }),
  regions: new TestBench({ host, ramBytes: RAM_BYTES, regions: FORCED_REGIONS }),
};
const [RAX, RCX, RDX, RBX, RSP, , RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7];

describe.each(Object.entries(benches))('guest memory accesses (%s)', (_name, bench) => {
  const { vcpu, ram } = bench;
  let tables: PageTables;
  beforeEach(() => {
    bench.reset();
    log.length = 0;
    tables = new PageTables(ram, 0x400000);
    tables.identity(0, 0x20000);
    bench.page(tables.root);
    vcpu.gpr[RSP] = 0x9000n;
  });
  /** The page pair 0x50000/0x51000 lies at 0x6000 and 0x8000. */
  const pair = () => {
    tables.map(0x50000n, 0x6000);
    tables.map(0x51000n, 0x8000);
  };

  it.each([
    [2, '66 8907 668b1f'],
    [4, '8907 8b1f'],
    [8, '488907 488b1f'],
  ])('store and load %i bytes across pages that are not neighbours', (bytes, code) => {
    pair();
    bench.put(0x1000, `${code} f4`);
    for (let first = 1; first < bytes; first++) {
      vcpu.gpr[RAX] = 0x8877665544332211n;
      vcpu.gpr[RBX] = 0n;
      vcpu.gpr[RDI] = 0x51000n - BigInt(first);
      expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
      expect(vcpu.gpr[RBX]).toBe(BigInt.asUintN(bytes * 8, 0x8877665544332211n));
      const stored = [...ram.readBytes(0x7000 - first, first), ...ram.readBytes(0x8000, bytes - first)];
      expect(stored).toEqual([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88].slice(0, bytes));
    }
  });

  it('read-modify-write across pages', () => {
    pair();
    ram.writeBytes(0x6ffe, Uint8Array.of(0xff, 0xff));
    // add dword [rdi],1
    bench.put(0x1000, '830701 f4');
    vcpu.gpr[RDI] = 0x50ffen;
    bench.run(0x1000n);
    expect([ram.read16(0x6ffe), ram.read16(0x8000)]).toEqual([0, 1]);
  });

  it.each([
    ['store', '488907'],
    ['add', '480107'],
    ['xchg', '488707'],
    ['push', '50'],
    ['movups', '0f1107'],
    ['cmpxchg', '480fb107'],
    ['bts', '480fab07'],
  ])('%s faults at the second page and leaves nothing written', (name, code) => {
    tables.map(0x50000n, 0x6000);
    vcpu.gpr[RAX] = 0x1122334455667788n;
    vcpu.gpr[RDI] = 0x50ffcn;
    if (name === 'bts') vcpu.gpr[RAX] = 1n;
    if (name === 'push') vcpu.gpr[RSP] = 0x51004n;
    const before = [...vcpu.gpr];
    const flags = vcpu.rflags;
    bench.put(0x1000, `${code} f4`);
    expect(bench.run(0x1000n)).toMatchObject({
      why: 'fault',
      vector: 14,
      errorCode: 2,
      address: 0x51000n,
      rip: 0x1000n,
      executed: 0,
    });
    expect(ram.readBytes(0x6ffc, 4)).toEqual(new Uint8Array(4));
    expect([...vcpu.gpr]).toEqual(before);
    expect(vcpu.rflags).toBe(flags);
    // Read-only is no better.
    tables.map(0x51000n, 0x8000, 5);
    expect(bench.run(0x1000n)).toMatchObject({ vector: 14, errorCode: 3, address: 0x51000n });
    expect(ram.readBytes(0x6ffc, 4)).toEqual(new Uint8Array(4));
    tables.map(0x51000n, 0x8000);
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
  });

  it('CMPXCHG8B and SGDT keep their two halves apart across pages and on code pages', () => {
    pair();
    // cmpxchg8b [rdi] ; hlt
    bench.put(0x1000, '0fc70f f4');
    vcpu.gpr[RBX] = 0x11111111n;
    vcpu.gpr[RCX] = 0x22222222n;
    for (const offset of [0x50ffan, 0x50ffen, 0x50800n]) {
      vcpu.gpr[RAX] = 0n;
      vcpu.gpr[RDX] = 0n;
      vcpu.gpr[RDI] = offset;
      vcpu.write(offset, new Uint8Array(8));
      bench.run(0x1000n);
      expect(vcpu.read(offset, 8)).toEqual({
        ok: true,
        bytes: Uint8Array.of(0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x22, 0x22),
      });
    }
    // On a page that has code.
    bench.put(0x1000, '0fc70f 0f0107 f4');
    vcpu.gpr[RAX] = 0n;
    vcpu.gpr[RDX] = 0n;
    vcpu.gpr[RDI] = 0x1100n;
    vcpu.tables.gdtr.base = 0x123456789an;
    vcpu.tables.gdtr.limit = 0xabcd;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    expect([ram.read16(0x1100), ram.read64(0x1102)]).toEqual([0xabcd, 0x123456789an]);
    ram.fill(0x1100, 16, 0);
    bench.put(0x1003, '90f4');
    bench.run(0x1000n);
    expect(ram.read64(0x1100)).toBe(0x2222222211111111n);
  });

  it('MOVS goes from one pair of pages to another', () => {
    pair();
    tables.map(0x60000n, 0xa000);
    tables.map(0x61000n, 0xc000);
    vcpu.write(0x50ffcn, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    bench.put(0x1000, '48a5 f4');
    vcpu.gpr[RSI] = 0x50ffcn;
    vcpu.gpr[RDI] = 0x60ffdn;
    bench.run(0x1000n);
    expect(vcpu.read(0x60ffdn, 8)).toEqual({ ok: true, bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) });
  });

  it('device memory is read and written through the host, once each', () => {
    tables.map(0x50000n, 0x10000000);
    bench.put(0x1000, '8b07 f4').put(0x1100, '668907 f4').put(0x1200, '00470f f4');
    vcpu.gpr[RDI] = 0x50004n;
    bench.run(0x1000n);
    expect(vcpu.gpr[RAX]).toBe(0x17161514n);
    expect(log).toEqual(['read 10000004 4']);
    bench.run(0x1100n);
    expect(log.filter((line) => line.startsWith('write'))).toEqual(['write 10000004 14 15']);
    log.length = 0;
    vcpu.gpr[RDI] = 0x50000n;
    vcpu.gpr[RAX] = 1n;
    bench.run(0x1200n);
    expect(log).toEqual(['read 1000000f 1', 'write 1000000f 20']);
  });

  it.each([
    ['RAM, then a device', 0x6000, 0x10000000, ['read 10000000 2', 'write 10000000 33 44']],
    ['a device, then RAM', 0x10000000, 0x8000, ['read 10000ffe 2', 'write 10000ffe 11 22']],
    [
      'two devices',
      0x10000000,
      0x20000000,
      ['read 10000ffe 2', 'read 20000000 2', 'write 10000ffe 11 22', 'write 20000000 33 44'],
    ],
  ])('an access to %s is two', (_pages, first, second, accesses) => {
    tables.map(0x50000n, first);
    tables.map(0x51000n, second);
    ram.writeBytes(0x6ffe, Uint8Array.of(0x1e, 0x1f));
    ram.writeBytes(0x8000, Uint8Array.of(0x10, 0x11));
    // mov eax,[rdi] ; hlt ; mov [rdi],ecx ; hlt
    bench.put(0x1000, '8b07 f4 890f f4');
    vcpu.gpr[RDI] = 0x50ffen;
    vcpu.gpr[RCX] = 0x44332211n;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    expect(vcpu.gpr[RAX]).toBe(0x11101f1en);
    const reads = log.splice(0);
    expect(bench.run(0x1003n)).toMatchObject({ exit: 'hlt' });
    expect([...reads, ...log.filter((line) => line.startsWith('write'))]).toEqual(accesses);
    if (first < RAM_BYTES) expect(ram.read16(0x6ffe)).toBe(0x2211);
    if (second < RAM_BYTES) expect(ram.read16(0x8000)).toBe(0x4433);
  });

  it('a write to a device and to code that lies behind it is seen by both', () => {
    tables.map(0x50000n, 0x10000000);
    tables.map(0x51000n, 0x2000);
    // add eax,eax ; hlt, which becomes sub eax,eax ; hlt
    bench.put(0x2000, '01c0 f4').put(0x1000, '668907 f4');
    tables.map(0x2000n, 0x2000);
    bench.run(0x2000n);
    vcpu.gpr[RDI] = 0x50fffn;
    vcpu.gpr[RAX] = 0x29_00n;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    expect(log.at(-1)).toBe('write 10000fff 0');
    bench.run(0x2000n);
    expect(vcpu.gpr[RAX]).toBe(0n);
  });

  it('ENTER writes its frame to a device, each word for itself', () => {
    tables.map(0x50000n, 0x10000000);
    // enter 16,2
    bench.put(0x1000, 'c8100002 f4');
    vcpu.gpr[RSP] = 0x50100n;
    vcpu.gpr[5] = 0x50800n;
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    const writes = log.filter((line) => line.startsWith('write'));
    expect(writes.map((line) => line.split(' ')[1])).toEqual(['100000f8', '100000f0', '100000e8']);
  });

  it('the last page of RAM is RAM, the next one is not', () => {
    tables.map(0x50000n, RAM_BYTES - 4096);
    tables.map(0x51000n, RAM_BYTES);
    bench.put(0x1000, '8907 f4');
    vcpu.gpr[RAX] = 5n;
    vcpu.gpr[RDI] = 0x50ffcn;
    bench.run(0x1000n);
    expect(ram.read32(RAM_BYTES - 4)).toBe(5);
    vcpu.gpr[RDI] = 0x51000n;
    bench.run(0x1000n);
    expect(log.at(-1)).toBe('write 800000 5 0 0 0');
    expect(bench.run(0x51000n)).toMatchObject({ why: 'fault', vector: 13, errorCode: 0, rip: 0x51000n });
  });

  it('page tables beyond RAM are absent', () => {
    ram.write64(tables.entry(0x50000n, 2), 0x3fff_ffff_f007n & 0xff_ffff_f007n);
    bench.put(0x1000, '8b07 f4');
    vcpu.gpr[RDI] = 0x50000n;
    vcpu.flushTlb();
    vcpu.cr3 = 0xff_ffff_f000n;
    expect(bench.run(0x1000n)).toMatchObject({ why: 'fault', vector: 14, address: 0x1000n, rip: 0x1000n });
  });
});

describe('a guest of 3 GiB', () => {
  it('runs code and moves data at both ends', () => {
    const ramBytes = 3 * 2 ** 30;
    const bench = new TestBench({ ramBytes, fresh: true });
    const { vcpu, ram } = bench;
    const page = new PageTables(ram, ramBytes - 0x10000);
    page.map(0x1000n, ramBytes - 0x1000);
    page.map(0x2000n, ramBytes - 0x2000);
    page.map(0x3000n, 0x9000);
    page.map(0x4000n, ramBytes - 0x3000);
    bench.page(page.root);
    // add eax,eax ; mov [rdi],eax ; mov byte [first instruction + 1],5 ; jmp back — behind a load across low and high memory.
    bench.put(ramBytes - 2, '8b07').put(ramBytes - 0x2000, '01c0 8907 c605 f6ffffff 05 ebf3');
    vcpu.gpr[RDI] = 0x3ffen;
    ram.write16(0x9ffe, 0x1234);
    ram.write16(ramBytes - 0x3000, 0x5);
    expect(bench.run(0x1ffen, 5)).toMatchObject({ why: 'budget', rip: 0x2000n });
    expect(vcpu.gpr[RAX]).toBe(0xa2468n);
    expect(ram.read16(0x9ffe)).toBe(0x2468);
    expect(ram.read16(ramBytes - 0x3000)).toBe(0xa);
    expect(ram.read8(ramBytes - 0x2000 + 1)).toBe(5);
    expect(vcpu.read(0x3ffen, 4)).toEqual({ ok: true, bytes: Uint8Array.of(0x68, 0x24, 0x0a, 0) });
    expect(vcpu.translate(0x1000n, 'read')).toEqual({ ok: true, gpa: ramBytes - 0x1000 });
    // The changed instruction is seen: add eax,[rip+…] of another encoding, not the old sum.
    bench.run(0x2000n, 1);
    expect(vcpu.gpr[RAX]).not.toBe(0x1448d0n);
  });
});

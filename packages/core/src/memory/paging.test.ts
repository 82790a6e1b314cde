import fc from 'fast-check';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { PageTables, TestBench } from '../engine/testing/test-bench.ts';
import { Pte } from './walk.ts';

const RAM_BYTES = 8 << 20;
const bench = new TestBench({ ramBytes: RAM_BYTES });
const { vcpu, ram } = bench;
const P = Pte.present;
const RW = Pte.write;
const US = Pte.user;
const NX = 1n << 63n;

interface Controls {
  readonly wp: boolean;
  readonly nxe: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly user: boolean;
}
type Access = 'read' | 'write' | 'execute';
type Expected = { readonly gpa: number } | { readonly errorCode: number } | 'nonCanonical';

/** The manual's words once more, slowly (SDM vol. 3A, 4.5 to 4.7). */
function reference(root: number, gva: bigint, access: Access, c: Controls): Expected {
  if (BigInt.asUintN(64, BigInt.asIntN(48, gva)) !== gva) return 'nonCanonical';
  const fetchBit = access === 'execute' && (c.nxe || c.smep) ? 16 : 0;
  const base = fetchBit | (access === 'write' ? 2 : 0) | (c.user ? 4 : 0);
  let table = root;
  let all = BigInt(RW | US);
  let anyNx = false;
  for (let level = 4; ; level--) {
    const at = table + Number((gva >> BigInt(3 + 9 * level)) & 511n) * 8;
    if (at + 8 > RAM_BYTES) return { errorCode: base };
    const entry = ram.read64(at);
    if (!(entry & BigInt(P))) return { errorCode: base };
    const large = (entry & BigInt(Pte.large)) !== 0n;
    const leaf = level === 1 || (large && level < 4);
    let reserved = (entry & 0x000fff0000000000n) !== 0n || (!c.nxe && (entry & NX) !== 0n) || (level === 4 && large);
    const size = 1n << BigInt(3 + 9 * level);
    if (leaf && level > 1) reserved ||= (entry & (size - 1n) & ~0x1fffn) !== 0n;
    if (reserved) return { errorCode: base | 9 };
    all &= entry;
    anyNx ||= (entry & NX) !== 0n;
    if (!leaf) {
      table = Number(entry & 0x000ffffffffff000n);
      continue;
    }
    const writable = (all & BigInt(RW)) !== 0n;
    const userPage = (all & BigInt(US)) !== 0n;
    const refused = c.user
      ? !userPage || (access === 'write' && !writable) || (access === 'execute' && anyNx)
      : (access === 'write' && !writable && c.wp) ||
        (access === 'execute' ? anyNx || (userPage && c.smep) : userPage && c.smap);
    if (refused) return { errorCode: base | 1 };
    return { gpa: Number((entry & 0x000ffffffffff000n & ~(size - 1n)) | (gva & (size - 1n))) };
  }
}

const TABLES = [0x100000, 0x101000, 0x102000, 0x103000, 0x104000];
const entry = fc.record({
  target: fc.constantFrom(...TABLES.slice(1).map(BigInt), 0x200000n, 0x201000n, 0x40000000n, 0x10000000000n, 0x1000n),
  bits: fc.array(fc.constantFrom(RW, US, Pte.large, 0x20, 0x40), { maxLength: 6 }),
  present: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
  generous: fc.boolean(),
  nx: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
});
/** Entries at few indexes, so that walks get somewhere. */
const tables = fc.array(fc.array(entry, { minLength: 2, maxLength: 2 }), {
  minLength: TABLES.length,
  maxLength: TABLES.length,
});
const address = fc
  .record({
    indexes: fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 4, maxLength: 4 }),
    low: fc.integer({ min: 0, max: 0xfff }),
    odd: fc.integer({ min: 0, max: 20 }),
  })
  .map(({ indexes, low, odd }) => {
    const gva = indexes.reduce((value, index) => (value << 9n) | BigInt(index), 0n);
    return ((gva << 12n) | BigInt(low)) + (odd === 0 ? 1n << 47n : odd === 1 ? 0xffff_8000_0000_0000n : 0n);
  });
const controls = fc.record({
  wp: fc.boolean(),
  nxe: fc.boolean(),
  smep: fc.boolean(),
  smap: fc.boolean(),
  user: fc.boolean(),
});

/** 32-bit and PAE paging: entries of 4 or 8 bytes at places 0 and 1 of each table; both PAE roots' four PDPTEs. */
const legacyEntry = fc.record({
  target: fc.constantFrom(...TABLES.slice(1).map(BigInt), 0x200000n, 0x201000n, 0x402000n, 0x80000000n, 0x1000n),
  bits: fc.array(fc.constantFrom(RW, US, Pte.large, 0x20, 0x40, 0x100), { maxLength: 6 }),
  present: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
  generous: fc.boolean(),
  high: fc.constantFrom(0n, 0n, 0n, 0n, NX, NX, 1n << 52n, 1n << 40n, 1n << 33n),
});
const legacyTables = fc.array(fc.array(legacyEntry, { minLength: 4, maxLength: 4 }), {
  minLength: TABLES.length,
  maxLength: TABLES.length,
});
const legacyAddress = fc
  .record({
    top: fc.integer({ min: 0, max: 3 }),
    indexes: fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 1 })),
    wide: fc.boolean(),
    low: fc.integer({ min: 0, max: 0xfff }),
  })
  // Bits 30 and 21 for PAE, 22 for 32-bit paging; 12 for both.
  .map(({ top, indexes: [upper, lower], wide, low }) =>
    wide ? BigInt(top * 2 ** 30 + upper * 2 ** 21 + lower * 4096 + low) : BigInt(upper * 2 ** 22 + lower * 4096 + low),
  );
type LegacyEntries = { target: bigint; bits: number[]; present: boolean; generous: boolean; high: bigint }[][];
const lowHalf = (e: LegacyEntries[0][0]) =>
  e.target | BigInt(e.bits.reduce((x, bit) => x | bit, (e.present ? P : 0) | (e.generous ? RW | US : 0)));

function build32(all: LegacyEntries): void {
  all.forEach((row, t) => {
    row.forEach((e, i) => {
      ram.write32(TABLES[t] + i * 4, Number(lowHalf(e)));
    });
  });
}
function buildPae(all: LegacyEntries): void {
  all.forEach((row, t) => {
    row.forEach((e, i) => {
      if (t === 0) ram.write64(TABLES[0] + i * 8, (lowHalf(e) & 0xfffff001n) | (e.high & (1n << 33n)));
      else ram.write64(TABLES[t] + i * 8, lowHalf(e) | e.high);
    });
  });
}
function legacyControl(c: Controls, pae: boolean, pse: boolean): void {
  vcpu.cr0 = 0x11n;
  vcpu.efer = c.nxe ? 0x800n : 0n;
  vcpu.cr4 = (pae ? 0x20n : 0n) | (pse ? 0x10n : 0n) | (c.smep ? 1n << 20n : 0n) | (c.smap ? 1n << 21n : 0n);
  vcpu.cr3 = BigInt(TABLES[0]);
  vcpu.cr0 = c.wp ? 0x80010011n : 0x80000011n;
  vcpu.cpl = c.user ? 3 : 0;
}

/** The entries that a walk meets, in order; it ends at a leaf, an absent entry, or the memory's end. */
function legacyPath(gva: number, pae: boolean, pse: boolean) {
  const path: { at: number; value: bigint; leaf: boolean; sizeBytes: bigint; reserved: boolean }[] = [];
  const read = (at: number) => (pae ? ram.read64(at) : BigInt(ram.read32(at) >>> 0));
  let table = TABLES[0];
  if (pae) {
    const pdpte = ram.read64(TABLES[0] + (gva >>> 30) * 8);
    if (!(pdpte & 1n)) return path;
    table = Number(pdpte & 0x000ffffffffff000n);
  }
  const shifts = pae ? [21, 12] : [22, 12];
  for (const shift of shifts) {
    const at = table + ((gva >>> shift) & (pae ? 511 : 1023)) * (pae ? 8 : 4);
    if (at >= RAM_BYTES) return path;
    const value = read(at);
    if (!(value & 1n)) return path;
    const large = shift > 12 && (value & 0x80n) !== 0n && (pae || pse);
    const sizeBytes = 1n << BigInt(shift);
    const reserved =
      (pae && (value & 0x7fffff0000000000n) !== 0n) || (large && (value & (sizeBytes - 1n) & ~0x1fffn) !== 0n);
    path.push({ at, value, leaf: large || shift === 12, sizeBytes, reserved });
    if (large || reserved) return path;
    table = Number(value & 0x000ffffffffff000n);
  }
  return path;
}

/** 32-bit and PAE paging in the manual's words (SDM vol. 3A, 4.3, 4.4, 4.6, 4.7). */
function legacyReference(gva: number, access: Access, c: Controls, pae: boolean, pse: boolean) {
  const nxe = c.nxe && pae;
  const base = (access === 'execute' && (nxe || c.smep) ? 16 : 0) | (access === 'write' ? 2 : 0) | (c.user ? 4 : 0);
  const path = legacyPath(gva, pae, pse);
  if (path.some(({ reserved, value }) => reserved || (!nxe && pae && value & NX))) return { errorCode: base | 9 };
  const last = path.at(-1);
  if (!last?.leaf) return { errorCode: base };
  const writable = path.every(({ value }) => value & BigInt(RW));
  const userPage = path.every(({ value }) => value & BigInt(US));
  const noExecute = nxe && path.some(({ value }) => value & NX);
  const refused = c.user
    ? !userPage || (access === 'write' && !writable) || (access === 'execute' && noExecute)
    : (access === 'write' && !writable && c.wp) ||
      (access === 'execute' ? noExecute || (userPage && c.smep) : userPage && c.smap);
  if (refused) return { errorCode: base | 1 };
  const offset = last.sizeBytes - 1n;
  return { gpa: Number((last.value & 0x000ffffffffff000n & ~offset) | (BigInt(gva) & offset)) };
}

function build(all: { target: bigint; bits: number[]; present: boolean; generous: boolean; nx: boolean }[][]): void {
  all.forEach((row, t) => {
    row.forEach((e, i) => {
      const bits = BigInt(e.bits.reduce((x, bit) => x | bit, (e.present ? P : 0) | (e.generous ? RW | US : 0)));
      ram.write64(TABLES[t] + i * 8, e.target | bits | (e.nx ? NX : 0n));
    });
  });
}
function control(c: Controls): void {
  vcpu.cr4 = 0x620n | (c.smep ? 1n << 20n : 0n) | (c.smap ? 1n << 21n : 0n);
  vcpu.efer = c.nxe ? 0xd01n : 0x501n;
  vcpu.cr3 = BigInt(TABLES[0]);
  vcpu.cr0 = c.wp ? 0x80010011n : 0x80000011n;
  vcpu.cpl = c.user ? 3 : 0;
}

describe('the page walk', () => {
  beforeEach(() => bench.reset());

  it('agrees with the reference, on translations, error codes, CR2 and dirty bits', () => {
    fc.assert(
      fc.property(
        tables,
        fc.array(fc.tuple(address, fc.constantFrom<Access>('read', 'write', 'execute')), {
          minLength: 1,
          maxLength: 8,
        }),
        controls,
        (all, accesses, c) => {
          build(all);
          control(c);
          for (const [gva, access] of accesses) {
            const expected = reference(TABLES[0], gva, access, c);
            const before = TABLES.map((at) => ram.readBytes(at, 16));
            const found = vcpu.translate(gva, access);
            if (expected === 'nonCanonical') expect(found).toMatchObject({ ok: false, fault: { gva, errorCode: 0 } });
            else if ('gpa' in expected) expect(found).toEqual({ ok: true, gpa: expected.gpa });
            else expect(found).toEqual({ ok: false, fault: { gva, errorCode: expected.errorCode } });
            expect(TABLES.map((at) => ram.readBytes(at, 16))).toEqual(before);
          }
        },
      ),
      { seed: 7, numRuns: 300 },
    );
  });

  it('agrees with the reference in 32-bit and PAE paging', () => {
    const accesses = fc.array(fc.tuple(legacyAddress, fc.constantFrom<Access>('read', 'write', 'execute')), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(legacyTables, accesses, controls, fc.boolean(), fc.boolean(), (all, tried, c, pae, pse) => {
        if (pae) buildPae(all);
        else build32(all);
        legacyControl(c, pae, pse);
        for (const [gva, access] of tried) {
          const expected = legacyReference(Number(gva), access, c, pae, pse);
          const before = TABLES.map((at) => ram.readBytes(at, 32));
          const found = vcpu.translate(gva, access);
          if ('gpa' in expected) expect(found).toEqual({ ok: true, gpa: expected.gpa });
          else expect(found).toEqual({ ok: false, fault: { gva, errorCode: expected.errorCode } });
          expect(TABLES.map((at) => ram.readBytes(at, 32))).toEqual(before);
        }
      }),
      { seed: 11, numRuns: 600 },
    );
  });

  it('sets accessed and dirty bits in 32-bit and PAE paging, and nothing else', () => {
    const walks = fc.array(fc.tuple(legacyAddress, fc.integer({ min: 0, max: 2 })), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(legacyTables, walks, controls, fc.boolean(), fc.boolean(), (all, tried, c, pae, pse) => {
        if (pae) buildPae(all);
        else build32(all);
        legacyControl(c, pae, pse);
        for (const [gva, access] of tried) {
          const before = TABLES.map((at) => ram.readBytes(at, 32));
          const path = legacyPath(Number(gva), pae, pse);
          const expected = legacyReference(Number(gva), (['read', 'write', 'execute'] as const)[access], c, pae, pse);
          bench.engine.walk(gva, access);
          // Upper entries that lead further are marked accessed even if the walk then fails (SDM vol. 3A, 4.8).
          const marks = new Map<number, number>();
          for (const { at, value, leaf, reserved } of path) {
            if (leaf && 'gpa' in expected) marks.set(at, access === 1 ? 0x60 : 0x20);
            else if (!leaf && !reserved && (!pae || c.nxe || !(value & NX))) marks.set(at, 0x20);
          }
          TABLES.forEach((table, t) => {
            for (let byte = 0; byte < 32; byte++)
              expect(ram.readBytes(table + byte, 1)[0]).toBe(before[t][byte] | (marks.get(table + byte) ?? 0));
          });
        }
      }),
      { seed: 12, numRuns: 300 },
    );
  });

  it('keeps the PDPTEs that CR3 was loaded with', () => {
    ram.write64(0x100000, 0x101001n);
    ram.write64(0x101000, 0x102007n);
    ram.write64(0x102000, 0x6003n);
    legacyControl({ wp: true, nxe: false, smep: false, smap: false, user: false }, true, false);
    expect(vcpu.translate(0x123n, 'read')).toEqual({ ok: true, gpa: 0x6123 });
    ram.write64(0x100000, 0n);
    vcpu.flushTlb();
    expect(vcpu.translate(0x123n, 'read')).toEqual({ ok: true, gpa: 0x6123 });
    vcpu.cr3 = 0x100000n;
    expect(vcpu.translate(0x123n, 'read')).toMatchObject({ ok: false, fault: { errorCode: 0 } });
  });

  it('sets accessed bits on the way and the dirty bit for writes', () => {
    const page = new PageTables(ram, 0x100000);
    page.map(0x5000n, 0x6000);
    bench.page(page.root);
    const leaf = page.entry(0x5000n);
    const upper = [2, 3, 4].map((level) => page.entry(0x5000n, level));
    const bits = () => Number(ram.read64(leaf) & 0x60n);
    expect(bits()).toBe(0);
    expect(vcpu.translate(0x5000n, 'write').ok).toBe(true);
    expect(bits()).toBe(0);
    bench.engine.walk(0x5000n, 0);
    expect(bits()).toBe(0x20);
    for (const at of upper) expect(Number(ram.read64(at) & 0x60n)).toBe(0x20);
    bench.engine.walk(0x5000n, 1);
    expect(bits()).toBe(0x60);
    for (const at of upper) expect(Number(ram.read64(at) & 0x60n)).toBe(0x20);
  });

  it('sets no dirty bit where the write is refused', () => {
    const page = new PageTables(ram, 0x100000);
    page.map(0x5000n, 0x6000, P | US);
    bench.page(page.root);
    bench.engine.walk(0x5000n, 1);
    expect(Number(ram.read64(page.entry(0x5000n)) & 0x40n)).toBe(0);
  });

  it('reports faults of guest code with CR2 and RIP, once per retry', () => {
    const page = new PageTables(ram, 0x100000);
    page.identity(0x1000, 0x2000);
    bench.page(page.root);
    bench.put(0x1000, '90 8b07 f4');
    vcpu.gpr[7] = 0x700123n;
    for (let i = 0; i < 2; i++) {
      expect(bench.run(0x1000n)).toMatchObject({
        why: 'fault',
        vector: 14,
        errorCode: 0,
        address: 0x700123n,
        rip: 0x1001n,
        executed: 1,
      });
    }
    vcpu.gpr[7] = 0x8000_0000_0000n;
    expect(bench.run(0x1000n)).toMatchObject({ why: 'fault', vector: 13, errorCode: 0, rip: 0x1001n });
    vcpu.cpl = 3;
    expect(bench.run(0x700000n)).toMatchObject({
      why: 'fault',
      vector: 14,
      errorCode: 0x14,
      address: 0x700000n,
      rip: 0x700000n,
      executed: 0,
    });
  });
});

describe('the TLB', () => {
  let page: PageTables;
  beforeEach(() => {
    bench.reset();
    page = new PageTables(ram, 0x100000);
    page.identity(0x1000, 0x4000);
    bench.page(page.root);
    // mov eax,[rdi] ; hlt
    bench.put(0x1000, '8b07 f4');
    ram.write32(0x6000, 6);
    ram.write32(0x7000, 7);
    vcpu.gpr[7] = 0x50000n;
    page.map(0x50000n, 0x6000);
  });
  const load = () => {
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
    return Number(vcpu.gpr[0]);
  };

  const flushes: [string, () => void][] = [
    ['INVLPG', () => vcpu.flushTlb(0x50abcn)],
    ['a full flush', () => vcpu.flushTlb()],
    [
      'a write of CR3',
      () => {
        vcpu.cr3 = BigInt(page.root);
      },
    ],
    [
      'a change of CR4',
      () => {
        vcpu.cr4 ^= 0x80n;
      },
    ],
  ];
  it.each(flushes)('never answers stale translations after %s', (_name, flush) => {
    expect(load()).toBe(6);
    page.map(0x50000n, 0x7000);
    flush();
    expect(load()).toBe(7);
  });

  it('drops a page in the banks of other address spaces and levels too', () => {
    load();
    vcpu.cpl = 3;
    load();
    const other = new PageTables(ram, 0x300000);
    other.identity(0x1000, 0x4000);
    other.map(0x50000n, 0x6000);
    vcpu.switchRoot(BigInt(other.root));
    load();
    other.map(0x50000n, 0x7000);
    page.map(0x50000n, 0x7000);
    vcpu.flushTlb(0x50000n);
    expect(load()).toBe(7);
    vcpu.switchRoot(BigInt(page.root));
    expect(load()).toBe(7);
    vcpu.cpl = 0;
    expect(load()).toBe(7);
  });

  it('drops all of a large page for one address in it', () => {
    page.map(0x40000000n, 0x600000, P | RW | US, 2);
    ram.write32(0x601000, 61);
    ram.write32(0x401000, 41);
    vcpu.gpr[7] = 0x40001000n;
    expect(load()).toBe(61);
    page.map(0x40000000n, 0x400000, P | RW | US, 2);
    vcpu.flushTlb(0x40123000n);
    expect(load()).toBe(41);
  });

  it('drops a large page whatever others share its place in the map of them, and again when it is back', () => {
    const places = [0x40000000n, 0x40000000n + (1n << 33n)];
    for (const place of places) page.map(place, 0x600000, P | RW | US, 2);
    ram.write32(0x601000, 61);
    ram.write32(0x401000, 41);
    const loadAt = (place: bigint) => {
      vcpu.gpr[7] = place + 0x1000n;
      return load();
    };
    for (const place of places) expect(loadAt(place)).toBe(61);
    for (const [physical, expected] of [
      [0x400000, 41],
      [0x600000, 61],
      [0x400000, 41],
    ]) {
      for (const place of places) page.map(place, physical, P | RW | US, 2);
      for (const place of places) vcpu.flushTlb(place);
      for (const place of places) expect(loadAt(place)).toBe(expected);
    }
  });

  it('does not look through a large page for an address that only shares its place in the map', () => {
    const large = vi.spyOn(bench.engine.banks, 'flushLargePage');
    page.map(0x40000000n, 0x600000, P | RW | US, 2);
    vcpu.gpr[7] = 0x40001000n;
    load();
    vcpu.flushTlb(0x40001000n + (1n << 33n));
    expect(large).not.toHaveBeenCalled();
    vcpu.flushTlb(0x40123000n);
    expect(large).toHaveBeenCalledOnce();
    // Nothing of it is left.
    vcpu.flushTlb(0x40123000n);
    expect(large).toHaveBeenCalledOnce();
    large.mockRestore();
  });

  it('keeps translations across switchRoot, and drops them by CR3', () => {
    load();
    const other = new PageTables(ram, 0x300000);
    other.identity(0x1000, 0x4000);
    vcpu.switchRoot(BigInt(other.root));
    bench.run(0x1000n);
    page.map(0x50000n, 0x7000);
    vcpu.switchRoot(BigInt(page.root));
    expect(load()).toBe(6);
    vcpu.cr3 = BigInt(page.root);
    expect(load()).toBe(7);
  });

  it('tells apart levels, write protection and SMAP', () => {
    page.map(0x50000n, 0x6000, P | RW);
    vcpu.flushTlb();
    load();
    vcpu.cpl = 3;
    expect(bench.run(0x1000n)).toMatchObject({ vector: 14, errorCode: 5 });
    vcpu.cpl = 0;
    page.map(0x50000n, 0x6000, P | US);
    vcpu.flushTlb();
    load();
    vcpu.cr4 |= 1n << 21n;
    page.map(0x1000n, 0x1000, P | RW);
    vcpu.flushTlb();
    expect(bench.run(0x1000n)).toMatchObject({ vector: 14, errorCode: 1 });
    vcpu.rflags |= 1n << 18n;
    load();
    vcpu.rflags &= ~(1n << 18n);
    expect(bench.run(0x1000n)).toMatchObject({ vector: 14, errorCode: 1 });
  });

  it('looks up a dirty bit for the first write after reads', () => {
    load();
    expect(Number(ram.read64(page.entry(0x50000n)) & 0x60n)).toBe(0x20);
    bench.put(0x2000, '8907 f4');
    bench.run(0x2000n);
    expect(Number(ram.read64(page.entry(0x50000n)) & 0x60n)).toBe(0x60);
  });
});

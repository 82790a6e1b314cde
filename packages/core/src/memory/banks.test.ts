import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TlbBanks } from './banks.ts';
import {
  layoutFor,
  TLB_BANKS,
  TLB_ENTRY_BYTES,
  TLB_EXEC_OFFSET,
  TLB_LOG_ENTRIES,
  TLB_LOG_OFFSET,
  TLB_WRITE_OFFSET,
} from './layout.ts';

const layout = layoutFor(4096);
const make = (owner = { index: 0, count: 1 }) => {
  const buffer = new ArrayBuffer(layout.pageFlags);
  const view = new DataView(buffer);
  /** Fill an entry of a bank as generated code does, which logs it. */
  const fillEntry = (bank: number, entry: number) => {
    view.setInt32(bank + entry * TLB_ENTRY_BYTES, entry << 12, true);
    view.setInt32(bank + entry * TLB_ENTRY_BYTES + 8, 42, true);
    const count = view.getInt32(bank + TLB_LOG_OFFSET, true);
    if (count === TLB_LOG_ENTRIES) return;
    view.setUint16(bank + TLB_LOG_OFFSET + 4 + count * 2, entry, true);
    view.setInt32(bank + TLB_LOG_OFFSET, count + 1, true);
  };
  return { banks: new TlbBanks(buffer, layout, owner), view, fillEntry };
};

describe('TLB banks', () => {
  it('keep what they hold while their key is in use', () => {
    const { banks, view } = make();
    const first = banks.select(1);
    view.setInt32(first + 8, 42, true);
    for (let key = 2; key <= TLB_BANKS; key++) banks.select(key);
    expect(banks.select(1)).toBe(first);
    expect(view.getInt32(first + 8, true)).toBe(42);
  });

  it('give the least recently used bank, emptied, to a new key', () => {
    const { banks, view, fillEntry } = make();
    const hosts = Array.from({ length: TLB_BANKS }, (_, key) => banks.select(key));
    expect(new Set(hosts).size).toBe(TLB_BANKS);
    banks.select(0);
    fillEntry(hosts[1], 0);
    expect(banks.select(1000)).toBe(hosts[1]);
    expect(view.getInt32(hosts[1] + 8, true)).toBe(0);
    expect(banks.select(0)).toBe(hosts[0]);
    expect(banks.select(1)).toBe(hosts[2]);
  });

  it('have empty entries that match no address of their place', () => {
    const { banks, view } = make();
    const bank = banks.select(1);
    for (const [offset, entries] of [
      [0, 2048],
      [TLB_WRITE_OFFSET, 2048],
      [TLB_EXEC_OFFSET, 512],
    ]) {
      for (let i = 0; i < entries; i++) {
        const page = Number(view.getBigUint64(bank + offset + i * TLB_ENTRY_BYTES, true) >> 12n);
        expect(page & (entries - 1)).not.toBe(i);
      }
    }
  });

  it('empty everything when too much was filled to remember what', () => {
    const { banks, view, fillEntry } = make();
    const bank = banks.select(1);
    for (let entry = 0; entry < 2048; entry++) fillEntry(bank, entry);
    banks.flushMatching((key) => key === 1);
    for (let entry = 0; entry < 2048; entry++) expect(view.getInt32(bank + entry * TLB_ENTRY_BYTES + 8, true)).toBe(0);
  });

  it('empty one page, the banks of some keys, or everything', () => {
    const { banks, view, fillEntry } = make();
    const [a, b] = [banks.select(1), banks.select(2)];
    const set = () => {
      for (const bank of [a, b]) for (const page of [5, 6]) fillEntry(bank, page);
    };
    const held = () =>
      [a, b].map((bank) => [5, 6].map((page) => view.getInt32(bank + page * TLB_ENTRY_BYTES + 8, true)));
    set();
    // Another page of the same place.
    banks.flushPage(5 + 2048);
    expect(held()).toEqual([
      [42, 42],
      [42, 42],
    ]);
    banks.flushPage(5);
    expect(held()).toEqual([
      [0, 42],
      [0, 42],
    ]);
    set();
    banks.flushMatching((key) => key === 2);
    expect(held()).toEqual([
      [42, 42],
      [0, 0],
    ]);
    set();
    banks.flushAll();
    banks.select(1);
    banks.select(2);
    expect(held()).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it.each([
    ['few', 4],
    ['more than can be remembered', TLB_LOG_ENTRIES],
  ])('forget what writes to a page, and nothing else: of %s entries', (_what, others) => {
    const { banks, view, fillEntry } = make();
    const [write, page] = [TLB_WRITE_OFFSET / TLB_ENTRY_BYTES, 0x5000];
    const hosts = [1, 2].map((key) => banks.select(key));
    const leadTo = (bank: number, entry: number, host: number) => {
      fillEntry(bank, entry);
      const at = bank + entry * TLB_ENTRY_BYTES;
      view.setInt32(at + 8, host - view.getInt32(at, true), true);
    };
    for (const bank of hosts) {
      for (let i = 0; i < others; i++) leadTo(bank, write + 100 + i, 0x7000);
      // What reads it, what writes to it, and what writes to the one behind it.
      leadTo(bank, 3, page);
      leadTo(bank, write + 5, page);
      leadTo(bank, write + 6, page + 4096);
    }
    banks.forbidWrites(page);
    for (const bank of hosts) {
      const distance = (entry: number) => view.getInt32(bank + entry * TLB_ENTRY_BYTES + 8, true);
      expect(distance(write + 5)).toBe(0);
      for (const entry of [3, write + 6, write + 100, write + 99 + others]) expect(distance(entry)).not.toBe(0);
    }
  });

  const operation = fc.oneof(
    fc.record({ kind: fc.constant('select'), key: fc.nat(4) }),
    fc.record({ kind: fc.constant('hold') }),
    fc.record({ kind: fc.constant('fill'), page: fc.nat(9) }),
    fc.record({ kind: fc.constant('flush'), page: fc.nat(9), times: fc.constantFrom(1, 1, 1, 300) }),
  );
  it('have forgotten a flushed page when they are selected, and nothing else unless there were very many', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const { banks, view, fillEntry } = make();
        const atHand = Int32Array.of(banks.select(0), 0);
        const held = new Map<number, Set<number>>([[0, new Set()]]);
        const missed = new Map<number, number>();
        let [key, other] = [0, -1];
        const pages = (bank: number) =>
          Array.from({ length: 10 }, (_, page) => page).filter(
            (page) => view.getInt32(bank + page * TLB_ENTRY_BYTES + 8, true) === 42,
          );
        const check = (each: number, bank: number) => {
          if ((missed.get(each) ?? 0) > 256) held.set(each, new Set());
          missed.set(each, 0);
          expect(pages(bank)).toEqual([...(held.get(each) as Set<number>)].sort((a, b) => a - b));
        };
        for (const each of operations as { kind: string; key: number; page: number; times: number }[]) {
          if (each.kind === 'select') {
            ({ key } = each);
            if (!held.has(key)) held.set(key, new Set());
            atHand[0] = banks.select(key);
            check(key, atHand[0]);
          } else if (each.kind === 'hold') {
            other = key;
            atHand[1] = atHand[0];
          } else if (each.kind === 'fill') {
            fillEntry(atHand[0], each.page);
            held.get(key)?.add(each.page);
          } else {
            for (let i = 0; i < each.times; i++) banks.flushPage(each.page, atHand);
            for (const [of, its] of held) {
              its.delete(each.page);
              if (of !== key && of !== other) missed.set(of, (missed.get(of) ?? 0) + each.times);
            }
            check(key, atHand[0]);
            if (other >= 0) check(other, atHand[1]);
          }
        }
      }),
    );
  });

  it('of different vCPUs lie apart', () => {
    const hosts = [0, 1].flatMap((index) => {
      const { banks } = make({ index, count: 2 });
      return Array.from({ length: TLB_BANKS / 2 }, (_, key) => banks.select(key));
    });
    expect(new Set(hosts).size).toBe(TLB_BANKS);
  });
});

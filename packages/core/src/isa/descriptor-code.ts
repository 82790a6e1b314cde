/** IR that reads descriptors of the GDT and takes them apart (SDM vol. 3A, 3.4.5). */
import { CPL, GDTR_BASE, GDTR_LIMIT, HIDDEN_GDT_AT } from '../cpu/state.ts';
import type { Builder } from '../ir/builder.ts';
import type { Value } from '../ir/types.ts';

const LDT_SELECTOR = 4;
/** G, limit, P, S and the type but for "accessed"; data that can be written and expands up, 4 GiB of it. */
const WIDE_DATA = { MASK: 0x008f_9e00_0000_ffffn, VALUE: 0x008f_9200_0000_ffffn } as const;

/** i32 0 or 1: a selector of the GDT, within its limit, and not null. */
export function isInGdt(b: Builder, selector: Value): Value {
  const inGdt = b.eqz(b.and(selector, b.i32(LDT_SELECTOR)));
  const isWithin = b.leU(b.or(selector, b.i32(7)), b.get(GDTR_LIMIT));
  return b.and(b.and(inGdt, b.gtU(selector, b.i32(3))), isWithin);
}

/**
 * i64: the descriptor that such a selector names. 0, which is no segment's, at CPL 3: there generated code could not read the
 * table as the processor does, unless it is a hidden one.
 */
export function readGdt(b: Builder, selector: Value): Value {
  const offset = b.variable(b.and(selector, b.i32(0xfff8)));
  const found = b.variable(b.i64(0));
  b.when(
    b.get(HIDDEN_GDT_AT),
    () => b.assign(found, b.loadReached(b.add(b.get(HIDDEN_GDT_AT), b.current(offset)), 0, 8)),
    () =>
      b.when(b.ltU(b.get(CPL), b.i32(3)), () =>
        b.assign(found, b.load(b.add(b.get(GDTR_BASE), b.extendU(b.current(offset))), 8)),
      ),
  );
  return b.current(found);
}

/** i32 0 or 1. */
export const isWideData = (b: Builder, descriptor: Value): Value =>
  b.eq(b.and(descriptor, b.i64(WIDE_DATA.MASK)), b.i64(WIDE_DATA.VALUE));

const highWord = (b: Builder, descriptor: Value): Value => b.wrap(b.shrU(descriptor, b.i64(32)));

/** i32: access rights in the form of cpu/state.ts. */
export const descriptorRights = (b: Builder, descriptor: Value): Value =>
  b.and(b.shrU(highWord(b, descriptor), b.i32(8)), b.i32(0xf0ff));

/** i32. */
export function descriptorBase(b: Builder, descriptor: Value): Value {
  const high = highWord(b, descriptor);
  const lowest = b.shrU(b.wrap(descriptor), b.i32(16));
  const middle = b.shl(b.and(high, b.i32(0xff)), b.i32(16));
  return b.or(b.or(lowest, middle), b.and(high, b.i32(0xff00_0000 | 0)));
}

/** Base 0, 4 GiB, 32 bits: code that is not conforming, data that can be written and expands up. Without DPL, "accessed" and AVL. */
const FLAT_CODE32 = { MASK: 0xffef_9cff_ffff_ffffn, VALUE: 0x00cf_9800_0000_ffffn } as const;
const FLAT_DATA32 = { MASK: 0xffef_9eff_ffff_ffffn, VALUE: 0x00cf_9200_0000_ffffn } as const;

/** i32 0 or 1: such a segment of this level (i32). */
export const isFlatCode32 = (b: Builder, descriptor: Value, dpl: Value): Value =>
  isOfKind(b, descriptor, FLAT_CODE32, dpl);
export const isFlatData32 = (b: Builder, descriptor: Value, dpl: Value): Value =>
  isOfKind(b, descriptor, FLAT_DATA32, dpl);

function isOfKind(b: Builder, descriptor: Value, kind: { MASK: bigint; VALUE: bigint }, dpl: Value): Value {
  const isKind = b.eq(b.and(descriptor, b.i64(kind.MASK)), b.i64(kind.VALUE));
  return b.and(isKind, b.eq(descriptorLevel(b, descriptor), dpl));
}

/** i32: the DPL. */
export const descriptorLevel = (b: Builder, descriptor: Value): Value =>
  b.and(b.shrU(highWord(b, descriptor), b.i32(13)), b.i32(3));

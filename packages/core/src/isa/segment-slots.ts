/** IR that looks at and writes what the state block holds of a segment register (cpu/state.ts). */
import {
  SEGMENT_ACCESS,
  SEGMENT_BASE,
  SEGMENT_FLOOR,
  SEGMENT_LIMIT,
  SEGMENT_READ_END,
  SEGMENT_SELECTOR,
  SEGMENT_WRITE_END,
} from '../cpu/state.ts';
import type { Builder } from '../ir/builder.ts';
import type { Value } from '../ir/types.ts';
import { descriptorRights } from './descriptor-code.ts';
import { FlatRights, RIGHTS_DPL_BIT, RIGHTS_UNUSABLE } from './flat-segments.ts';

const END_OF_4_GIB = 1n << 32n;
/** Of access rights: unusable, S, code, expand-down, writable. */
const DATA_KIND = { MASK: RIGHTS_UNUSABLE | 0x1e, WRITABLE_UP: 0x12 } as const;

/** i64: where the allowed offsets of a segment of 4 GiB end if it may be accessed so (i32 0 or not): behind all of them, or before any. */
export const endOf4GiB = (b: Builder, isAllowed: Value): Value => b.select(isAllowed, b.i64(END_OF_4_GIB), b.i64(0));

/** A register's slots but for the floor, which is 0. */
export interface SegmentSlots {
  /** i32. */
  readonly selector: Value;
  /** i64. */
  readonly base: Value;
  /** i32. */
  readonly limit: Value;
  /** i32. */
  readonly rights: Value;
  /** i64: see {@link endOf4GiB}. */
  readonly readEnd: Value;
  /** i64. */
  readonly writeEnd: Value;
}

/** Load a segment that expands up. */
export function setSegmentSlots(b: Builder, index: number, slots: SegmentSlots): void {
  b.set(SEGMENT_READ_END[index], slots.readEnd);
  b.set(SEGMENT_WRITE_END[index], slots.writeEnd);
  b.set(SEGMENT_ACCESS[index], slots.rights);
  b.set(SEGMENT_SELECTOR[index], slots.selector);
  b.set(SEGMENT_BASE[index], slots.base);
  b.set(SEGMENT_LIMIT[index], slots.limit);
  b.set(SEGMENT_FLOOR[index], b.i64(0));
}

const CS = 1;
const SS = 2;
/** Load CS and SS as SYSCALL and its like do: flat segments of a level, for which no descriptor is read. Selectors are i32. */
export function loadFlatSegments(
  b: Builder,
  { code, stack }: { readonly code: Value; readonly stack: Value },
  kind: 'CODE64' | 'CODE32',
  dpl: 0 | 3,
): void {
  loadFlat(b, SS, stack, b.i32(FlatRights.DATA | (dpl << RIGHTS_DPL_BIT)));
  loadFlat(b, CS, code, b.i32(FlatRights[kind] | (dpl << RIGHTS_DPL_BIT)));
}
/** Readable code, or data that can be written. Selector and rights are i32. */
export function loadFlat(b: Builder, index: typeof CS | typeof SS, selector: Value, rights: Value): void {
  const end = b.i64(END_OF_4_GIB);
  const whole = { base: b.i64(0), limit: b.i32(-1), readEnd: end, writeEnd: index === CS ? b.i64(0) : end };
  setSegmentSlots(b, index, { selector, rights, ...whole });
}

/** i32 0 or 1: the register holds 4 GiB from 0 on. */
export const isWholeFrom0 = (b: Builder, index: number): Value =>
  b.and(b.eq(b.get(SEGMENT_LIMIT[index]), b.i32(-1)), b.eqz(b.wrap(b.get(SEGMENT_BASE[index]))));

/** i32 0 or 1: the register holds such a segment for data that can be written (machine/cpu-mode.ts). */
export function isFlatData(b: Builder, index: number): Value {
  const kind = b.and(b.get(SEGMENT_ACCESS[index]), b.i32(DATA_KIND.MASK));
  return b.and(isWholeFrom0(b, index), b.eq(kind, b.i32(DATA_KIND.WRITABLE_UP)));
}

/** Load a flat code segment as its descriptor has it. The selector is i32. */
export function loadCode32(b: Builder, selector: Value, descriptor: Value): void {
  const isReadable = b.and(descriptorRights(b, descriptor), b.i32(2));
  const bounds = { readEnd: endOf4GiB(b, isReadable), writeEnd: b.i64(0) };
  setSegmentSlots(b, CS, { selector, ...wholeOf(b, descriptor), ...bounds });
}
/** Load a flat stack segment as its descriptor has it. */
export function loadStack32(b: Builder, selector: Value, descriptor: Value): void {
  const end = b.i64(END_OF_4_GIB);
  setSegmentSlots(b, SS, { selector, ...wholeOf(b, descriptor), readEnd: end, writeEnd: end });
}
const wholeOf = (b: Builder, descriptor: Value) => ({
  base: b.i64(0),
  limit: b.i32(-1),
  rights: descriptorRights(b, descriptor),
});

/** Changes of the privilege level in generated code: what they have in common. */
import { INTERRUPT_WAITS, LEVELS, type Level, MMU_FLAGS, SEGMENT_ACCESS, TLB } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { Flag } from '../flags.ts';
import { RIGHTS_DPL_BIT, RIGHTS_UNUSABLE } from '../flat-segments.ts';

/** With one of these in the flags before or after it, a change of level is TypeScript's. */
export const RARE_FLAGS = Flag.TF | Flag.NT | Flag.VM | Flag.AC | Flag.VIF | Flag.VIP;

/** i32 0 or 1: these flags let in an interrupt that may be waiting. */
export function letsInterruptIn(b: Builder, image: Value): Value {
  return b.and(b.ne(b.and(image, b.i32(Flag.IF)), b.i32(0)), b.ne(b.get(INTERRUPT_WAITS), b.i32(0)));
}

/** Memory is accessed in another way from here on. */
export function changeLevel(b: Builder, level: Level): void {
  b.set(MMU_FLAGS, b.get(LEVELS[level].flags));
  b.set(TLB, b.get(LEVELS[level].bank));
}
export const isLevelKnown = (b: Builder, level: Level): Value => b.ne(b.get(LEVELS[level].bank), b.i32(0));

/** i32 0 or 1: a return to CPL 3 leaves this data segment as it is; it is unusable, or of that level. */
export function staysAtCpl3(b: Builder, index: 0 | 3 | 4 | 5): Value {
  const rights = b.get(SEGMENT_ACCESS[index]);
  const isOuter = b.eq(b.and(rights, b.i32(3 << RIGHTS_DPL_BIT)), b.i32(3 << RIGHTS_DPL_BIT));
  return b.or(b.ne(b.and(rights, b.i32(RIGHTS_UNUSABLE)), b.i32(0)), isOuter);
}

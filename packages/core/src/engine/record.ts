import type { MemoryLayout } from '../memory/layout.ts';

/**
 * A decoded record: one instruction, ready to run, {@link RECORD_BYTES} long. Records of straight-line
 * code lie one after the other. Offsets of the fields, little endian:
 */
export const RecordField = {
  /** u16: which handler runs it. */
  handler: 0,
  /** u8: instruction length, bytes. */
  length: 2,
  /** u8: its number in the straight-line run, counted from 1. */
  ordinal: 3,
  /** u16: offset of the instruction in its page. */
  pageOffset: 4,
  /** u16 each: register operands as byte offsets in the state block. */
  reg: 6,
  rm: 8,
  base: 10,
  index: 12,
  /** u8: log2 of the index scale. */
  scale: 14,
  /** u8: segment register index whose base is added; {@link NO_SEGMENT}: none. */
  segment: 15,
  /** i64: displacement; direct branches have no memory operand and keep a link here. */
  disp: 16,
  /** u32 (branches): record of the target in the same page, 0 while unknown. */
  link: 16,
  /** i32 (branches): what following the link does to the budget: ordinal of the target − 1 − own ordinal. */
  linkBudget: 20,
  /** i64: immediate; direct branches: offset of the target from the page's base. */
  imm: 24,
} as const;

/** Write a 64-bit field that is given as halves, plus a small number: `at` is a quarter of its address. */
export function writeSum(words: Int32Array, at: number, low: number, high: number, plus: number): void {
  const sum = (low >>> 0) + plus;
  words[at] = sum | 0;
  words[at + 1] = high + (sum > 0xffffffff ? 1 : 0);
}

/** Longest straight-line run decoded at once; ordinals are bytes. */
export const MAX_RUN = 200;

/** Segment index of records without a segment base: the slot after GS holds 0. */
export const NO_SEGMENT = 6;

/** What is kept of a record beside it: offsets in its {@link MemoryLayout.recordInfo}. */
export const RecordInfo = {
  /** i32: how often it was reached by a look-up or a branch backwards. */
  arrivals: 0,
  /** i32: the region that starts at it, as index in the table of regions; records with handler `region` only. */
  region: 4,
} as const;

/** Constant offset of a record's info from a quarter of its address. */
export const recordInfoOffset = (layout: MemoryLayout): number => layout.recordInfo - layout.records / 4;

/** Handlers that stand for no instruction. */
export const SpecialHandler = {
  /** Leave and look the instruction up again: the page's code has changed. */
  refetch: 0,
  /** End of a run: go on at page base + imm. */
  next: 1,
  /** The next record's instruction reaches into the following page, whose entry table must be `link`. */
  crossing: 2,
  /** The bytes are no instruction: imm is the vector to raise. */
  undefined: 3,
  /** The bytes could not be fetched when decoded: leave, so that the fetch is tried again. */
  fetch: 4,
  /** Single-step: one instruction has been done. */
  stop: 5,
  /** A compiled region starts here. */
  region: 6,
} as const;
export const FIRST_HANDLER = 8;

/** Intel 8254 data sheet (order number 231164-005), "Programming the 8254" and "Mode definitions". */

/** 14.31818 MHz / 12 (IBM PC/AT technical reference, "System timers"). */
export const PIT_HZ = 1_193_182;

/** Ports from the chip's base: three counters and the control word. */
export const CONTROL_OFFSET = 3;
/** Control word: SC (7:6), RW (5:4), M (3:1), BCD (0). */
export const READ_BACK = 3;
export const Access = { LATCH: 0, LOW: 1, HIGH: 2, LOW_HIGH: 3 } as const;

/** Read-back command: bits 5 and 4 are active low, bits 3:1 choose counters. */
export const ReadBack = { NOT_COUNT: 0x20, NOT_STATUS: 0x10, COUNTER_0: 0x02 } as const;
/** Status byte; the rest of it is the control word's bits 5:0. */
export const Status = { OUT: 0x80, NULL_COUNT: 0x40 } as const;

/** Interrupt on terminal count; one-shot; rate generator; square wave; software and hardware triggered strobe. */
export type Mode = 0 | 1 | 2 | 3 | 4 | 5;
/** A count of 1 is illegal in modes 2 and 3; here it counts as the shortest legal one. */
export const MIN_PERIODIC_COUNT = 2;
export const BINARY_MODULUS = 0x10000;
export const BCD_MODULUS = 10_000;

/**
 * Intel SDM vol. 3A, chapter "Advanced programmable interrupt controller (APIC)". Sections are numbered here as in the
 * editions in which it is chapter 10 (253668-075); later ones have it as chapter 11.
 */

/** Register numbers: offset in the xAPIC page / 16 (table 10-1), and MSR − 0x800 (table 10-6). */
export const Register = {
  ID: 0x02,
  VERSION: 0x03,
  TPR: 0x08,
  APR: 0x09,
  PPR: 0x0a,
  EOI: 0x0b,
  RRD: 0x0c,
  LDR: 0x0d,
  DFR: 0x0e,
  SVR: 0x0f,
  ISR: 0x10,
  TMR: 0x18,
  IRR: 0x20,
  ESR: 0x28,
  ICR_LOW: 0x30,
  ICR_HIGH: 0x31,
  LVT_TIMER: 0x32,
  LVT_THERMAL: 0x33,
  LVT_PERFORMANCE: 0x34,
  LVT_LINT0: 0x35,
  LVT_LINT1: 0x36,
  LVT_ERROR: 0x37,
  INITIAL_COUNT: 0x38,
  CURRENT_COUNT: 0x39,
  DIVIDE: 0x3e,
  SELF_IPI: 0x3f,
} as const;

/** 10.4.8: version 0x14, six LVT entries, EOI-broadcast suppression. */
export const VERSION = 0x0105_0014;

/** 10.9: spurious-interrupt vector register. */
export const Svr = { VECTOR: 0xff, ENABLED: 0x100, SUPPRESS_EOI_BROADCAST: 0x1000 } as const;
export const SVR_WRITABLE = 0x13ff;

/** 10.5.1: local vector table. */
export const Lvt = {
  VECTOR: 0xff,
  MODE_SHIFT: 8,
  REMOTE_IRR: 0x4000,
  LEVEL: 0x8000,
  MASKED: 0x1_0000,
  TIMER_MODE_SHIFT: 17,
} as const;
export const LVT_FIRST = Register.LVT_TIMER;
/** Bits that can be written, in the order of the registers: timer, thermal, performance, LINT0, LINT1, error. */
export const LVT_WRITABLE = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff] as const;
export const TimerMode = { ONE_SHOT: 0, PERIODIC: 1, TSC_DEADLINE: 2 } as const;

/** 10.5.3: error status register. */
export const ApicError = { SEND_ILLEGAL_VECTOR: 0x20, RECEIVE_ILLEGAL_VECTOR: 0x40, ILLEGAL_REGISTER: 0x80 } as const;

/** 10.6.1: interrupt command register. */
export const Icr = { LOGICAL: 0x800, ASSERT: 0x4000, LEVEL: 0x8000 } as const;
export const ICR_WRITABLE = 0x000c_cfff;
export const IcrShorthand = { NONE: 0, SELF: 1, ALL: 2, ALL_BUT_SELF: 3 } as const;

/** Vectors below it are exceptions': an APIC takes none of them (10.5.2). */
export const FIRST_VECTOR = 16;
/** 10.6.2.2: destination format register, bits 31:28. */
export const DFR_FLAT = 0xffff_ffff;

/** 10.4.4: IA32_APIC_BASE, lower half. */
export const ApicBase = { BOOTSTRAP: 0x100, X2APIC: 0x400, ENABLED: 0x800, RESERVED: 0x2ff } as const;
export const DEFAULT_BASE = 0xfee0_0000;

export const Msr = { APIC_BASE: 0x1b, TSC_DEADLINE: 0x6e0, X2APIC_FIRST: 0x800, X2APIC_LAST: 0x8ff } as const;

/** The timer's input before division: one tick a nanosecond. A machine's bus clock may be any (10.5.4). */
export const TIMER_TICK_NS = 1;

/** Registers that writes do not change (SDM vol. 3A, table 10-1). */
export const isReadOnly = (register: number) =>
  register === Register.ID ||
  register === Register.VERSION ||
  (register >= Register.APR && register <= Register.PPR) ||
  register === Register.RRD ||
  (register >= Register.ISR && register < Register.ESR) ||
  register === Register.CURRENT_COUNT;

/** Motorola MC146818 data sheet (ADI-856); in the PC: IBM PC/AT technical reference, "Real-time clock". */

/** The time base of a PC's clock. */
export const RTC_HZ = 32_768;

export const Register = {
  SECONDS: 0x00,
  SECONDS_ALARM: 0x01,
  MINUTES: 0x02,
  MINUTES_ALARM: 0x03,
  HOURS: 0x04,
  HOURS_ALARM: 0x05,
  DAY_OF_WEEK: 0x06,
  DAY_OF_MONTH: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  /** Of the PC, not of the chip; FADT.CENTURY names it (ACPI 6.4, table 5.9). */
  CENTURY: 0x32,
} as const;
export const RAM_BYTES = 128;

/** Register A: divider (6:4) and rate (3:0). */
export const UPDATE_IN_PROGRESS = 0x80;
export const A_WRITABLE = 0x7f;
export const DIVIDER_SHIFT = 4;
/** The divider of a 32,768 Hz crystal; with any other the clock stands still. */
export const DIVIDER_32768 = 2;
/** After the divider was held, the first update comes half a second later ("Divider control"). */
export const FIRST_UPDATE_CYCLES = RTC_HZ / 2;
/** UIP comes 244 µs before an update, which takes 1984 µs ("Update cycle", table 6): 73 cycles. */
export const UIP_CYCLES = 73;

/** Register B. */
export const B = { SET: 0x80, PIE: 0x40, AIE: 0x20, UIE: 0x10, BINARY: 0x04, HOURS_24: 0x02 } as const;
/** Register C; its three flags stand where B has their enables. */
export const C = { IRQF: 0x80, PF: 0x40, AF: 0x20, UF: 0x10 } as const;
/** Register D: RAM and time are valid. */
export const VALID = 0x80;

/** An alarm byte with both upper bits matches everything ("Alarm"). */
export const DONT_CARE = 0xc0;
export const PM = 0x80;

/** Port 0x70: the index, and NMI off (IBM PC/AT technical reference, "CMOS RAM I/O operations"). */
export const INDEX_MASK = 0x7f;
export const NMI_OFF = 0x80;

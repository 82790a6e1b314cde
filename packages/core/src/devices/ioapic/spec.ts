/** Intel 82093AA data sheet (290566-001), chapter 3; EOI register: Intel ICH9 data sheet (316972), "EOIR". */

/** Offsets in the page. Other offsets are reserved. */
export const Window = { SELECT: 0x00, DATA: 0x10, EOI: 0x40 } as const;
export const Register = { ID: 0x00, VERSION: 0x01, ARBITRATION: 0x02, REDIRECTION: 0x10 } as const;

export const PIN_COUNT = 24;
/** Version 0x20: the one that has the EOI register. */
export const VERSION = ((PIN_COUNT - 1) << 16) | 0x20;
export const ID_MASK = 0x0f00_0000;

/** Redirection entry, lower half (3.2.4). The upper half holds the destination in bits 31:24. */
export const Entry = {
  VECTOR: 0xff,
  MODE_SHIFT: 8,
  LOGICAL: 0x800,
  REMOTE_IRR: 0x4000,
  LEVEL: 0x8000,
  MASKED: 0x1_0000,
} as const;
/** Delivery status and remote IRR are read-only. */
export const ENTRY_WRITABLE = 0x1_afff;
export const DESTINATION_MASK = 0xff00_0000;

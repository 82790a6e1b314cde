/**
 * Intel 8259A data sheet (order number 231468-003): "Initialization command words", "Operation command words".
 * ICW1 and the OCWs 2 and 3 share the port with A0 = 0 and are told apart by bits 4 and 3.
 */
export const Icw1 = { IC4: 0x01, SNGL: 0x02, INIT: 0x10 } as const;
/** The vector's upper five bits. */
export const ICW2_VECTOR_MASK = 0xf8;
export const ICW3_SLAVE_ID_MASK = 0x07;
export const Icw4 = { AEOI: 0x02, SFNM: 0x10 } as const;

export const OCW3 = 0x08;
export const LEVEL_MASK = 0x07;
/** OCW2: what to do with the level in its bits 2:0, as bits 7:5 (R, SL, EOI). */
export const Ocw2 = {
  ROTATE_IN_AEOI_CLEAR: 0,
  NON_SPECIFIC_EOI: 1,
  NO_OPERATION: 2,
  SPECIFIC_EOI: 3,
  ROTATE_IN_AEOI_SET: 4,
  ROTATE_ON_NON_SPECIFIC_EOI: 5,
  SET_PRIORITY: 6,
  ROTATE_ON_SPECIFIC_EOI: 7,
} as const;
export const Ocw3 = { RIS: 0x01, RR: 0x02, POLL: 0x04, SMM: 0x20, ESMM: 0x40 } as const;

/** Poll word: bit 7 says that there is a request, bits 2:0 which ("Poll command"). */
export const POLL_REQUEST = 0x80;
/** What a chip answers to an INTA without a request ("DEFAULT IR7"). */
export const DEFAULT_LEVEL = 7;

/** Where the slave's INT leads (IBM PC/AT technical reference, "System interrupts"). */
export const CASCADE_LEVEL = 2;
/**
 * Lines that cannot be switched to level triggering: IRQ0, 1, 2 and IRQ8, 13
 * (Intel 82371SB PIIX3 data sheet, 290550, "ELCR1" and "ELCR2").
 */
export const ELCR_MASTER_MASK = 0xf8;
export const ELCR_SLAVE_MASK = 0xde;

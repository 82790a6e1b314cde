/** Port 0x92 (IBM PS/2 Model 80 technical reference, "System control port A"; Intel ICH9 data sheet, 316972, "PORT92"). */
export const PortA = { FAST_RESET: 0x01, A20: 0x02 } as const;

/** Port 0x61 (Intel 82371SB PIIX3 data sheet, 290550, "NMISC—NMI status and control register"). */
export const PortB = {
  GATE_2: 0x01,
  SPEAKER: 0x02,
  SERR_DISABLE: 0x04,
  IOCHK_DISABLE: 0x08,
  REFRESH_TOGGLE: 0x10,
  OUT_2: 0x20,
} as const;
export const PORT_B_WRITABLE = 0x0f;
/** A refresh every 15.085 µs: counter 1 at 18 cycles (IBM PC/AT technical reference, "System timers"). */
export const REFRESH_CYCLES = 18;

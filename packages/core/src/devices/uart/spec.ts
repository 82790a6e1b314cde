/** Registers of the 16550A by offset (National Semiconductor PC16550D, June 1995, table II). */
export const Register = {
  /** Read: receiver buffer; write: transmitter holding; with LCR.DLAB: divisor low. */
  data: 0,
  /** With LCR.DLAB: divisor high. */
  interruptEnable: 1,
  /** Read: interrupt identification; write: FIFO control. */
  interruptIdFifo: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const;
export const UART_PORTS = 8;

/** 8.7: interrupts to enable. */
export const Enable = { received: 1, transmitterEmpty: 2, lineStatus: 4, modemStatus: 8 } as const;
/** Table IV, by priority. */
export const Identification = {
  lineStatus: 0x06,
  received: 0x04,
  timeout: 0x0c,
  transmitterEmpty: 0x02,
  modemStatus: 0x00,
  none: 0x01,
  fifosEnabled: 0xc0,
} as const;
/** 8.5. */
export const FifoControl = { enable: 1, clearReceiver: 2, clearTransmitter: 4, triggerShift: 6 } as const;
export const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
export const FIFO_BYTES = 16;
export const LINE_CONTROL_DIVISOR = 0x80;
/** 8.8. */
export const ModemControl = { dtr: 1, rts: 2, out1: 4, out2: 8, loopback: 0x10, mask: 0x1f } as const;
/** 8.4. */
export const LineStatus = {
  dataReady: 1,
  overrun: 2,
  errors: 0x1e,
  transmitterHoldingEmpty: 0x20,
  transmitterEmpty: 0x40,
} as const;
/** 8.9: the low half tells which line has changed. */
export const ModemStatus = {
  trailingEdgeRing: 4,
  cts: 0x10,
  dsr: 0x20,
  ring: 0x40,
  carrierDetect: 0x80,
} as const;
/** Divisor after reset is not defined; 115,200 baud is what firmware leaves. */
export const DIVISOR_115200 = 1;
/** A character of ten bits at 115,200 baud. */
export const CHARACTER_NS = (10 * 1e9) / 115_200;

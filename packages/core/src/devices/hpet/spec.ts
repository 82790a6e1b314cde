/** IA-PC HPET specification 1.0a, section 2.3 "Memory mapped hardware registers". */

export const TICK_NS = 10;
const PERIOD_FS = TICK_NS * 1_000_000;
export const COMPARATORS = 3;

export const Register = {
  CAPABILITIES: 0x000,
  CONFIGURATION: 0x010,
  INTERRUPT_STATUS: 0x020,
  MAIN_COUNTER: 0x0f0,
  COMPARATOR_0: 0x100,
} as const;
export const COMPARATOR_STRIDE = 0x20;
/** From a comparator's first register. */
export const ComparatorRegister = { CONFIGURATION: 0x00, VALUE: 0x08 } as const;

/** Revision 1, three timers, 64 bits, legacy replacement, Intel's vendor ID; the period above. */
export const CAPABILITIES_LOW = 0x8086_0001 | ((COMPARATORS - 1) << 8) | 0x2000 | 0x8000;
export const CAPABILITIES_HIGH = PERIOD_FS;

/** General configuration. */
export const Configuration = { ENABLED: 1, LEGACY: 2 } as const;

/** A comparator's configuration, lower half. */
export const Timer = {
  LEVEL: 0x0002,
  INTERRUPTS: 0x0004,
  PERIODIC: 0x0008,
  PERIODIC_CAPABLE: 0x0010,
  SIZE_64: 0x0020,
  SET_VALUE: 0x0040,
  MODE_32: 0x0100,
  ROUTE_SHIFT: 9,
  ROUTE_MASK: 0x1f,
} as const;
export const TIMER_WRITABLE = 0x3f4e;
/** Upper half: I/O APIC inputs that each comparator can be routed to (Intel ICH9 data sheet, 316972, "TIMn_CONF"). */
export const ROUTES = [0x00f0_0000, 0x00f0_0000, 0x00f0_0800] as const;

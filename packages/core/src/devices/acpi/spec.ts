/** Fixed hardware registers, from the start of the block (ACPI 6.3, 4.8.3). */
export const PM_PORTS = 12;
export const PmRegister = { status: 0, enable: 2, control: 4, timer: 8 } as const;
/** PM1 status and enable bits (4.8.3.1.1, 4.8.3.1.2). */
export const Pm1Event = {
  timer: 1 << 0,
  globalLock: 1 << 5,
  powerButton: 1 << 8,
  sleepButton: 1 << 9,
  rtc: 1 << 10,
  wake: 1 << 15,
} as const;
export const PM1_ENABLE_BITS =
  Pm1Event.timer | Pm1Event.globalLock | Pm1Event.powerButton | Pm1Event.sleepButton | Pm1Event.rtc;
/** PM1 control bits (4.8.3.2.1). */
export const Pm1Control = {
  sciEnable: 1 << 0,
  busMasterReload: 1 << 1,
  sleepTypeShift: 10,
  sleepTypeMask: 7 << 10,
  sleepEnable: 1 << 13,
} as const;
/** The value for S5 that \_S5 of the DSDT gives, and so the one that powers off. */
export const SLEEP_TYPE_S5 = 5;
/** 4.8.3.3. */
export const PM_TIMER_HZ = 3_579_545;
/** Bit 31 of the counter: its toggling sets the timer status. */
export const PM_TIMER_HALF_PERIOD = 2 ** 31;

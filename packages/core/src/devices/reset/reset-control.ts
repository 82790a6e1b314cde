import type { PortDevice } from '../../bus/device.ts';

/** Reset Control Register (Intel 82371SB PIIX3 data sheet, 290550-002, 2.5.5 "RC"). */
export const RESET_CONTROL_PORT = 0xcf9;
const SYSTEM_RESET = 1 << 1;
const RESET_CPU = 1 << 2;
/** What an operating system writes there for a hard reset. */
export const HARD_RESET = SYSTEM_RESET | RESET_CPU;

/** Resets the machine when RCPU goes from 0 to 1; a soft and a hard reset are the same here. */
export class ResetControl implements PortDevice {
  readonly cycleBytes = 1;
  #value = 0;
  readonly #reset: () => void;
  constructor(reset: () => void) {
    this.#reset = reset;
  }
  readPort(): number {
    return this.#value;
  }
  writePort(_offset: number, _sizeBytes: number, value: number): void {
    const rises = (value & ~this.#value & RESET_CPU) !== 0;
    this.#value = value & HARD_RESET;
    if (rises) this.#reset();
  }
}

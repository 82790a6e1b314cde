import type { Clock, Timer } from '@polyvisor/plugin-api';
import type { IrqLine, PortDevice } from '../../bus/device.ts';
import { Oscillator } from '../oscillator.ts';
import {
  PM_TIMER_HALF_PERIOD,
  PM_TIMER_HZ,
  PM1_ENABLE_BITS,
  Pm1Control,
  Pm1Event,
  PmRegister,
  SLEEP_TYPE_S5,
} from './spec.ts';

/** PM1a event and control blocks and the 32-bit power-management timer (ACPI 6.3, 4.8.3). */
export class PowerManagement implements PortDevice {
  readonly cycleBytes = 4;
  readonly #sci: IrqLine;
  readonly #clock: Clock;
  readonly #powerOff: () => void;
  readonly #oscillator: Oscillator;
  #status = 0;
  #enable = 0;
  #control: number = Pm1Control.sciEnable;
  /** Half periods of the timer that are accounted for in its status bit. */
  #halfPeriodsSeen = 0;
  #toggle: Timer | undefined;

  constructor(wiring: { sci: IrqLine; clock: Clock; powerOff: () => void }) {
    this.#sci = wiring.sci;
    this.#clock = wiring.clock;
    this.#powerOff = wiring.powerOff;
    this.#oscillator = new Oscillator(wiring.clock, PM_TIMER_HZ);
  }

  readPort(offset: number, sizeBytes: number): number {
    const word = offset & ~3;
    const value = word === PmRegister.timer ? this.#oscillator.now() % 2 ** 32 : this.#read(word);
    return (value >>> (8 * (offset & 3))) & (0xffffffff >>> (32 - 8 * sizeBytes));
  }
  #read(word: number): number {
    if (word === PmRegister.control) return this.#control;
    this.#noticeToggle();
    return this.#status | (this.#enable << 16);
  }

  writePort(offset: number, sizeBytes: number, value: number): void {
    for (let i = 0; i < sizeBytes; i += 1) {
      const at = offset + i;
      const shift = 8 * (at & 1);
      this.#writeBits(at & ~1, ((value >>> (8 * i)) & 0xff) << shift, 0xff << shift);
    }
  }

  /** Write those bits of a 16-bit register that `mask` names. */
  #writeBits(register: number, value: number, mask: number): void {
    if (register === PmRegister.status) {
      this.#noticeToggle();
      // Writing 1 clears.
      this.#status &= ~value;
    } else if (register === PmRegister.enable) {
      this.#enable = ((this.#enable & ~mask) | (value & mask)) & PM1_ENABLE_BITS;
    } else if (register === PmRegister.control) this.#writeControl(value, mask);
    this.#update();
  }

  #writeControl(value: number, mask: number): void {
    const kept = Pm1Control.busMasterReload | Pm1Control.sleepTypeMask;
    this.#control = (this.#control & ~(kept & mask)) | (value & mask & kept);
    const type = (this.#control & Pm1Control.sleepTypeMask) >> Pm1Control.sleepTypeShift;
    if (value & mask & Pm1Control.sleepEnable && type === SLEEP_TYPE_S5) this.#powerOff();
  }

  /** The timer status follows the counter's highest bit, whether or not anybody looks (4.8.3.1.1, TMR_STS). */
  #noticeToggle(): void {
    const halfPeriods = Math.floor(this.#oscillator.now() / PM_TIMER_HALF_PERIOD);
    if (halfPeriods === this.#halfPeriodsSeen) return;
    this.#halfPeriodsSeen = halfPeriods;
    this.#status |= Pm1Event.timer;
  }

  #update(): void {
    this.#noticeToggle();
    this.#sci.set((this.#status & this.#enable) !== 0);
    this.#toggle?.cancel();
    this.#toggle = undefined;
    if (!(this.#enable & Pm1Event.timer)) return;
    const next = this.#oscillator.nsOf((this.#halfPeriodsSeen + 1) * PM_TIMER_HALF_PERIOD);
    this.#toggle = this.#clock.at(next, () => this.#update());
  }
}

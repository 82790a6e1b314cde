import type { Clock } from '@polyvisor/plugin-api';
import type { PortDevice, Stateful } from '../../bus/device.ts';
import { Oscillator } from '../oscillator.ts';
import { PIT_HZ } from '../pit/spec.ts';
import { PORT_B_WRITABLE, PortA, PortB, REFRESH_CYCLES } from './spec.ts';

/** Port 0x92. A rising bit 0 resets the processor; bit 1 lets address line 20 through. */
export class SystemControlPortA implements PortDevice, Stateful<number> {
  readonly cycleBytes = 1;
  readonly #reset: () => void;
  readonly #setA20: (enabled: boolean) => void;
  /** Firmware leaves A20 on. */
  #value: number = PortA.A20;

  /** @param setA20 called when software changes the gate */
  constructor(reset: () => void, setA20: (enabled: boolean) => void) {
    this.#reset = reset;
    this.#setA20 = setA20;
  }
  readPort(): number {
    return this.#value;
  }
  writePort(_offset: number, _sizeBytes: number, value: number): void {
    const changed = value ^ this.#value;
    this.#value = value & (PortA.FAST_RESET | PortA.A20);
    if (changed & PortA.A20) this.#setA20((value & PortA.A20) !== 0);
    if (changed & value & PortA.FAST_RESET) this.#reset();
  }
  saveState(): number {
    return this.#value;
  }
  restoreState(value: number): void {
    this.#value = value;
  }
}

/** Counter 2 of the interval timer as port 0x61 sees it. */
interface SpeakerCounter {
  setGate2(gate: boolean): void;
  readonly out2: boolean;
}

/**
 * Port 0x61. No sound is made: the speaker's bit is kept and read back. No source of the NMIs that bits 2 and 3 govern
 * exists in this machine, so that the status bits 6 and 7 are never set.
 */
export class SystemControlPortB implements PortDevice, Stateful<number> {
  readonly cycleBytes = 1;
  readonly #oscillator: Oscillator;
  readonly #counter: SpeakerCounter;
  #value = 0;

  /** Takes GATE 2 down, as a reset does. */
  constructor(clock: Clock, counter: SpeakerCounter) {
    this.#oscillator = new Oscillator(clock, PIT_HZ);
    this.#counter = counter;
    counter.setGate2(false);
  }
  readPort(): number {
    const refresh = Math.floor(this.#oscillator.now() / REFRESH_CYCLES) & 1 ? PortB.REFRESH_TOGGLE : 0;
    return this.#value | refresh | (this.#counter.out2 ? PortB.OUT_2 : 0);
  }
  writePort(_offset: number, _sizeBytes: number, value: number): void {
    this.#value = value & PORT_B_WRITABLE;
    this.#counter.setGate2((value & PortB.GATE_2) !== 0);
  }
  saveState(): number {
    return this.#value;
  }
  /** GATE 2 is part of the timer's own state. */
  restoreState(value: number): void {
    this.#value = value;
  }
}

import type { Clock, Timer } from '@polyvisor/plugin-api';
import type { IrqLine, PortDevice, Stateful } from '../../bus/device.ts';
import { Oscillator } from '../oscillator.ts';
import { addSeconds, alarmWithin, setTime } from './calendar.ts';
import { firmwareCmos, type MemorySizes } from './cmos.ts';
import {
  A_WRITABLE,
  B,
  C,
  DIVIDER_32768,
  DIVIDER_SHIFT,
  FIRST_UPDATE_CYCLES,
  INDEX_MASK,
  NMI_OFF,
  Register,
  RTC_HZ,
  UIP_CYCLES,
  UPDATE_IN_PROGRESS,
  VALID,
} from './spec.ts';

export interface RtcState {
  index: number;
  /** All registers and the RAM. */
  ram: number[];
  /** Up to which cycle of the crystal the registers are right. */
  syncedAt: number;
  /** The cycle of the next update; -1 while the divider is held. */
  updateAt: number;
  irq8: boolean;
}

interface RtcOptions {
  readonly clock: Clock;
  readonly irq8: IrqLine;
  readonly memory: MemorySizes;
  /** Bit 7 of port 0x70, each time that it is written. */
  readonly maskNmi: (masked: boolean) => void;
}

/** A port that cannot be read. */
const FLOATING = 0xff;
const IRQ_ENABLES = B.PIE | B.AIE | B.UIE;

/**
 * The real-time clock and CMOS RAM. Registers are brought up to date when someone looks; timers run only for
 * interrupts that are enabled and not yet flagged.
 */
export class Rtc implements PortDevice, Stateful<RtcState> {
  readonly cycleBytes = 1;
  readonly #options: RtcOptions;
  readonly #oscillator: Oscillator;
  #state: RtcState;
  #timer: Timer | undefined;

  constructor(options: RtcOptions) {
    const { clock, memory } = options;
    this.#options = options;
    this.#oscillator = new Oscillator(clock, RTC_HZ);
    const ram = firmwareCmos(memory);
    ram[Register.A] = (DIVIDER_32768 << DIVIDER_SHIFT) | 6;
    ram[Register.B] = B.HOURS_24;
    const startNs = clock.startEpochNs;
    setTime(ram, Number(startNs / 1_000_000_000n));
    const toNextSecondNs = 1_000_000_000 - Number(startNs % 1_000_000_000n);
    const updateAt = Math.max(1, this.#oscillator.cycleAt(toNextSecondNs));
    this.#state = { index: 0, ram, syncedAt: 0, updateAt, irq8: false };
    this.#sync();
  }

  readPort(offset: number): number {
    return offset === 0 ? FLOATING : this.#read(this.#state.index);
  }

  writePort(offset: number, _sizeBytes: number, value: number): void {
    if (offset === 0) {
      this.#state.index = value & INDEX_MASK;
      this.#options.maskNmi((value & NMI_OFF) !== 0);
    } else {
      this.#sync();
      this.#write(this.#state.index, value);
      this.#update();
    }
  }

  saveState(): RtcState {
    return { ...this.#state, ram: [...this.#state.ram] };
  }
  restoreState(state: RtcState): void {
    this.#state = { ...state, ram: [...state.ram] };
    this.#schedule();
  }

  #read(register: number): number {
    this.#sync();
    const { ram } = this.#state;
    switch (register) {
      case Register.A:
        return ram[Register.A] | (this.#updateInProgress ? UPDATE_IN_PROGRESS : 0);
      case Register.C: {
        const flags = ram[Register.C];
        ram[Register.C] = 0;
        this.#update();
        return flags;
      }
      case Register.D:
        return VALID;
      default:
        return ram[register];
    }
  }

  #write(register: number, value: number): void {
    const { ram } = this.#state;
    switch (register) {
      case Register.A:
        this.#writeA(value & A_WRITABLE);
        break;
      case Register.B:
        // SET takes UIE back ("Register B").
        ram[Register.B] = value & B.SET ? value & ~B.UIE : value;
        break;
      case Register.C:
      case Register.D:
        break;
      default:
        ram[register] = value;
    }
  }

  #writeA(value: number): void {
    const state = this.#state;
    state.ram[Register.A] = value;
    if (value >> DIVIDER_SHIFT !== DIVIDER_32768) state.updateAt = -1;
    else if (state.updateAt < 0) state.updateAt = this.#oscillator.now() + FIRST_UPDATE_CYCLES;
  }

  get #isSet(): boolean {
    return (this.#state.ram[Register.B] & B.SET) !== 0;
  }
  get #updateInProgress(): boolean {
    const { updateAt } = this.#state;
    return updateAt >= 0 && !this.#isSet && updateAt - this.#oscillator.now() <= UIP_CYCLES;
  }

  /** Cycles between two periodic interrupts; 0: none (data sheet, table 5). */
  get #periodCycles(): number {
    const rate = this.#state.ram[Register.A] & 15;
    if (rate === 0 || this.#state.updateAt < 0) return 0;
    return 1 << (rate < 3 ? rate + 6 : rate - 1);
  }
  /** The next cycle after `cycle` with a periodic flag: each second holds a whole number of periods. */
  #nextPeriodic(cycle: number): number {
    const period = this.#periodCycles;
    const { updateAt } = this.#state;
    return updateAt - Math.floor((updateAt - cycle - 1) / period) * period;
  }

  /** Everything that has come to pass since the last look. */
  #sync(): void {
    const state = this.#state;
    const { ram } = state;
    const cycle = this.#oscillator.now();
    if (this.#periodCycles > 0 && this.#nextPeriodic(state.syncedAt) <= cycle) ram[Register.C] |= C.PF;
    state.syncedAt = cycle;
    if (state.updateAt >= 0 && cycle >= state.updateAt) {
      const seconds = Math.floor((cycle - state.updateAt) / RTC_HZ) + 1;
      state.updateAt += seconds * RTC_HZ;
      if (!this.#isSet) this.#advance(seconds);
    }
    this.#update();
  }

  #advance(seconds: number): void {
    const { ram } = this.#state;
    if (alarmWithin(ram, seconds)) ram[Register.C] |= C.AF;
    addSeconds(ram, seconds);
    ram[Register.C] |= C.UF;
  }

  /** IRQF and the line follow from flags and enables. */
  #update(): void {
    const state = this.#state;
    const { ram } = state;
    const asserted = (ram[Register.C] & ram[Register.B] & IRQ_ENABLES) !== 0;
    ram[Register.C] = (ram[Register.C] & ~C.IRQF) | (asserted ? C.IRQF : 0);
    if (state.irq8 !== asserted) {
      state.irq8 = asserted;
      this.#options.irq8.set(asserted);
    }
    this.#schedule();
  }

  #schedule(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const { ram, updateAt, syncedAt } = this.#state;
    const wanted = ram[Register.B] & ~ram[Register.C];
    let due = Number.POSITIVE_INFINITY;
    if (wanted & B.PIE && this.#periodCycles > 0) due = this.#nextPeriodic(syncedAt);
    if (wanted & (B.AIE | B.UIE) && updateAt >= 0 && !this.#isSet) due = Math.min(due, updateAt);
    if (Number.isFinite(due)) this.#timer = this.#options.clock.at(this.#oscillator.nsOf(due), () => this.#sync());
  }
}

import type { Clock, Timer } from '@polyvisor/plugin-api';
import type { IrqLine, PortDevice, Stateful } from '../../bus/device.ts';
import { Oscillator } from '../oscillator.ts';
import { Counter, type CounterState } from './counter.ts';
import { Access, CONTROL_OFFSET, type Mode, PIT_HZ, READ_BACK, ReadBack, Status } from './spec.ts';

/** What stands between the data bus and a counter. */
interface Latches {
  /** Control word, bits 5:0. */
  control: number;
  /** First byte of a count of two; -1: none. */
  writeLow: number;
  /** The next byte read is the upper one. */
  readHigh: boolean;
  /** Count and status held for reading; -1: none. */
  count: number;
  status: number;
}

export interface PitState {
  readonly counters: readonly CounterState[];
  readonly latches: readonly Latches[];
  readonly irq0: boolean;
  /** The cycle of OUT 0's next rising edge; -1: none. */
  readonly riseAt: number;
}

/** The data bus when the chip does not drive it ("Read/write logic"). */
const FLOATING = 0xff;
const MODES: readonly Mode[] = [0, 1, 2, 3, 4, 5, 2, 3];

/**
 * The interval timer, ports 0x40–0x43. GATE 0 and 1 are tied high; GATE 2 and OUT 2 are port 0x61's.
 *
 * OUT 0 drives IRQ0: each of its rising edges is delivered when it is due. Its falling edges are delivered together
 * with the next rising one, unless software makes them: nothing in a PC sees the difference but the 8259's IRR.
 * Edges that come due while the machine is late are delivered as one.
 */
export class Pit implements PortDevice, Stateful<PitState> {
  readonly cycleBytes = 1;
  readonly #clock: Clock;
  readonly #oscillator: Oscillator;
  readonly #counters = [new Counter(), new Counter(), new Counter()];
  #latches = this.#counters.map((): Latches => ({ control: 0, writeLow: -1, readHigh: false, count: -1, status: -1 }));
  readonly #irq0: IrqLine;
  #irq0Level = false;
  #riseAt = -1;
  #timer: Timer | undefined;

  constructor(clock: Clock, irq0: IrqLine) {
    this.#clock = clock;
    this.#oscillator = new Oscillator(clock, PIT_HZ);
    this.#irq0 = irq0;
  }

  setGate2(gate: boolean): void {
    this.#counters[2].setGate(this.#oscillator.now(), gate);
  }
  get out2(): boolean {
    return this.#counters[2].out(this.#oscillator.now());
  }

  readPort(offset: number): number {
    if (offset === CONTROL_OFFSET) return FLOATING;
    const latches = this.#latches[offset];
    if (latches.status >= 0) {
      const { status } = latches;
      latches.status = -1;
      return status;
    }
    const access = latches.control >> 4;
    const value = latches.count >= 0 ? latches.count : this.#counters[offset].value(this.#oscillator.now());
    const high = access === Access.HIGH || (access === Access.LOW_HIGH && latches.readHigh);
    if (access === Access.LOW_HIGH) latches.readHigh = !latches.readHigh;
    if (access !== Access.LOW_HIGH || high) latches.count = -1;
    return high ? value >> 8 : value & 0xff;
  }

  writePort(offset: number, _sizeBytes: number, value: number): void {
    const cycle = this.#oscillator.now();
    // An edge that is due comes before what software does now.
    if (this.#riseAt >= 0 && this.#riseAt <= cycle) this.#rise();
    if (offset !== CONTROL_OFFSET) this.#writeCount(cycle, offset, value);
    else if (value >> 6 === READ_BACK) this.#readBack(cycle, value);
    else this.#writeControl(cycle, value);
    this.#set(this.#counters[0].out(cycle));
    this.#schedule(this.#counters[0].nextRise(cycle));
  }

  saveState(): PitState {
    return {
      counters: this.#counters.map((counter) => ({ ...counter.state })),
      latches: this.#latches.map((latches) => ({ ...latches })),
      irq0: this.#irq0Level,
      riseAt: this.#riseAt,
    };
  }
  restoreState(state: PitState): void {
    for (const [index, counter] of this.#counters.entries()) counter.state = state.counters[index];
    this.#latches = state.latches.map((latches) => ({ ...latches }));
    this.#irq0Level = state.irq0;
    this.#schedule(state.riseAt);
  }

  #writeControl(cycle: number, value: number): void {
    const index = value >> 6;
    const access = (value >> 4) & 3;
    if (access === Access.LATCH) {
      this.#latchCount(cycle, index);
      return;
    }
    this.#latches[index] = { control: value & 0x3f, writeLow: -1, readHigh: false, count: -1, status: -1 };
    this.#counters[index].setMode(cycle, MODES[(value >> 1) & 7], (value & 1) !== 0);
  }

  /** A count that is latched and not yet read stays ("Counter latch command"). */
  #latchCount(cycle: number, index: number): void {
    const latches = this.#latches[index];
    if (latches.count < 0) latches.count = this.#counters[index].value(cycle);
  }

  #readBack(cycle: number, value: number): void {
    for (const [index, counter] of this.#counters.entries()) {
      if (!(value & (ReadBack.COUNTER_0 << index))) continue;
      const latches = this.#latches[index];
      if (!(value & ReadBack.NOT_COUNT)) this.#latchCount(cycle, index);
      if (value & ReadBack.NOT_STATUS || latches.status >= 0) continue;
      const out = counter.out(cycle) ? Status.OUT : 0;
      latches.status = out | (counter.isNull(cycle) ? Status.NULL_COUNT : 0) | latches.control;
    }
  }

  #writeCount(cycle: number, index: number, value: number): void {
    const latches = this.#latches[index];
    const counter = this.#counters[index];
    const access = latches.control >> 4;
    if (access === Access.LOW) counter.write(cycle, value);
    else if (access === Access.HIGH) counter.write(cycle, value << 8);
    else if (access === Access.LOW_HIGH && latches.writeLow < 0) {
      latches.writeLow = value;
      counter.beginWrite(cycle);
    } else if (access === Access.LOW_HIGH) {
      counter.write(cycle, (value << 8) | latches.writeLow);
      latches.writeLow = -1;
    }
    // Before any control word a count goes nowhere: the chip's state is undefined after power-on ("Programming").
  }

  #rise(): void {
    this.#set(false);
    this.#set(true);
    this.#schedule(this.#counters[0].nextRise(this.#oscillator.now()));
  }
  #set(level: boolean): void {
    if (level === this.#irq0Level) return;
    this.#irq0Level = level;
    this.#irq0.set(level);
  }
  #schedule(cycle: number): void {
    this.#timer?.cancel();
    this.#riseAt = Number.isFinite(cycle) ? cycle : -1;
    this.#timer =
      this.#riseAt < 0 ? undefined : this.#clock.at(this.#oscillator.nsOf(this.#riseAt), () => this.#rise());
  }
}

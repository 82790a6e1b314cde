import type { Clock, Timer as Deadline } from '@polyvisor/plugin-api';
import type { IrqLine, MmioDevice, Stateful } from '../../bus/device.ts';
import { Comparator, type ComparatorState } from './comparator.ts';
import {
  CAPABILITIES_HIGH,
  CAPABILITIES_LOW,
  COMPARATOR_STRIDE,
  COMPARATORS,
  ComparatorRegister,
  Configuration,
  Register,
  ROUTES,
  TICK_NS,
  TIMER_WRITABLE,
  Timer,
} from './spec.ts';

export interface HpetState {
  configuration: number;
  status: number;
  /** The main counter at tick 0 while it runs, or as it stands: hexadecimal. */
  base: string;
  comparators: ComparatorState[];
  /** The line that each comparator asserts: an I/O APIC input, -1 for its legacy line, -2 for none. */
  asserted: number[];
  /** Levels of the interval timer and the real-time clock. */
  inputs: boolean[];
}

interface HpetOptions {
  readonly clock: Clock;
  /**
   * A driver for an I/O APIC input; called for each comparator by itself, so that each has its own. Inputs may be shared.
   */
  readonly route: (input: number) => IrqLine;
  /** Where the interval timer and the real-time clock interrupt: IRQ0 and IRQ8. */
  readonly irq0: IrqLine;
  readonly irq8: IrqLine;
}

const LEGACY = -1;
const NONE = -2;
const LOW = 0xffff_ffffn;
const WORD = 2 ** 32;

/**
 * The high precision event timer. Edge-triggered interrupts leave their line asserted until the next one, so that an
 * 8259, which wants its input held until INTA, does not lose them. Matches that are missed while the machine is late
 * make one interrupt.
 */
export class Hpet implements MmioDevice, Stateful<HpetState> {
  readonly #clock: Clock;
  readonly #comparators = Array.from({ length: COMPARATORS }, () => new Comparator());
  readonly #routes: readonly ReadonlyMap<number, IrqLine>[];
  readonly #legacy: readonly IrqLine[];
  #configuration = 0;
  #status = 0;
  #base = 0n;
  /** The lower half of it, for the register that guests read all the time. */
  #baseLow = 0;
  #asserted = new Array<number>(COMPARATORS).fill(NONE);
  #inputs = [false, false];
  #deadline: Deadline | undefined;

  /** Outputs of the interval timer and the real-time clock, which legacy replacement cuts off. */
  readonly intervalTimer: IrqLine = { set: (level) => this.#setInput(0, level) };
  readonly realTimeClock: IrqLine = { set: (level) => this.#setInput(1, level) };

  constructor(options: HpetOptions) {
    this.#clock = options.clock;
    this.#legacy = [options.irq0, options.irq8];
    this.#routes = ROUTES.map((mask) => {
      const inputs = Array.from({ length: 32 }, (_, input) => input).filter((input) => (mask >>> input) & 1);
      return new Map(inputs.map((input) => [input, options.route(input)]));
    });
  }

  /** Registers are to be read as 32 or 64 bits (2.3); a narrower read sees its bytes. */
  readMmio(offset: number, sizeBytes: number): number {
    const value = this.#read(offset & ~3);
    return sizeBytes === 4 ? value : (value >>> (8 * (offset & 3))) & ((1 << (8 * sizeBytes)) - 1);
  }
  readMmio64(offset: number): bigint {
    if (offset === Register.MAIN_COUNTER) return this.#counter(this.#tick());
    return (BigInt(this.#read(offset + 4)) << 32n) | BigInt(this.#read(offset));
  }
  /** Narrower writes do nothing. */
  writeMmio(offset: number, sizeBytes: number, value: number): void {
    if (sizeBytes !== 4) return;
    if (offset & 4) this.#write(offset - 4, BigInt(value) << 32n, LOW << 32n);
    else this.#write(offset, BigInt(value), LOW);
  }
  writeMmio64(offset: number, value: bigint): void {
    this.#write(offset, value, (LOW << 32n) | LOW);
  }

  saveState(): HpetState {
    return {
      configuration: this.#configuration,
      status: this.#status,
      base: this.#base.toString(16),
      comparators: this.#comparators.map((comparator) => comparator.saveState()),
      asserted: [...this.#asserted],
      inputs: [...this.#inputs],
    };
  }
  restoreState(state: HpetState): void {
    this.#configuration = state.configuration;
    this.#status = state.status;
    this.#base = BigInt(`0x${state.base}`);
    this.#baseLow = Number(this.#base & LOW);
    for (const [index, comparator] of this.#comparators.entries()) comparator.restoreState(state.comparators[index]);
    this.#asserted = [...state.asserted];
    this.#inputs = [...state.inputs];
    this.#schedule();
  }

  get #enabled(): boolean {
    return (this.#configuration & Configuration.ENABLED) !== 0;
  }
  get #legacyReplacement(): boolean {
    return (this.#configuration & Configuration.LEGACY) !== 0;
  }
  #tick(): number {
    return Math.floor(this.#clock.nowNs() / TICK_NS);
  }
  #counter(tick: number): bigint {
    return this.#enabled ? BigInt.asUintN(64, this.#base + BigInt(tick)) : this.#base;
  }

  #read(offset: number): number {
    switch (offset) {
      case Register.CAPABILITIES:
        return CAPABILITIES_LOW >>> 0;
      case Register.CAPABILITIES + 4:
        return CAPABILITIES_HIGH;
      case Register.CONFIGURATION:
        return this.#configuration;
      case Register.INTERRUPT_STATUS:
        this.#sync();
        return this.#status;
      case Register.MAIN_COUNTER:
        return this.#enabled ? (this.#baseLow + this.#tick()) % WORD : this.#baseLow;
      case Register.MAIN_COUNTER + 4:
        return Number(this.#counter(this.#tick()) >> 32n);
    }
    const [index, register] = comparatorAt(offset);
    if (index < 0) return 0;
    if (register === ComparatorRegister.CONFIGURATION) {
      return this.#comparators[index].configuration | Timer.PERIODIC_CAPABLE | Timer.SIZE_64;
    }
    if (register === ComparatorRegister.CONFIGURATION + 4) return ROUTES[index];
    if ((register & ~4) !== ComparatorRegister.VALUE) return 0;
    this.#sync();
    return half(this.#comparators[index].value, register);
  }

  #write(offset: number, value: bigint, mask: bigint): void {
    this.#sync();
    const low = Number(value & mask & LOW);
    if (offset === Register.CONFIGURATION && mask & 1n) this.#configure(low);
    else if (offset === Register.INTERRUPT_STATUS) this.#status &= ~low;
    else if (offset === Register.MAIN_COUNTER) {
      // To be written while it is halted (2.3.7); a running one goes on from there.
      const tick = this.#tick();
      this.#setCounter(tick, (this.#counter(tick) & ~mask) | (value & mask));
    }
    const [index, register] = comparatorAt(offset);
    if (index >= 0) this.#writeComparator(index, register, value, mask);
    this.#drive();
    this.#schedule();
  }

  #configure(value: number): void {
    const tick = this.#tick();
    const counter = this.#counter(tick);
    const changed = value ^ this.#configuration;
    this.#configuration = value & (Configuration.ENABLED | Configuration.LEGACY);
    if (changed & Configuration.ENABLED) this.#setCounter(tick, counter);
    // The lines are the comparators' now, and what the other chips had asserted is no interrupt of theirs.
    if (changed & value & Configuration.LEGACY) for (const line of this.#legacy) line.set(false);
  }
  #setCounter(tick: number, counter: bigint): void {
    this.#base = this.#enabled ? BigInt.asUintN(64, counter - BigInt(tick)) : counter;
    this.#baseLow = Number(this.#base & LOW);
    for (const comparator of this.#comparators) {
      if (this.#enabled) comparator.arm(tick, counter);
      else comparator.disarm();
    }
  }

  #writeComparator(index: number, register: number, value: bigint, mask: bigint): void {
    const comparator = this.#comparators[index];
    if (register === ComparatorRegister.CONFIGURATION && mask & 1n) {
      const before = comparator.configuration;
      comparator.configuration = Number(value & LOW) & TIMER_WRITABLE;
      // Without level triggering the status bit has no meaning and reads as 0 (2.3.6).
      if (!(comparator.configuration & Timer.LEVEL)) this.#status &= ~(1 << index);
      if (((before ^ comparator.configuration) & (Timer.MODE_32 | Timer.PERIODIC)) === 0) return;
    } else if (register === ComparatorRegister.VALUE) {
      comparator.write(value, mask);
    } else {
      return;
    }
    const tick = this.#tick();
    if (this.#enabled) comparator.arm(tick, this.#counter(tick));
  }

  /** Matches up to now. */
  #sync(): void {
    const tick = this.#tick();
    for (const [index, comparator] of this.#comparators.entries()) {
      if (!comparator.advance(tick)) continue;
      if (comparator.configuration & Timer.LEVEL) this.#status |= 1 << index;
      else if (comparator.configuration & Timer.INTERRUPTS) this.#edge(index);
    }
    this.#drive();
  }

  /** The line that a comparator's interrupt goes to. */
  #target(index: number): number {
    const { configuration } = this.#comparators[index];
    if (!this.#enabled || !(configuration & Timer.INTERRUPTS)) return NONE;
    if (this.#legacyReplacement && index < this.#legacy.length) return LEGACY;
    const input = (configuration >> Timer.ROUTE_SHIFT) & Timer.ROUTE_MASK;
    return this.#routes[index].has(input) ? input : NONE;
  }
  #line(index: number, target: number): IrqLine | undefined {
    return target === LEGACY ? this.#legacy[index] : this.#routes[index].get(target);
  }
  #assert(index: number, target: number): void {
    if (this.#asserted[index] === target) return;
    this.#line(index, this.#asserted[index])?.set(false);
    this.#asserted[index] = target;
    this.#line(index, target)?.set(true);
  }

  #edge(index: number): void {
    this.#assert(index, NONE);
    this.#assert(index, this.#target(index));
  }
  /** Level-triggered lines follow the status; an edge's line stays as long as it is the comparator's. */
  #drive(): void {
    for (const [index, comparator] of this.#comparators.entries()) {
      const target = this.#target(index);
      const level = (comparator.configuration & Timer.LEVEL) !== 0;
      if (level) this.#assert(index, this.#status & (1 << index) ? target : NONE);
      else if (this.#asserted[index] !== target) this.#assert(index, NONE);
    }
    this.#driveInputs();
  }

  #setInput(index: number, level: boolean): void {
    this.#inputs[index] = level;
    this.#driveInputs();
  }
  #driveInputs(): void {
    if (this.#legacyReplacement) return;
    for (const [index, line] of this.#legacy.entries()) line.set(this.#inputs[index]);
  }

  #schedule(): void {
    this.#deadline?.cancel();
    this.#deadline = undefined;
    let due = Number.POSITIVE_INFINITY;
    for (const comparator of this.#comparators) {
      if (comparator.configuration & Timer.INTERRUPTS) due = Math.min(due, comparator.matchAt);
    }
    if (!Number.isFinite(due)) return;
    this.#deadline = this.#clock.at(due * TICK_NS, () => {
      this.#sync();
      this.#schedule();
    });
  }
}

const half = (value: bigint, offset: number) => (offset & 4 ? Number(value >> 32n) : Number(value & LOW));

/** Which comparator, and the offset among its registers; -1: none. */
function comparatorAt(offset: number): [number, number] {
  const from = offset - Register.COMPARATOR_0;
  const index = Math.floor(from / COMPARATOR_STRIDE);
  return from >= 0 && index < COMPARATORS ? [index, from % COMPARATOR_STRIDE] : [-1, 0];
}

import type { IrqLine, Stateful } from '../../bus/device.ts';
import type { MessageTarget } from '../apic-bus/apic-bus.ts';
import { DeliveryMode, type InterruptMessage } from '../apic-bus/message.ts';
import { isAddressed, x2apicLdr } from './destination.ts';
import { icrMessage } from './icr.ts';
import { InterruptQueue, type InterruptQueueState } from './interrupt-queue.ts';
import { LocalVectors, type LocalVectorsState } from './local-vectors.ts';
import {
  ApicBase,
  ApicError,
  DEFAULT_BASE,
  DFR_FLAT,
  FIRST_VECTOR,
  ICR_WRITABLE,
  IcrShorthand,
  isReadOnly,
  LVT_FIRST,
  Register,
  SVR_WRITABLE,
  Svr,
  VERSION,
} from './spec.ts';
import type { LocalApicOptions } from './surroundings.ts';
import { ApicTimer, type ApicTimerState } from './timer.ts';

export interface LocalApicState {
  baseLow: number;
  baseHigh: number;
  ldr: number;
  dfr: number;
  svr: number;
  esr: number;
  errors: number;
  icrLow: number;
  icrHigh: number;
  queue: InterruptQueueState;
  externalPending: boolean;
  vectors: LocalVectorsState;
  timer: ApicTimerState;
}

const registers = () => ({ ldr: 0, dfr: DFR_FLAT, svr: 0xff, esr: 0, errors: 0, icrLow: 0, icrHigh: 0 });

/**
 * The local APIC of one processor, as a register model: registers by {@link Register}, 32 bits each, unsigned.
 * The processor asks {@link hasDeliverable} and takes a vector with {@link acknowledge}; NMI, INIT and the like are
 * told to it as they come. Reset state is that of SDM vol. 3A, 10.4.7.1: software enables it, firmware sets LINT0.
 */
export class LocalApic implements MessageTarget, Stateful<LocalApicState> {
  readonly id: number;
  readonly timer: ApicTimer;
  readonly lint0: IrqLine;
  readonly lint1: IrqLine;
  readonly #options: LocalApicOptions;
  readonly #vectors: LocalVectors;
  readonly #queue = new InterruptQueue();
  #registers = registers();
  #baseLow: number;
  #baseHigh = 0;
  /** An ExtINT message that has not been acknowledged. */
  #externalPending = false;
  #deliverable = false;

  constructor(options: LocalApicOptions) {
    const { clock, nsOfTsc } = options;
    this.id = options.id;
    this.#options = options;
    this.#baseLow = (DEFAULT_BASE | ApicBase.ENABLED | (options.bootstrap ? ApicBase.BOOTSTRAP : 0)) >>> 0;
    this.#vectors = new LocalVectors({
      accept: (vector, level) => this.#accept(vector, level),
      receive: (deliveryMode) => this.#receiveEvent(deliveryMode, 0),
      changed: () => this.#update(),
    });
    const ownTsc = (low: number, high: number) => Math.ceil(((high * 2 ** 32 + low) * 1e9) / clock.tscHz);
    this.timer = new ApicTimer(clock, nsOfTsc ?? ownTsc, () => this.timerInterrupt());
    this.lint0 = { set: (asserted) => this.#vectors.setPin(0, asserted) };
    this.lint1 = { set: (asserted) => this.#vectors.setPin(1, asserted) };
    options.bus.attachLocalApic(this);
  }

  /** The interrupt of the timer's entry in the local vector table (10.5.1): its own timer's, or another's in its place. */
  timerInterrupt(): void {
    this.#vectors.deliver(Register.LVT_TIMER);
  }

  /** Whether {@link acknowledge} would answer more than the spurious vector. The processor asks before each entry. */
  hasDeliverable(): boolean {
    return this.#deliverable;
  }

  /** The interrupt that the processor takes now; it is in service from here on (10.8.3). */
  acknowledge(): number {
    const vector = this.#acknowledge();
    this.#update();
    return vector;
  }

  /** CR8: the task-priority class (10.8.6). */
  get cr8(): number {
    return this.#queue.tpr >> 4;
  }
  set cr8(priority: number) {
    this.#queue.tpr = priority << 4;
    this.#update();
  }

  /** IA32_APIC_BASE in halves; `apic-msrs.ts` holds its rules. */
  get base(): { readonly low: number; readonly high: number } {
    return { low: this.#baseLow, high: this.#baseHigh };
  }
  setBase(low: number, high: number): void {
    const wasEnabled = this.enabled;
    this.#baseLow = low;
    this.#baseHigh = high;
    // Disabling it takes it back to its state after power-up (10.4.3).
    if (wasEnabled && !this.enabled) this.#reset();
    this.#vectors.hardwareEnabled = this.enabled;
    this.#update();
  }
  get enabled(): boolean {
    return (this.#baseLow & ApicBase.ENABLED) !== 0;
  }
  get x2apic(): boolean {
    return (this.#baseLow & ApicBase.X2APIC) !== 0;
  }
  /** Guest-physical address of the register page; `undefined` while there is none. */
  get pageGpa(): number | undefined {
    if (!this.enabled || this.x2apic) return undefined;
    return this.#baseHigh * 2 ** 32 + ((this.#baseLow & 0xffff_f000) >>> 0);
  }

  /** What firmware leaves behind on the bootstrap processor: enabled, LINT0 for the 8259s, LINT1 for NMI. */
  enterVirtualWireMode(): void {
    this.writeRegister(Register.SVR, Svr.ENABLED | this.#registers.svr);
    this.writeRegister(Register.LVT_LINT0, DeliveryMode.EXT_INT << 8);
    this.writeRegister(Register.LVT_LINT1, DeliveryMode.NMI << 8);
  }

  // --- messages ---

  get acceptsFixed(): boolean {
    return this.enabled && (this.#registers.svr & Svr.ENABLED) !== 0;
  }

  matches(destination: number, logical: boolean): boolean {
    const { id, x2apic } = this;
    return this.enabled && isAddressed({ id, x2apic, ldr: this.#ldr, dfr: this.#registers.dfr }, destination, logical);
  }

  receive(message: InterruptMessage): boolean {
    if (!this.enabled) return false;
    const { deliveryMode, vector, asserted } = message;
    if (deliveryMode === DeliveryMode.FIXED || deliveryMode === DeliveryMode.LOWEST_PRIORITY) {
      return this.#accept(vector, message.level);
    }
    if (asserted) this.#receiveEvent(deliveryMode, vector);
    return true;
  }

  get processorPriority(): number {
    return this.#queue.processorPriority;
  }

  // --- registers ---

  /** Registers that are not there read as 0 and count as an error. Timing and ISR, TMR, IRR banks included. */
  readRegister(register: number): number {
    const own = this.#registers;
    switch (register) {
      case Register.ID:
        return this.x2apic ? this.id : (this.id << 24) >>> 0;
      case Register.VERSION:
        return VERSION;
      case Register.TPR:
        return this.#queue.tpr;
      case Register.PPR:
        return this.processorPriority;
      case Register.APR:
      case Register.EOI:
      case Register.RRD:
        return 0;
      case Register.LDR:
        return this.#ldr;
      case Register.DFR:
        return own.dfr;
      case Register.SVR:
        return own.svr;
      case Register.ESR:
        return own.esr;
      case Register.ICR_LOW:
        return own.icrLow;
      case Register.ICR_HIGH:
        return own.icrHigh;
      case Register.INITIAL_COUNT:
        return this.timer.initialCount;
      case Register.CURRENT_COUNT:
        return this.timer.currentCount;
      case Register.DIVIDE:
        return this.timer.divideConfiguration;
      default:
        return this.#readBank(register);
    }
  }

  /** @param value unsigned, 32 bits. Writes to what is read-only do nothing. */
  writeRegister(register: number, value: number): void {
    const own = this.#registers;
    switch (register) {
      case Register.EOI:
        this.#endOfInterrupt();
        break;
      case Register.TPR:
        this.#queue.tpr = value & 0xff;
        this.#update();
        break;
      case Register.LDR:
        own.ldr = (value & 0xff00_0000) >>> 0;
        break;
      case Register.DFR:
        own.dfr = (value | 0x0fff_ffff) >>> 0;
        break;
      case Register.SVR:
        this.#writeSpurious(value & SVR_WRITABLE);
        break;
      case Register.ESR:
        own.esr = own.errors;
        own.errors = 0;
        break;
      case Register.ICR_LOW:
        this.#sendCommand(value);
        break;
      case Register.ICR_HIGH:
        own.icrHigh = this.x2apic ? value : (value & 0xff00_0000) >>> 0;
        break;
      case Register.INITIAL_COUNT:
        this.timer.initialCount = value;
        break;
      case Register.DIVIDE:
        this.timer.divideConfiguration = value;
        break;
      default:
        this.#writeLocalVector(register, value);
    }
  }

  /** The SELF IPI register of x2APIC (10.12.11). */
  sendToSelf(vector: number): void {
    if (vector < FIRST_VECTOR) this.#error(ApicError.SEND_ILLEGAL_VECTOR);
    else this.#accept(vector, false);
  }

  saveState(): LocalApicState {
    return {
      ...this.#registers,
      baseLow: this.#baseLow,
      baseHigh: this.#baseHigh,
      queue: this.#queue.saveState(),
      externalPending: this.#externalPending,
      vectors: this.#vectors.saveState(),
      timer: this.timer.saveState(),
    };
  }
  restoreState(state: LocalApicState): void {
    const { baseLow, baseHigh, queue, externalPending, vectors, timer, ...own } = state;
    this.#registers = own;
    this.#baseLow = baseLow;
    this.#baseHigh = baseHigh;
    this.#queue.restoreState(queue);
    this.#externalPending = externalPending;
    this.#vectors.restoreState(vectors);
    this.timer.restoreState(timer);
    this.#deliverable = this.#findDeliverable();
  }

  get #ldr(): number {
    return this.x2apic ? x2apicLdr(this.id) : this.#registers.ldr;
  }

  #readBank(register: number): number {
    const index = register & 7;
    switch (register & ~7) {
      case Register.ISR:
        return this.#queue.isr.word(index);
      case Register.TMR:
        return this.#queue.tmr.word(index);
      case Register.IRR:
        return this.#queue.irr.word(index);
    }
    if (this.#vectors.has(register)) return this.#vectors.read(register);
    this.#error(ApicError.ILLEGAL_REGISTER);
    return 0;
  }

  #writeLocalVector(register: number, value: number): void {
    if (!this.#vectors.has(register)) {
      if (!isReadOnly(register)) this.#error(ApicError.ILLEGAL_REGISTER);
      return;
    }
    this.#vectors.write(register, value);
    if (register === LVT_FIRST) this.timer.mode = this.#vectors.timerMode;
  }

  #writeSpurious(value: number): void {
    const wasEnabled = this.acceptsFixed;
    this.#registers.svr = value;
    this.#vectors.softwareEnabled = (value & Svr.ENABLED) !== 0;
    if (!wasEnabled && this.acceptsFixed) this.#options.bus.retry();
  }

  // --- interrupts ---

  #accept(vector: number, level: boolean): boolean {
    if (!this.acceptsFixed) return false;
    if (vector < FIRST_VECTOR) {
      this.#error(ApicError.RECEIVE_ILLEGAL_VECTOR);
      return false;
    }
    this.#queue.request(vector, level);
    this.#update();
    return true;
  }

  #receiveEvent(deliveryMode: number, vector: number): void {
    const { processor } = this.#options;
    switch (deliveryMode) {
      case DeliveryMode.SMI:
        processor.smi();
        break;
      case DeliveryMode.NMI:
        processor.nmi();
        break;
      case DeliveryMode.INIT:
        this.#reset();
        processor.init();
        break;
      case DeliveryMode.STARTUP:
        processor.startup(vector);
        break;
      case DeliveryMode.EXT_INT:
        this.#externalPending = true;
        this.#update();
        break;
    }
  }

  /** SDM vol. 3A, 10.4.7.1 and 10.4.7.3: IA32_APIC_BASE and the APIC ID stay. */
  #reset(): void {
    this.#registers = registers();
    this.#queue.clear();
    this.#externalPending = false;
    this.#vectors.reset();
    this.timer.reset();
    this.#update();
  }

  get #externalDeliverable(): boolean {
    return this.#externalPending || this.#vectors.externalAsserted;
  }
  #findDeliverable(): boolean {
    return this.#externalDeliverable || this.#queue.hasDeliverable();
  }
  #update(): void {
    const deliverable = this.#findDeliverable();
    if (deliverable === this.#deliverable) return;
    this.#deliverable = deliverable;
    if (deliverable) this.#options.processor.interruptPending();
  }

  #acknowledge(): number {
    if (this.#externalDeliverable) {
      this.#externalPending = false;
      return this.#options.acknowledgeExternal();
    }
    return this.#queue.hasDeliverable() ? this.#queue.take() : this.#registers.svr & Svr.VECTOR;
  }

  #endOfInterrupt(): void {
    const vector = this.#queue.end();
    if (vector < 0) return;
    if (this.#queue.tmr.has(vector)) {
      this.#vectors.endOfInterrupt(vector);
      if (!(this.#registers.svr & Svr.SUPPRESS_EOI_BROADCAST)) this.#options.bus.endOfInterrupt(vector);
    }
    this.#update();
  }

  #sendCommand(value: number): void {
    const own = this.#registers;
    own.icrLow = value & ICR_WRITABLE;
    const message = icrMessage(own.icrLow, own.icrHigh, this.x2apic);
    if (!message) return;
    const { bus } = this.#options;
    const fixed = message.deliveryMode <= DeliveryMode.LOWEST_PRIORITY;
    if (fixed && message.vector < FIRST_VECTOR) {
      this.#error(ApicError.SEND_ILLEGAL_VECTOR);
      return;
    }
    const shorthand = own.icrLow >>> 18;
    if (shorthand === IcrShorthand.NONE) bus.deliver(message);
    else if (shorthand === IcrShorthand.SELF) this.receive(message);
    else bus.deliverToOthers(message, this, shorthand === IcrShorthand.ALL);
  }

  /** ESR shows it at the next write to it (10.5.3); the error interrupt comes at once. */
  #error(bit: number): void {
    const own = this.#registers;
    if (own.errors & bit) return;
    own.errors |= bit;
    this.#vectors.deliver(Register.LVT_ERROR);
  }
}

import type { IrqLine, MmioDevice, Stateful } from '../../bus/device.ts';
import type { ApicBus, EoiListener } from '../apic-bus/apic-bus.ts';
import { DeliveryMode, widenDestination } from '../apic-bus/message.ts';
import { DESTINATION_MASK, ENTRY_WRITABLE, Entry, ID_MASK, PIN_COUNT, Register, VERSION, Window } from './spec.ts';

export interface IoApicState {
  id: number;
  select: number;
  /** Redirection entries in halves. */
  low: number[];
  high: number[];
  lines: boolean[];
}

/**
 * An I/O APIC. A level-triggered pin sends one message, then none until its end was broadcast; a pin that is still
 * asserted then sends the next. An edge on a masked pin is lost (82093AA, 3.2.4, "Interrupt mask").
 */
export class IoApic implements MmioDevice, EoiListener, Stateful<IoApicState> {
  readonly #bus: ApicBus;
  #state: IoApicState = {
    id: 0,
    select: 0,
    low: new Array(PIN_COUNT).fill(Entry.MASKED),
    high: new Array(PIN_COUNT).fill(0),
    lines: new Array(PIN_COUNT).fill(false),
  };

  /** @param id as software finds it in the ID register, 0 to 15 */
  constructor(bus: ApicBus, id: number) {
    this.#bus = bus;
    this.#state.id = (id << 24) & ID_MASK;
    bus.attachIoApic(this);
  }

  /** @throws RangeError unless `index` is 0 to 23 */
  pin(index: number): IrqLine {
    if (!Number.isInteger(index) || index < 0 || index >= PIN_COUNT) {
      throw new RangeError(`the I/O APIC has no pin ${index}`);
    }
    return { set: (asserted) => this.#setPin(index, asserted) };
  }

  /** Only IOREGSEL and IOWIN answer; a narrow access sees their bytes from the lowest on. */
  readMmio(offset: number, sizeBytes: number): number {
    const value = this.#readWindow(offset & ~3);
    return sizeBytes === 4 ? value : (value >>> (8 * (offset & 3))) & ((1 << (8 * sizeBytes)) - 1);
  }

  /** The select register takes its byte alone; the data and EOI registers must be written as 32 bits (82093AA, 3.1). */
  writeMmio(offset: number, sizeBytes: number, value: number): void {
    if (offset === Window.SELECT) this.#state.select = value & 0xff;
    else if (offset === Window.DATA && sizeBytes === 4) this.#writeRegister(this.#state.select, value);
    else if (offset === Window.EOI) this.endOfInterrupt(value & Entry.VECTOR);
  }

  endOfInterrupt(vector: number): void {
    const { low } = this.#state;
    for (let pin = 0; pin < PIN_COUNT; pin++) {
      if ((low[pin] & Entry.VECTOR) !== vector || !(low[pin] & Entry.REMOTE_IRR)) continue;
      low[pin] &= ~Entry.REMOTE_IRR;
      this.#serveLevel(pin);
    }
  }

  /** Level-triggered requests stand until they are taken. */
  retry(): void {
    for (let pin = 0; pin < PIN_COUNT; pin++) this.#serveLevel(pin);
  }

  saveState(): IoApicState {
    const { low, high, lines, ...rest } = this.#state;
    return { ...rest, low: [...low], high: [...high], lines: [...lines] };
  }
  restoreState(state: IoApicState): void {
    this.#state = { ...state, low: [...state.low], high: [...state.high], lines: [...state.lines] };
  }

  #readWindow(offset: number): number {
    const { select } = this.#state;
    if (offset === Window.SELECT) return select;
    return offset === Window.DATA ? this.#readRegister(select) : 0;
  }

  #readRegister(register: number): number {
    const { id, low, high } = this.#state;
    switch (register) {
      case Register.ID:
      case Register.ARBITRATION:
        return id;
      case Register.VERSION:
        return VERSION;
    }
    const half = register - Register.REDIRECTION;
    if (half < 0 || half >= 2 * PIN_COUNT) return 0;
    return half & 1 ? high[half >> 1] : low[half >> 1];
  }

  #writeRegister(register: number, value: number): void {
    const state = this.#state;
    if (register === Register.ID) state.id = value & ID_MASK;
    const half = register - Register.REDIRECTION;
    if (half < 0 || half >= 2 * PIN_COUNT) return;
    const pin = half >> 1;
    if (half & 1) {
      state.high[pin] = (value & DESTINATION_MASK) >>> 0;
      return;
    }
    // An edge-triggered entry has no remote IRR: writing it so ends what was under way.
    const remoteIrr = value & Entry.LEVEL ? state.low[pin] & Entry.REMOTE_IRR : 0;
    state.low[pin] = (value & ENTRY_WRITABLE) | remoteIrr;
    this.#serveLevel(pin);
  }

  #setPin(pin: number, asserted: boolean): void {
    const { lines, low } = this.#state;
    if (lines[pin] === asserted) return;
    lines[pin] = asserted;
    if (!asserted) return;
    if (low[pin] & Entry.LEVEL) this.#serveLevel(pin);
    else if (!(low[pin] & Entry.MASKED)) this.#send(pin);
  }

  #serveLevel(pin: number): void {
    const { lines, low } = this.#state;
    const entry = low[pin];
    if (!lines[pin] || !(entry & Entry.LEVEL) || entry & (Entry.MASKED | Entry.REMOTE_IRR)) return;
    // Set before sending: whoever takes the message may end it within.
    low[pin] |= Entry.REMOTE_IRR;
    const mode = (entry >> Entry.MODE_SHIFT) & 7;
    const ends = mode === DeliveryMode.FIXED || mode === DeliveryMode.LOWEST_PRIORITY;
    if (!this.#send(pin) || !ends) low[pin] &= ~Entry.REMOTE_IRR;
  }

  #send(pin: number): boolean {
    const entry = this.#state.low[pin];
    const logical = (entry & Entry.LOGICAL) !== 0;
    const deliveryMode = (entry >> Entry.MODE_SHIFT) & 7;
    return this.#bus.deliver({
      destination: widenDestination(this.#state.high[pin] >>> 24, logical),
      logical,
      deliveryMode,
      vector: entry & Entry.VECTOR,
      level: (entry & Entry.LEVEL) !== 0,
      asserted: true,
    });
  }
}

import type { Stateful } from '../../bus/device.ts';
import { DeliveryMode } from '../apic-bus/message.ts';
import { FIRST_VECTOR, LVT_FIRST, LVT_WRITABLE, Lvt, Register } from './spec.ts';

export interface LocalVectorsState {
  entries: number[];
  pins: [boolean, boolean];
  softwareEnabled: boolean;
  hardwareEnabled: boolean;
}

/** What the local vector table does with the APIC around it. */
interface Outlet {
  accept(vector: number, level: boolean): boolean;
  /** NMI, SMI, INIT. */
  receive(deliveryMode: number): void;
  /** {@link LocalVectors.externalAsserted} may have changed. */
  changed(): void;
}

const MASKED_ENTRIES = LVT_WRITABLE.map((): number => Lvt.MASKED);
const LINT0 = Register.LVT_LINT0 - LVT_FIRST;

/** The local vector table and the two pins (SDM vol. 3A, 10.5.1). */
export class LocalVectors implements Stateful<LocalVectorsState> {
  readonly #outlet: Outlet;
  #state: LocalVectorsState = {
    entries: [...MASKED_ENTRIES],
    pins: [false, false],
    softwareEnabled: false,
    hardwareEnabled: true,
  };

  constructor(outlet: Outlet) {
    this.#outlet = outlet;
  }

  has(register: number): boolean {
    return register >= LVT_FIRST && register < LVT_FIRST + LVT_WRITABLE.length;
  }
  read(register: number): number {
    return this.#state.entries[register - LVT_FIRST];
  }
  write(register: number, value: number): void {
    const index = register - LVT_FIRST;
    const { entries, softwareEnabled, pins } = this.#state;
    entries[index] = (value & LVT_WRITABLE[index]) | (entries[index] & Lvt.REMOTE_IRR);
    // Remote IRR is a level-triggered fixed interrupt's (10.5.1).
    if (!isLevelTriggered(entries[index])) entries[index] &= ~Lvt.REMOTE_IRR;
    if (!softwareEnabled) entries[index] |= Lvt.MASKED;
    if (index >= LINT0 && pins[index - LINT0]) this.#deliverLevel(index);
    this.#outlet.changed();
  }
  get timerMode(): number {
    return (this.#state.entries[0] >> Lvt.TIMER_MODE_SHIFT) & 3;
  }

  /** While software has the APIC disabled every entry is masked (10.4.7.2). */
  set softwareEnabled(enabled: boolean) {
    const state = this.#state;
    state.softwareEnabled = enabled;
    if (!enabled) state.entries = state.entries.map((entry) => entry | Lvt.MASKED);
    this.#outlet.changed();
  }
  /** With the APIC disabled in IA32_APIC_BASE the pins are INTR and NMI of a processor without APIC (10.4.3). */
  set hardwareEnabled(enabled: boolean) {
    this.#state.hardwareEnabled = enabled;
  }

  reset(): void {
    const { pins, hardwareEnabled } = this.#state;
    this.#state = { entries: [...MASKED_ENTRIES], pins, hardwareEnabled, softwareEnabled: false };
  }

  /** Whether the 8259s ask for the processor through LINT0. */
  get externalAsserted(): boolean {
    const { pins, entries, hardwareEnabled } = this.#state;
    if (!pins[0]) return false;
    if (!hardwareEnabled) return true;
    return !(entries[LINT0] & Lvt.MASKED) && modeOf(entries[LINT0]) === DeliveryMode.EXT_INT;
  }

  /** @param pin 0 or 1 */
  setPin(pin: number, asserted: boolean): void {
    const { pins, entries, hardwareEnabled } = this.#state;
    if (pins[pin] === asserted) return;
    pins[pin] = asserted;
    const index = LINT0 + pin;
    if (asserted && hardwareEnabled) {
      if (isLevelTriggered(entries[index])) this.#deliverLevel(index);
      else this.deliver(LVT_FIRST + index);
    } else if (asserted && pin === 1) {
      this.#outlet.receive(DeliveryMode.NMI);
    }
    this.#outlet.changed();
  }

  /** A local source has an interrupt. */
  deliver(register: number): void {
    const entry = this.#state.entries[register - LVT_FIRST];
    if (entry & Lvt.MASKED) return;
    // The timer and the error entry have no delivery mode. ExtINT is LINT0's level, see externalAsserted.
    const mode =
      register === Register.LVT_TIMER || register === Register.LVT_ERROR ? DeliveryMode.FIXED : modeOf(entry);
    const vector = entry & Lvt.VECTOR;
    if (mode === DeliveryMode.FIXED) {
      // An illegal vector of the error entry itself would be an error without end.
      if (register !== Register.LVT_ERROR || vector >= FIRST_VECTOR) this.#outlet.accept(vector, false);
    } else if (mode === DeliveryMode.NMI || mode === DeliveryMode.SMI || mode === DeliveryMode.INIT) {
      this.#outlet.receive(mode);
    }
  }

  /** EOI of a level-triggered vector: a pin that is still asserted asks again. */
  endOfInterrupt(vector: number): void {
    const { entries, pins } = this.#state;
    for (const pin of [0, 1]) {
      const index = LINT0 + pin;
      if ((entries[index] & Lvt.VECTOR) !== vector || !(entries[index] & Lvt.REMOTE_IRR)) continue;
      entries[index] &= ~Lvt.REMOTE_IRR;
      if (pins[pin]) this.#deliverLevel(index);
    }
  }

  saveState(): LocalVectorsState {
    const { entries, pins, ...rest } = this.#state;
    return { ...rest, entries: [...entries], pins: [...pins] };
  }
  restoreState(state: LocalVectorsState): void {
    this.#state = { ...state, entries: [...state.entries], pins: [...state.pins] };
  }

  #deliverLevel(index: number): void {
    const { entries } = this.#state;
    const entry = entries[index];
    if (!isLevelTriggered(entry) || entry & (Lvt.MASKED | Lvt.REMOTE_IRR)) return;
    if (this.#outlet.accept(entry & Lvt.VECTOR, true)) entries[index] |= Lvt.REMOTE_IRR;
  }
}

const modeOf = (entry: number) => (entry >> Lvt.MODE_SHIFT) & 7;
const isLevelTriggered = (entry: number) => (entry & Lvt.LEVEL) !== 0 && modeOf(entry) === DeliveryMode.FIXED;

import type { Clock, ConsolePort } from '@polyvisor/plugin-api';
import type { IrqLine, PortDevice } from '../../bus/device.ts';
import {
  CHARACTER_NS,
  DIVISOR_115200,
  Enable,
  FIFO_BYTES,
  FifoControl,
  Identification,
  LINE_CONTROL_DIVISOR,
  LineStatus,
  ModemControl,
  ModemStatus,
  Register,
  TRIGGER_LEVELS,
} from './spec.ts';

/** The other end is there and ready. */
const CONNECTED = ModemStatus.cts | ModemStatus.dsr | ModemStatus.carrierDetect;
/** Output is handed on in pieces of so many bytes at most. */
const OUTPUT_BYTES = 1024;
/** A line is handed on as soon as it ends, unless another one has been so shortly before; then with what comes after it. */
const LINE_INTERVAL_NS = 1_000_000;
const LINE_FEED = 0x0a;

/** A 16550A with the guest's console at the other end of its line. */
export class Uart implements PortDevice {
  readonly cycleBytes = 1;
  readonly #irq: IrqLine;
  readonly #clock: Clock;
  readonly #console: ConsolePort;
  readonly #output = new Uint8Array(OUTPUT_BYTES);
  #outputBytes = 0;
  #lastLineNs = -LINE_INTERVAL_NS;

  #interruptEnable = 0;
  #lineControl = 0;
  #modemControl = 0;
  #scratch = 0;
  #divisor = DIVISOR_115200;
  #fifoEnabled = false;
  #trigger: number = TRIGGER_LEVELS[0];
  #overrun = false;
  /** The transmitter-empty interrupt is an edge: reading its identification clears it. */
  #emptyInterrupt = false;
  #modemStatus: number = CONNECTED;
  readonly #received: number[] = [];
  /** What the operator has typed and the line has not carried yet. */
  readonly #typed: Uint8Array[] = [];
  #arrivalPlanned = false;

  constructor(wiring: { irq: IrqLine; clock: Clock; console: ConsolePort }) {
    this.#irq = wiring.irq;
    this.#clock = wiring.clock;
    this.#console = wiring.console;
    this.#console.onInput((bytes) => {
      if (bytes.length === 0) return;
      this.#typed.push(bytes);
      if (!this.#arrivalPlanned) this.#arrive();
    });
  }

  readPort(offset: number): number {
    const divisor = (this.#lineControl & LINE_CONTROL_DIVISOR) !== 0;
    switch (offset) {
      case Register.data:
        return divisor ? this.#divisor & 0xff : this.#takeReceived();
      case Register.interruptEnable:
        return divisor ? this.#divisor >> 8 : this.#interruptEnable;
      case Register.interruptIdFifo:
        return this.#takeIdentification();
      case Register.lineControl:
        return this.#lineControl;
      case Register.modemControl:
        return this.#modemControl;
      case Register.lineStatus:
        return this.#takeLineStatus();
      case Register.modemStatus:
        return this.#takeModemStatus();
      default:
        return this.#scratch;
    }
  }

  writePort(offset: number, _sizeBytes: number, value: number): void {
    const divisor = (this.#lineControl & LINE_CONTROL_DIVISOR) !== 0;
    switch (offset) {
      case Register.data:
        if (divisor) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#transmit(value);
        break;
      case Register.interruptEnable:
        if (divisor) this.#divisor = (this.#divisor & 0xff) | (value << 8);
        else this.#enableInterrupts(value & 0x0f);
        break;
      case Register.interruptIdFifo:
        this.#controlFifos(value);
        break;
      case Register.lineControl:
        this.#lineControl = value;
        break;
      case Register.modemControl:
        this.#controlModem(value & ModemControl.mask);
        break;
      case Register.scratch:
        this.#scratch = value;
        break;
      // Line and modem status are for reading; writes to them are for factory tests.
      default:
    }
    this.#update();
  }

  /** Hand the console what has been sent since the last time. */
  flush(): void {
    if (this.#outputBytes === 0) return;
    const bytes = this.#output.slice(0, this.#outputBytes);
    this.#outputBytes = 0;
    this.#console.write(bytes);
  }

  #transmit(value: number): void {
    if (this.#modemControl & ModemControl.loopback) this.#receive(value);
    else {
      this.#output[this.#outputBytes++] = value;
      if (this.#outputBytes === OUTPUT_BYTES || (value === LINE_FEED && this.#isLineDue())) this.flush();
    }
    this.#emptyInterrupt = true;
  }

  #isLineDue(): boolean {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#lastLineNs < LINE_INTERVAL_NS) return false;
    this.#lastLineNs = nowNs;
    return true;
  }

  #enableInterrupts(value: number): void {
    // Enabling it while the holding register is empty raises it (PC16550D, 8.6.3).
    if (value & ~this.#interruptEnable & Enable.transmitterEmpty) this.#emptyInterrupt = true;
    this.#interruptEnable = value;
  }

  #controlFifos(value: number): void {
    const enabled = (value & FifoControl.enable) !== 0;
    if (enabled !== this.#fifoEnabled || value & FifoControl.clearReceiver) this.#received.length = 0;
    this.#fifoEnabled = enabled;
    this.#trigger = enabled ? TRIGGER_LEVELS[value >> FifoControl.triggerShift] : 1;
  }

  /** In loopback the modem outputs are the modem inputs: DTR is DSR, RTS is CTS, OUT1 is RI, OUT2 is DCD (8.8). */
  #controlModem(value: number): void {
    this.#modemControl = value;
    let lines: number = CONNECTED;
    if (value & ModemControl.loopback) {
      lines = 0;
      if (value & ModemControl.dtr) lines |= ModemStatus.dsr;
      if (value & ModemControl.rts) lines |= ModemStatus.cts;
      if (value & ModemControl.out1) lines |= ModemStatus.ring;
      if (value & ModemControl.out2) lines |= ModemStatus.carrierDetect;
    }
    const before = this.#modemStatus;
    let changed = ((before ^ lines) & (ModemStatus.cts | ModemStatus.dsr | ModemStatus.carrierDetect)) >> 4;
    if (before & ~lines & ModemStatus.ring) changed |= ModemStatus.trailingEdgeRing;
    this.#modemStatus = lines | (before & 0x0f) | changed;
  }

  #receive(value: number): void {
    if (this.#received.length < (this.#fifoEnabled ? FIFO_BYTES : 1)) this.#received.push(value);
    else this.#overrun = true;
  }

  /** What the line carries now: as much as the receiver has room for. */
  #arrive(): void {
    this.#arrivalPlanned = false;
    const room = (this.#fifoEnabled ? FIFO_BYTES : 1) - this.#received.length;
    let arrived = 0;
    while (arrived < room && this.#typed.length > 0) {
      const [first] = this.#typed;
      const taken = first.subarray(0, room - arrived);
      for (const byte of taken) this.#received.push(byte);
      arrived += taken.length;
      if (taken.length === first.length) this.#typed.shift();
      else this.#typed[0] = first.subarray(taken.length);
    }
    if (this.#typed.length > 0) {
      this.#arrivalPlanned = true;
      this.#clock.at(this.#clock.nowNs() + CHARACTER_NS * Math.max(1, arrived), () => this.#arrive());
    }
    this.#update();
  }

  #takeReceived(): number {
    const value = this.#received.shift() ?? 0;
    this.#update();
    return value;
  }

  #takeLineStatus(): number {
    let status = LineStatus.transmitterHoldingEmpty | LineStatus.transmitterEmpty;
    if (this.#received.length > 0) status |= LineStatus.dataReady;
    if (this.#overrun) status |= LineStatus.overrun;
    this.#overrun = false;
    this.#update();
    return status;
  }

  #takeModemStatus(): number {
    const status = this.#modemStatus;
    this.#modemStatus &= 0xf0;
    this.#update();
    return status;
  }

  #takeIdentification(): number {
    const identification = this.#identification();
    if (identification === Identification.transmitterEmpty) {
      this.#emptyInterrupt = false;
      this.#update();
    }
    return identification | (this.#fifoEnabled ? Identification.fifosEnabled : 0);
  }

  /** The interrupt of the highest priority that is enabled and pending. */
  #identification(): number {
    const enabled = this.#interruptEnable;
    if (enabled & Enable.lineStatus && this.#overrun) return Identification.lineStatus;
    const waiting = this.#received.length;
    // Fewer characters than the trigger level time out; the line is idle as soon as they are there.
    if (enabled & Enable.received && waiting > 0) {
      return waiting >= this.#trigger ? Identification.received : Identification.timeout;
    }
    if (enabled & Enable.transmitterEmpty && this.#emptyInterrupt) return Identification.transmitterEmpty;
    if (enabled & Enable.modemStatus && this.#modemStatus & 0x0f) return Identification.modemStatus;
    return Identification.none;
  }

  /** A PC leads the interrupt through a gate that OUT2 opens; in loopback OUT2 is inactive. */
  #update(): void {
    const gate = this.#modemControl & (ModemControl.out2 | ModemControl.loopback);
    this.#irq.set(gate === ModemControl.out2 && this.#identification() !== Identification.none);
  }
}

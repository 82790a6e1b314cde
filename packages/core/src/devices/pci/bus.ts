import { readMemory, readPorts, writeMemory, writePorts } from '../../bus/cycles.ts';
import type { IrqLine, PortDevice } from '../../bus/device.ts';
import type { SubtractiveMemory } from '../../bus/mmio-bus.ts';
import type { SubtractivePorts } from '../../bus/port-bus.ts';
import { SharedLine } from '../../bus/shared-line.ts';
import type { MessageSink, PciFunction } from './function.ts';
import { BAR_COUNT, CONFIG_ENABLE, Command, Config } from './spec.ts';

const FUNCTIONS = 8;
const DEVICES = 32;
/** INTA to INTD of all slots come together in as many wires. */
const WIRES = 4;
/** INTA to INTD of a function. */
const PINS = 4;

/** Which wire a slot's pin is connected to, as the _PRT in the DSDT says too (PCI 3.0, 2.2.6, rotated by device). */
export const wireOf = (device: number, pin: number): number => (device + pin - 1) % WIRES;

/** Where firmware may put base address registers. */
export interface PciWindows {
  readonly memory: { readonly first: number; readonly sizeBytes: number };
  readonly ports: { readonly first: number; readonly sizeBytes: number };
}

/** PCI bus 0: its functions, and who of them answers where. */
export class PciBus implements SubtractivePorts, SubtractiveMemory {
  readonly #functions = new Map<number, PciFunction>();
  readonly #wires: readonly SharedLine[];
  readonly #sendMessage: MessageSink;

  constructor(wires: readonly IrqLine[], sendMessage: MessageSink) {
    this.#wires = wires.map((wire) => new SharedLine(wire));
    this.#sendMessage = sendMessage;
  }

  /**
   * Put a function into a slot, or into the first one that is free. `onPin` takes its interrupts in place of the bus's wires.
   * @throws RangeError if the slot is taken, or all are
   */
  plug(device: PciFunction, slot = this.#freeSlot(), number = 0, onPin?: (asserted: boolean) => void): void {
    const key = slot * FUNCTIONS + number;
    if (slot >= DEVICES || number >= FUNCTIONS || this.#functions.has(key)) {
      throw new RangeError(`no PCI slot ${slot}.${number} for ${device.name}`);
    }
    this.#functions.set(key, device);
    const pins = Array.from({ length: PINS }, (_, i) => this.#wires[wireOf(slot, i + 1)].source());
    const setPin = (pin: number, asserted: boolean) => (onPin ? onPin(asserted) : pins[pin - 1].set(asserted));
    device.plugInto({ setPin, sendMessage: this.#sendMessage });
    if (number > 0) this.#functions.get(slot * FUNCTIONS)?.markMultiFunction();
  }
  #freeSlot(): number {
    let slot = 0;
    while (slot < DEVICES && this.#functions.has(slot * FUNCTIONS)) slot++;
    return slot;
  }

  get functions(): Iterable<readonly [slot: number, number: number, PciFunction]> {
    return [...this.#functions].map(([key, device]) => [key >> 3, key & 7, device] as const);
  }

  /** Configuration space of a function on bus 0; all ones where there is none (3.2.2.3.4). */
  readConfig(address: number, sizeBytes: number): number {
    const target = this.#target(address);
    return target ? target.readConfig(address & 0xff, sizeBytes) : 0xffffffff >>> (32 - 8 * sizeBytes);
  }
  writeConfig(address: number, sizeBytes: number, value: number): void {
    this.#target(address)?.writeConfig(address & 0xff, sizeBytes, value);
  }
  #target(address: number): PciFunction | undefined {
    const bus = (address >>> 16) & 0xff;
    return bus === 0 ? this.#functions.get((address >>> 8) & 0xff) : undefined;
  }

  readPort(port: number, sizeBytes: number): number | undefined {
    for (const device of this.#functions.values()) {
      const hit = device.findPorts(port, sizeBytes);
      if (hit) return readPorts(hit.bar.device, hit.offset, sizeBytes);
    }
    return undefined;
  }
  writePort(port: number, sizeBytes: number, value: number): boolean {
    for (const device of this.#functions.values()) {
      const hit = device.findPorts(port, sizeBytes);
      if (!hit) continue;
      writePorts(hit.bar.device, hit.offset, sizeBytes, value);
      return true;
    }
    return false;
  }
  readMemory(gpa: number, into: Uint8Array): boolean {
    for (const device of this.#functions.values()) {
      const hit = device.findMemory(gpa, into.length);
      if (!hit) continue;
      readMemory(hit.bar.device, hit.offset, into);
      return true;
    }
    return false;
  }
  writeMemory(gpa: number, bytes: Uint8Array): boolean {
    for (const device of this.#functions.values()) {
      const hit = device.findMemory(gpa, bytes.length);
      if (!hit) continue;
      writeMemory(hit.bar.device, hit.offset, bytes);
      return true;
    }
    return false;
  }

  /**
   * What firmware does before it starts an operating system: give every BAR an address, switch decoding on, write the
   * interrupt lines down. @throws RangeError if a window is too small
   */
  assignResources(windows: PciWindows, irqOfWire: readonly number[]): void {
    let memoryAt = windows.memory.first;
    let portAt = windows.ports.first;
    for (const [slot, , device] of this.functions) {
      let enable = 0;
      for (let i = 0; i < BAR_COUNT; i++) {
        const bar = device.bars[i];
        if (!bar) continue;
        const isIo = bar.kind === 'io';
        const at = Math.ceil((isIo ? portAt : memoryAt) / bar.sizeBytes) * bar.sizeBytes;
        const window = isIo ? windows.ports : windows.memory;
        if (at + bar.sizeBytes > window.first + window.sizeBytes)
          throw new RangeError(`no room for BAR ${i} of ${device.name}`);
        if (isIo) portAt = at + bar.sizeBytes;
        else memoryAt = at + bar.sizeBytes;
        device.writeConfig(Config.bar0 + 4 * i, 4, at);
        enable |= isIo ? Command.ioSpace : Command.memorySpace;
      }
      device.writeConfig(Config.command, 2, enable);
      const pin = device.readConfig(Config.interruptPin, 1);
      if (pin > 0) device.writeConfig(Config.interruptLine, 1, irqOfWire[wireOf(slot, pin)]);
    }
  }
}

/** Offset of the reset control register among the ports of CONFIG_ADDRESS: 0xCF9. */
const RESET_CONTROL = 1;

/**
 * Configuration mechanism #1 (PCI 3.0, 3.2.2.3.2): CONFIG_ADDRESS is reached by 4-byte accesses alone; smaller ones at
 * its ports are ordinary I/O, and one of them is the chipset's reset control register.
 */
export class ConfigAddressPorts implements PortDevice {
  readonly cycleBytes = 4;
  address = 0;
  readonly #resetControl: PortDevice;
  constructor(resetControl: PortDevice) {
    this.#resetControl = resetControl;
  }
  readPort(offset: number, sizeBytes: number): number {
    if (offset === 0 && sizeBytes === 4) return this.address;
    if (offset === RESET_CONTROL && sizeBytes === 1) return this.#resetControl.readPort(0, 1);
    return 0xffffffff >>> (32 - 8 * sizeBytes);
  }
  writePort(offset: number, sizeBytes: number, value: number): void {
    if (offset === 0 && sizeBytes === 4) this.address = (value & 0x80fffffc) >>> 0;
    else if (offset === RESET_CONTROL && sizeBytes === 1) this.#resetControl.writePort(0, 1, value);
  }
}

/** CONFIG_DATA. */
export class ConfigDataPorts implements PortDevice {
  readonly cycleBytes = 4;
  readonly #bus: PciBus;
  readonly #selected: ConfigAddressPorts;
  constructor(bus: PciBus, selected: ConfigAddressPorts) {
    this.#bus = bus;
    this.#selected = selected;
  }
  readPort(offset: number, sizeBytes: number): number {
    const { address } = this.#selected;
    if (!(address & CONFIG_ENABLE)) return 0xffffffff >>> (32 - 8 * sizeBytes);
    return this.#bus.readConfig(address | offset, sizeBytes);
  }
  writePort(offset: number, sizeBytes: number, value: number): void {
    const { address } = this.#selected;
    if (address & CONFIG_ENABLE) this.#bus.writeConfig(address | offset, sizeBytes, value);
  }
}

import type { IrqLine, MmioDevice, PortDevice } from '../../bus/device.ts';

/** Where the parts are (kvm-unit-tests, lib/x86: io.c, apic.c; x86/emulator.c). */
export const TestPort = { word: 0xe0, text: 0xf1, exit: 0xf4, irqLines: 0x2000 } as const;
export const TEST_MEMORY = { first: 0xff000000, sizeBytes: 0x10000 } as const;
export const TEST_IRQ_LINES = 24;

/** Four bytes of memory at ports. */
export class TestWord implements PortDevice {
  readonly cycleBytes = 4;
  readonly #bytes = new Uint8Array(4);

  readPort(offset: number, sizeBytes: number): number {
    let value = 0;
    for (let i = 0; i < sizeBytes; i++) value |= this.#bytes[(offset + i) & 3] << (8 * i);
    return value >>> 0;
  }
  writePort(offset: number, sizeBytes: number, value: number): void {
    for (let i = 0; i < sizeBytes; i++) this.#bytes[(offset + i) & 3] = value >>> (8 * i);
  }
}

/** A port that can only be written. */
export class TestOutput implements PortDevice {
  readonly cycleBytes = 1;
  readonly #written: (value: number) => void;

  constructor(written: (value: number) => void) {
    this.#written = written;
  }
  readPort(): number {
    return 0xffffffff;
  }
  writePort(_offset: number, _sizeBytes: number, value: number): void {
    this.#written(value);
  }
}

/** Ends the machine with the status written, in one cycle of up to 4 bytes. */
export class TestExit implements PortDevice {
  readonly cycleBytes = 4;
  readonly #exit: (status: number) => void;

  constructor(exit: (status: number) => void) {
    this.#exit = exit;
  }
  readPort(): number {
    return 0;
  }
  writePort(offset: number, _sizeBytes: number, value: number): void {
    if (offset === 0) this.#exit(value);
  }
}

/** One port for each input of the I/O APIC: not 0 asserts it. */
export class TestIrqLines implements PortDevice {
  readonly cycleBytes = 1;
  readonly #lines: readonly (IrqLine | undefined)[];

  constructor(lines: readonly (IrqLine | undefined)[]) {
    this.#lines = lines;
  }
  readPort(): number {
    return 0xffffffff;
  }
  writePort(offset: number, _sizeBytes: number, value: number): void {
    this.#lines[offset]?.set(value !== 0);
  }
}

/** RAM that is reached as device memory is. */
export class TestMemory implements MmioDevice {
  readonly #bytes = new Uint8Array(TEST_MEMORY.sizeBytes);

  readMmio(offset: number, sizeBytes: number): number {
    let value = 0;
    for (let i = 0; i < sizeBytes; i++) value += this.#bytes[(offset + i) % TEST_MEMORY.sizeBytes] * 2 ** (8 * i);
    return value;
  }
  writeMmio(offset: number, sizeBytes: number, value: number): void {
    for (let i = 0; i < sizeBytes; i++) this.#bytes[(offset + i) % TEST_MEMORY.sizeBytes] = value / 2 ** (8 * i);
  }
}

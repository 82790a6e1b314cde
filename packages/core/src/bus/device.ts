/**
 * What a device shows to the machine and what it is given: no device sees more of it than this.
 * Offsets are bytes from the start of the range that the device was placed at.
 */

/**
 * One wire that a device drives. `true` is *asserted*, whatever the electrical polarity.
 * Setting the level that the wire already has does nothing; edges are made of changes.
 */
export interface IrqLine {
  set(asserted: boolean): void;
}

/**
 * A device behind I/O ports.
 *
 * The bus makes of each IN or OUT as many cycles as the device needs, lowest address first: an access wider than
 * {@link cycleBytes}, one that is not aligned, and one that reaches beyond the device's range are split, as the ISA
 * bridge does for a device that does not assert IOCS16# (ISA bus specification, "data bus steering").
 * So `sizeBytes` never exceeds `cycleBytes`, and `offset` is a multiple of `sizeBytes`.
 */
export interface PortDevice {
  /** The widest cycle it decodes. 1 for the chips of the PC/AT, 4 for PCI configuration. */
  readonly cycleBytes: 1 | 2 | 4;
  /** An unsigned value of `sizeBytes` bytes. */
  readPort(offset: number, sizeBytes: number): number;
  /** @param value unsigned, `sizeBytes` bytes wide */
  writePort(offset: number, sizeBytes: number, value: number): void;
}

/**
 * A device behind guest-physical addresses.
 *
 * `sizeBytes` is 1, 2 or 4 and `offset` a multiple of it: the bus splits what is not aligned, lowest address first.
 * An aligned access of 8 bytes goes to `readMmio64`/`writeMmio64` where the device has them, else it becomes two of 4.
 */
export interface MmioDevice {
  /** An unsigned value of `sizeBytes` bytes. */
  readMmio(offset: number, sizeBytes: number): number;
  /** @param value unsigned, `sizeBytes` bytes wide */
  writeMmio(offset: number, sizeBytes: number, value: number): void;
  /** For registers of 64 bits that must not be read in two halves. */
  readMmio64?(offset: number): bigint;
  writeMmio64?(offset: number, value: bigint): void;
}

/**
 * State as plain data that JSON can carry. Times in it are the machine clock's, so that the clock is restored first.
 * Restoring drives no line and makes no edge: each chip restores the levels of its own inputs and outputs.
 */
export interface Stateful<State> {
  saveState(): State;
  restoreState(state: State): void;
}

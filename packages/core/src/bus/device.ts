/** What a device shows to the machine and what it is given: no device sees more of it than this. */

/**
 * One wire that a device drives. `true` is *asserted*, whatever the electrical polarity.
 * Setting the level that the wire already has does nothing; edges are made of changes.
 */
export interface IrqLine {
  set(asserted: boolean): void;
}

export type { MmioDevice, PortDevice } from '@polyvisor/plugin-api';

/**
 * State as plain data that JSON can carry. Times in it are the machine clock's, so that the clock is restored first.
 * Restoring drives no line and makes no edge: each chip restores the levels of its own inputs and outputs.
 */
export interface Stateful<State> {
  saveState(): State;
  restoreState(state: State): void;
}

import type { EngineMemory } from '../engine/memory.ts';

/** Where a vCPU keeps state in guest memory: guest-physical addresses. */
export interface SharedCells {
  /** One byte each, 0 or 1. */
  readonly interruptsOff: number;
  readonly interruptWaits: number;
  readonly cr2: number;
}

/** State that a vCPU and code in the guest both have, in guest memory. */
export class CellsInMemory {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Host addresses. */
  readonly #interruptsOff: number;
  readonly #interruptWaits: number;
  readonly #cr2: number;

  constructor({ bytes, view, layout: { ram } }: EngineMemory, cells: SharedCells) {
    this.#bytes = bytes;
    this.#view = view;
    this.#interruptsOff = ram + cells.interruptsOff;
    this.#interruptWaits = ram + cells.interruptWaits;
    this.#cr2 = ram + cells.cr2;
  }

  /** Whether guest code has masked interrupts there. */
  get interruptsOff(): boolean {
    return this.#bytes[this.#interruptsOff] !== 0;
  }
  /** RFLAGS.IF has been written; nothing is known to wait. */
  allowInterrupts(allowed: boolean): void {
    this.#bytes[this.#interruptsOff] = allowed ? 0 : 1;
    this.#bytes[this.#interruptWaits] = 0;
  }
  /** An interrupt waits for the guest to unmask them. */
  noteWaiting(): void {
    this.#bytes[this.#interruptWaits] = 1;
  }
  set cr2(value: bigint) {
    this.#view.setBigUint64(this.#cr2, value, true);
  }
}

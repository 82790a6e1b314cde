import type { PciFunction } from '../../pci/function.ts';

/** No vector is assigned (4.1.5.1.2). */
export const NO_VECTOR = 0xffff;
const Isr = { QUEUE: 1, CONFIG: 2 } as const;

/** How a virtio function interrupts: by the vectors that the driver assigned, or by ISR and its INTx pin. */
export class VirtioInterrupts {
  readonly #function: () => PciFunction;
  readonly #vectors: number;
  readonly #queueVectors: number[];
  #configVector = NO_VECTOR;
  #isr = 0;

  constructor(queues: number, owner: () => PciFunction) {
    this.#function = owner;
    this.#vectors = queues + 1;
    this.#queueVectors = new Array(queues).fill(NO_VECTOR);
  }

  /** As many as there are queues, and one for the configuration. */
  get vectorCount(): number {
    return this.#vectors;
  }

  get configVector(): number {
    return this.#configVector;
  }
  set configVector(vector: number) {
    this.#configVector = this.#checked(vector);
  }
  queueVector(queue: number): number {
    return this.#queueVectors[queue] ?? NO_VECTOR;
  }
  setQueueVector(queue: number, vector: number): void {
    if (queue < this.#queueVectors.length) this.#queueVectors[queue] = this.#checked(vector);
  }
  /** A vector that there is not reads back as none: the driver sees that it failed. */
  #checked(vector: number): number {
    return vector < this.#vectors ? vector : NO_VECTOR;
  }

  queueSignal(queue: number): void {
    this.#raise(Isr.QUEUE, this.queueVector(queue));
  }
  configSignal(): void {
    this.#raise(Isr.CONFIG, this.#configVector);
  }

  #raise(cause: number, vector: number): void {
    const owner = this.#function();
    if (owner.usesMsix) {
      if (vector !== NO_VECTOR) owner.raiseMessage(vector);
      return;
    }
    this.#isr |= cause;
    owner.setPin(true);
  }

  /** The ISR register: reading it clears it and lets go of the pin (4.1.4.5). */
  takeIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.#function().setPin(false);
    return isr;
  }

  reset(): void {
    this.takeIsr();
    this.#configVector = NO_VECTOR;
    this.#queueVectors.fill(NO_VECTOR);
  }
}

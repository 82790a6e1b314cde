import type { GuestMemory } from '@polyvisor/plugin-api';

/** How many updates may wait; the next one makes all of them happen. */
const MOST = 1024;

/**
 * Updates of page tables that the guest lets wait until it invalidates translations (VMI_PAGE_DEFER). They happen in the
 * order in which they were asked for.
 */
export class PendingUpdates {
  readonly #memory: GuestMemory;
  #gpas: number[] = [];
  /** Low and high half; 32-bit entries have no high half. */
  #values: { readonly low: number; readonly high: number | undefined }[] = [];

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  get count(): number {
    return this.#gpas.length;
  }

  /** @param gpa inside of memory, and aligned */
  add(gpa: number, low: number, high: number | undefined): void {
    if (this.#gpas.length === MOST) this.apply();
    this.#gpas.push(gpa);
    this.#values.push({ low, high });
  }

  apply(): void {
    const [gpas, values] = [this.#gpas, this.#values];
    if (gpas.length === 0) return;
    [this.#gpas, this.#values] = [[], []];
    gpas.forEach((gpa, i) => {
      const { low, high } = values[i];
      this.#memory.write32(gpa, low >>> 0);
      if (high !== undefined) this.#memory.write32(gpa + 4, high >>> 0);
    });
  }
}

import { COUNTER_BYTES, countingCode } from './code.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { TextMemory } from './text-memory.ts';

/**
 * A counter for each site, in guest memory, and code that adds to it before it goes on to the slot's gate: nine
 * instructions more a call, no exit, no register or flag changed. An interrupt between reading and writing may lose counts.
 */
export class SiteCounters {
  readonly #kernel: RunningKernel;
  readonly #first: bigint;
  readonly #counters: { readonly gpa: number; readonly count: number };
  /** As they were told last. */
  readonly #told: number[];

  /** `gates`: where each site leads on. Throws PV5013. */
  constructor(kernel: RunningKernel, text: TextMemory, gates: readonly bigint[]) {
    this.#kernel = kernel;
    const { wordBytes } = kernel;
    const data = text.allocateData(gates.length * wordBytes);
    const code = text.allocateText(gates.length * COUNTER_BYTES);
    this.#first = code.gva;
    this.#counters = { gpa: data.gpa, count: gates.length };
    this.#told = gates.map(() => 0);
    const bytes = new Uint8Array(code.sizeBytes);
    for (const [i, gate] of gates.entries()) {
      const counter = data.gva + BigInt(i * wordBytes);
      bytes.set(countingCode(code.gva + BigInt(i * COUNTER_BYTES), counter, gate, wordBytes), i * COUNTER_BYTES);
    }
    kernel.machine.memory.writeBytes(code.gpa, bytes);
  }

  codeOf(site: number): bigint {
    return this.#first + BigInt(site * COUNTER_BYTES);
  }

  /** Calls of each site since the last time. */
  take(): number[] {
    const { memory } = this.#kernel.machine;
    return this.#told.map((told, i) => {
      const now = memory.read32(this.#counters.gpa + i * this.#kernel.wordBytes);
      this.#told[i] = now;
      return (now - told) >>> 0;
    });
  }
}

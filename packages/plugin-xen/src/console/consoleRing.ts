import type { GuestMemory } from '@polyvisor/plugin-api';

/** struct xencons_interface (public/io/console.h): rings and free-running indices. */
const Ring = {
  IN: 0,
  IN_BYTES: 1024,
  OUT: 1024,
  OUT_BYTES: 2048,
  IN_CONS: 3072,
  IN_PROD: 3076,
  OUT_CONS: 3080,
  OUT_PROD: 3084,
  CONNECTION: 3088,
} as const;

/** Typed-ahead input that is kept, bytes; more is dropped. */
export const MAX_QUEUED_INPUT_BYTES = 65_536;

/**
 * The host's end of the console ring. Its indices are the guest's to write: an index that claims more than the
 * ring holds moves nothing.
 */
export class ConsoleRing {
  readonly #memory: GuestMemory;
  readonly #gpa: number;
  #input: Uint8Array[] = [];
  #inputBytes = 0;

  /** @param gpa machine address of the ring's page */
  constructor(memory: GuestMemory, gpa: number) {
    this.#memory = memory;
    this.#gpa = gpa;
    memory.write8(gpa + Ring.CONNECTION, 0);
  }

  /** Everything the guest has put out since the last call; empty when nothing, or the indices make no sense. */
  takeOutput(): Uint8Array {
    const cons = this.#memory.read32(this.#gpa + Ring.OUT_CONS);
    const prod = this.#memory.read32(this.#gpa + Ring.OUT_PROD);
    const sizeBytes = (prod - cons) >>> 0;
    if (sizeBytes === 0 || sizeBytes > Ring.OUT_BYTES) return new Uint8Array(0);
    const output = new Uint8Array(sizeBytes);
    const at = cons % Ring.OUT_BYTES;
    const first = Math.min(sizeBytes, Ring.OUT_BYTES - at);
    output.set(this.#memory.readBytes(this.#gpa + Ring.OUT + at, first));
    output.set(this.#memory.readBytes(this.#gpa + Ring.OUT, sizeBytes - first), first);
    this.#memory.write32(this.#gpa + Ring.OUT_CONS, prod);
    return output;
  }

  /** Queue input for the guest; answers how many bytes were dropped because the queue is full. */
  queueInput(bytes: Uint8Array): number {
    const room = MAX_QUEUED_INPUT_BYTES - this.#inputBytes;
    const kept = bytes.slice(0, room);
    if (kept.length > 0) this.#input.push(kept);
    this.#inputBytes += kept.length;
    return bytes.length - kept.length;
  }

  /** Move queued input into the ring as far as there is room; `true` when any moved. */
  fillInput(): boolean {
    let moved = false;
    while (this.#input.length > 0) {
      const cons = this.#memory.read32(this.#gpa + Ring.IN_CONS);
      const prod = this.#memory.read32(this.#gpa + Ring.IN_PROD);
      const used = (prod - cons) >>> 0;
      if (used >= Ring.IN_BYTES) return moved;
      const at = prod % Ring.IN_BYTES;
      const chunk = this.#input[0];
      const sizeBytes = Math.min(chunk.length, Ring.IN_BYTES - used, Ring.IN_BYTES - at);
      this.#memory.writeBytes(this.#gpa + Ring.IN + at, chunk.subarray(0, sizeBytes));
      this.#memory.write32(this.#gpa + Ring.IN_PROD, (prod + sizeBytes) >>> 0);
      this.#inputBytes -= sizeBytes;
      if (sizeBytes === chunk.length) this.#input.shift();
      else this.#input[0] = chunk.subarray(sizeBytes);
      moved = true;
    }
    return moved;
  }
}

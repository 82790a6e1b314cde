/**
 * Many small writes to guest memory, each within a page. In flat arrays, since a guest may wait while thousands of them are gone
 * through: an object of each is a line of the host's cache of its own.
 */
export class MemoryWrites {
  /** What is written, all of them together. */
  readonly bytes: Uint8Array;
  readonly gpas: Float64Array;
  /** Where the bytes of each begin in {@link bytes}, and how many they are. */
  readonly starts: Int32Array;
  readonly sizesBytes: Int32Array;
  #count = 0;

  constructor(bytes: Uint8Array, mostWrites: number) {
    this.bytes = bytes;
    this.gpas = new Float64Array(mostWrites);
    this.starts = new Int32Array(mostWrites);
    this.sizesBytes = new Int32Array(mostWrites);
  }

  static of(writes: readonly { readonly gpa: number; readonly bytes: Uint8Array }[]): MemoryWrites {
    const sizeBytes = writes.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const all = new MemoryWrites(new Uint8Array(sizeBytes), writes.length);
    let start = 0;
    for (const { gpa, bytes } of writes) {
      all.bytes.set(bytes, start);
      all.add(gpa, start, bytes.length);
      start += bytes.length;
    }
    return all;
  }

  get count(): number {
    return this.#count;
  }
  clear(): void {
    this.#count = 0;
  }
  /** Of {@link bytes}, those from `start` on. */
  add(gpa: number, start: number, sizeBytes: number): void {
    const at = this.#count++;
    this.gpas[at] = gpa;
    this.starts[at] = start;
    this.sizesBytes[at] = sizeBytes;
  }
}

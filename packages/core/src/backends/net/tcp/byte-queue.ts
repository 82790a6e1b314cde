/** Bytes in order: added at the end, looked at anywhere, removed from the front. */
export class ByteQueue {
  #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that are gone. */
  #gone = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Keeps the reference. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.#length += bytes.length;
  }

  /** A copy of up to `sizeBytes` bytes from `offset` on. */
  copy(offset: number, sizeBytes: number): Uint8Array {
    const copy = new Uint8Array(Math.max(0, Math.min(sizeBytes, this.#length - offset)));
    let skip = offset + this.#gone;
    let filled = 0;
    for (const chunk of this.#chunks) {
      if (filled === copy.length) break;
      if (skip < chunk.length) {
        const part = chunk.subarray(skip, skip + copy.length - filled);
        copy.set(part, filled);
        filled += part.length;
      }
      skip = Math.max(0, skip - chunk.length);
    }
    return copy;
  }

  drop(sizeBytes: number): void {
    this.#length -= sizeBytes;
    this.#gone += sizeBytes;
    let whole = 0;
    while (whole < this.#chunks.length && this.#gone >= this.#chunks[whole].length) {
      this.#gone -= this.#chunks[whole++].length;
    }
    if (whole > 0) this.#chunks = this.#chunks.slice(whole);
  }
}

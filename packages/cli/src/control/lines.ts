const NEWLINE = 0x0a;

/** Cuts a byte stream into lines; one that grows beyond the limit ends the reading. */
export class LineReader {
  readonly #limitBytes: number;
  #parts: Uint8Array[] = [];
  #sizeBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** The lines that `chunk` completes, without their newlines; `tooLong` if the one after them is. */
  push(chunk: Uint8Array): { readonly lines: readonly Buffer[]; readonly tooLong: boolean } {
    const lines: Buffer[] = [];
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, at));
      from = at + 1;
      if (this.#sizeBytes > this.#limitBytes) return { lines, tooLong: true };
      lines.push(Buffer.concat(this.#parts));
      this.#parts = [];
      this.#sizeBytes = 0;
    }
    this.#keep(chunk.subarray(from));
    return { lines, tooLong: this.#sizeBytes > this.#limitBytes };
  }

  #keep(part: Uint8Array): void {
    this.#sizeBytes += part.length;
    // What is too long will not be looked at.
    if (part.length > 0 && this.#sizeBytes <= this.#limitBytes) this.#parts.push(part);
  }
}

/** Finds a text in a byte stream, also where it is cut by the borders of chunks. */
export class ExpectWatcher {
  readonly #wanted: Buffer;
  readonly #onFound: () => void;
  #tail: Buffer = Buffer.alloc(0);
  found = false;

  constructor(text: string, onFound: () => void) {
    this.#wanted = Buffer.from(text, 'utf8');
    this.#onFound = onFound;
  }

  see(bytes: Uint8Array): void {
    if (this.found) return;
    const seen = Buffer.concat([this.#tail, bytes]);
    if (seen.includes(this.#wanted)) {
      this.found = true;
      this.#onFound();
    }
    const keep = Math.min(seen.length, this.#wanted.length - 1);
    this.#tail = seen.subarray(seen.length - keep);
  }
}

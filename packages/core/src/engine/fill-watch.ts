/** So much decoded code in a row is overwritten by those who fill a page or copy one, and hardly by those who patch code. */
const FILL_BYTES = 256;

/**
 * Tells when code is overwritten from one byte to the next for so long that the rest of the page will be as well: memory that held
 * code once is cleared for something else. Each such write is looked at by itself as long as there is code in the page.
 */
export class FillWatch {
  #next = -1;
  #overwrittenBytes = 0;

  /** There is a write; `overwrites`: to decoded code. Answers whether the rest of its page is expected to follow. */
  goesOn(gpa: number, sizeBytes: number, overwrites: boolean): boolean {
    if (gpa !== this.#next) this.#overwrittenBytes = 0;
    this.#next = gpa + sizeBytes;
    if (!overwrites) return false;
    this.#overwrittenBytes += sizeBytes;
    if (this.#overwrittenBytes < FILL_BYTES) return false;
    this.#overwrittenBytes = 0;
    return true;
  }
}

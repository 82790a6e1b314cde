const CLEAR_LINE = '\r\x1b[K';
const MIN_INTERVAL_MS = 100;

/** One line on stderr that is rewritten in place; nothing unless stderr is a terminal. */
export class ProgressLine {
  readonly #visible = process.stderr.isTTY === true;
  #shown = false;
  #lastMs = 0;

  update(text: string): void {
    const nowMs = performance.now();
    if (!this.#visible || (this.#shown && nowMs - this.#lastMs < MIN_INTERVAL_MS)) return;
    this.#shown = true;
    this.#lastMs = nowMs;
    process.stderr.write(`${CLEAR_LINE}${text}`);
  }

  clear(): void {
    if (this.#shown) process.stderr.write(CLEAR_LINE);
    this.#shown = false;
  }
}

/** `12.3 of 45.6 MB`, or `12.3 MB` when the total is unknown. */
export function amount(doneBytes: number, totalBytes: number | undefined): string {
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
  return totalBytes ? `${megabytes(doneBytes)} of ${megabytes(totalBytes)} MB` : `${megabytes(doneBytes)} MB`;
}

import { HUGE_PAGE_BYTES, type LibC, MADV_POPULATE_WRITE } from './libc.ts';

/** What the host says of a page that is in memory: bit 0 of a byte for each page (mincore(2)). */
const RESIDENT = 1;
/** As huge pages, of x86-64 hosts. */
const PAGE_BYTES = 4096;
const PAGES_PER_HUGE_PAGE = HUGE_PAGE_BYTES / PAGE_BYTES;

/** Huge pages that are fetched after two neighbours have been used, and at most. */
const FIRST_WINDOW = 2;
const LARGEST_WINDOW = 8;

/**
 * Fetches the huge pages of a machine's memory that come next, in another thread, as a file system reads ahead: where neighbours have been
 * used one after the other, upwards or downwards. The first use of a huge page then need not wait for the host to clear it, and where that is
 * a virtual machine itself, to get it from its own host first (5.8 ms have been measured). What is fetched cannot be told from what has been
 * used; so each window is followed by a page that is left alone, and when that is used, by one twice as large.
 */
export class MemoryAhead {
  readonly #libc: Pick<LibC, 'residence' | 'madviseMeanwhile'>;
  readonly #memory: Uint8Array;
  readonly #pages: Uint8Array;
  /** Of each huge page: it was there when last looked. */
  readonly #known: Uint8Array;
  /** Of each huge page that has been asked for: how many were asked for with it. */
  readonly #window: Uint8Array;
  readonly #wanted: number[] = [];
  #isFetching = false;

  /** `memory` begins at a page; what is in memory now says nothing of what will be. */
  constructor(libc: Pick<LibC, 'residence' | 'madviseMeanwhile'>, memory: Uint8Array) {
    this.#libc = libc;
    this.#memory = memory;
    this.#pages = new Uint8Array(Math.ceil(memory.length / PAGE_BYTES));
    const count = Math.ceil(this.#pages.length / PAGES_PER_HUGE_PAGE);
    this.#known = new Uint8Array(count);
    this.#window = new Uint8Array(count);
    if (libc.residence(memory, this.#pages)) for (let at = 0; at < count; at++) this.#known[at] = this.#isThere(at);
  }

  /** See what has been used since, and ask for what comes next. Answers whether anything has come. */
  look(): boolean {
    if (!this.#libc.residence(this.#memory, this.#pages)) return false;
    const fresh: number[] = [];
    for (let at = 0; at < this.#known.length; at++) if (!this.#known[at] && this.#isThere(at)) fresh.push(at);
    for (const at of fresh) if (this.#window[at] === 0) for (const step of [1, -1]) this.#askBehind(at, step);
    for (const at of fresh) this.#known[at] = 1;
    this.#fetch();
    return fresh.length > 0;
  }

  #isThere(at: number): number {
    return this.#pages[at * PAGES_PER_HUGE_PAGE] & RESIDENT;
  }

  /** A huge page has been used; if the one before it had been, going by `step`, ask for those behind it. */
  #askBehind(at: number, step: number): void {
    if (this.#known[at - step] !== 1) return;
    const window = Math.min(LARGEST_WINDOW, Math.max(FIRST_WINDOW, this.#window[at - step] * 2));
    for (let i = 1; i <= window; i++) {
      const next = at + i * step;
      if (next < 0 || next >= this.#known.length || this.#isThere(next) || this.#window[next] !== 0) return;
      this.#window[next] = window;
      this.#wanted.push(next);
    }
  }

  /** One at a time: whoever changes the process's mappings waits for it. */
  #fetch(): void {
    const next = this.#isFetching ? undefined : this.#wanted.shift();
    if (next === undefined) return;
    this.#isFetching = true;
    const start = next * HUGE_PAGE_BYTES;
    this.#libc.madviseMeanwhile(this.#memory.subarray(start, start + PAGE_BYTES), MADV_POPULATE_WRITE, () => {
      this.#isFetching = false;
      this.#fetch();
    });
  }
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { linuxLibC, MADV_POPULATE_WRITE } from './libc.ts';
import { MemoryAhead } from './memory-ahead.ts';

const PAGE_BYTES = 4096;
const PAGES_PER_HUGE_PAGE = 512;
const HUGE_PAGES = 64;
const LARGEST_WINDOW = 8;

/** A host, as far as it matters: which huge pages are there, who has asked for them, and whether it is at once. */
class FakeHost {
  readonly there = new Set<number>();
  readonly fetched: number[] = [];
  /** Uses that had to wait for a huge page. */
  waits = 0;
  #done: (() => void) | undefined;
  readonly #memory = new Uint8Array(new SharedArrayBuffer(HUGE_PAGES * PAGES_PER_HUGE_PAGE * PAGE_BYTES));
  readonly ahead: MemoryAhead;

  constructor(used: readonly number[] = []) {
    for (const at of used) this.there.add(at);
    this.ahead = new MemoryAhead(
      {
        residence: (memory, pages) => {
          expect(pages.length).toBe(memory.length / PAGE_BYTES);
          for (let at = 0; at < HUGE_PAGES; at++)
            pages.fill(this.there.has(at) ? 1 : 0, at * PAGES_PER_HUGE_PAGE, (at + 1) * PAGES_PER_HUGE_PAGE);
          return true;
        },
        madviseMeanwhile: (memory, _advice, done) => {
          expect(this.#done).toBeUndefined();
          this.fetched.push(memory.byteOffset / PAGE_BYTES / PAGES_PER_HUGE_PAGE);
          this.#done = done;
        },
      },
      this.#memory,
    );
  }
  use(at: number): void {
    if (!this.there.has(at)) this.waits++;
    this.there.add(at);
  }
  /** What has been asked for is there; at most so many. */
  fetch(most = HUGE_PAGES): void {
    for (let i = 0; i < most && this.#done; i++) {
      const done = this.#done;
      this.#done = undefined;
      this.there.add(this.fetched.at(-1) as number);
      done();
    }
  }
  step(at: number): void {
    this.use(at);
    this.ahead.look();
    this.fetch();
  }
}

describe('memory ahead', () => {
  it('is there after two neighbours, more of it each time', () => {
    const host = new FakeHost();
    for (let at = 10; at < 50; at++) host.step(at);
    // 10, 11 | 12, 13 fetched | 14 | 15 to 18 | 19 | 20 to 27 | 28 | 29 to 36 | 37 | …
    expect(host.waits).toBe(7);
    expect(host.fetched.slice(0, 6)).toEqual([12, 13, 15, 16, 17, 18]);
  });

  it('is there downwards too', () => {
    const host = new FakeHost();
    for (let at = 50; at >= 10; at--) host.step(at);
    expect(host.waits).toBe(7);
    expect(host.fetched.slice(0, 3)).toEqual([48, 47, 45]);
  });

  it('is not asked for beside what stands alone, nor beside what was there from the start', () => {
    const host = new FakeHost([20, 21, 22]);
    expect(host.ahead.look()).toBe(false);
    for (const at of [3, 30, 50, 40, 60]) host.step(at);
    host.use(5);
    expect([host.ahead.look(), host.ahead.look()]).toEqual([true, false]);
    expect(host.fetched).toEqual([]);
  });

  it('is not asked for where it is not known which of two neighbours came first', () => {
    const host = new FakeHost();
    host.use(30);
    host.step(31);
    expect(host.fetched).toEqual([]);
    host.step(32);
    expect(host.fetched).toEqual([33, 34]);
  });

  it('ends with the memory', () => {
    const host = new FakeHost([1, HUGE_PAGES - 2]);
    host.step(HUGE_PAGES - 1);
    host.step(0);
    expect(host.fetched).toEqual([]);
  });

  it('is fetched one huge page at a time, none twice, none that is there, and no more than a window for each wait', () => {
    const step = fc.record({ at: fc.integer({ min: 0, max: HUGE_PAGES - 1 }), run: fc.integer({ min: -9, max: 9 }) });
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.integer({ min: 0, max: 4 })), { maxLength: 30 }), (steps) => {
        const host = new FakeHost();
        for (const [{ at, run }, fetches] of steps)
          for (let i = 0; i <= Math.abs(run); i++) {
            const next = at + i * Math.sign(run);
            if (next < 0 || next >= HUGE_PAGES) break;
            host.use(next);
            host.ahead.look();
            host.fetch(fetches);
          }
        expect(new Set(host.fetched).size).toBe(host.fetched.length);
        expect(host.fetched.length).toBeLessThanOrEqual(host.waits * 2 * LARGEST_WINDOW);
        expect(host.fetched.every((at) => at >= 0 && at < HUGE_PAGES)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

it.runIf(process.platform === 'linux' && process.arch === 'x64')(
  'the host tells which pages of memory are there',
  async () => {
    const libc = await linuxLibC();
    if (!libc) return;
    const { buffer } = new WebAssembly.Memory({ initial: 32, maximum: 32, shared: true });
    const bytes = new Uint8Array(buffer);
    const pages = new Uint8Array(bytes.length / PAGE_BYTES);
    expect(libc.residence(bytes, pages)).toBe(true);
    expect(pages[100] & 1).toBe(0);
    bytes[100 * PAGE_BYTES] = 1;
    expect(libc.residence(bytes, pages)).toBe(true);
    expect(pages[100] & 1).toBe(1);
    const place = bytes.subarray(200 * PAGE_BYTES, 201 * PAGE_BYTES);
    await new Promise<void>((resolve) => libc.madviseMeanwhile(place, MADV_POPULATE_WRITE, resolve));
    expect(libc.residence(bytes, pages)).toBe(true);
    expect(pages[200] & 1).toBe(1);
  },
);

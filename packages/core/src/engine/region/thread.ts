import { decode } from '../../isa/decoder.ts';
import type { InstructionShape } from '../../isa/types.ts';
import { ENTRY_TABLE_BYTES, layoutFor, type MemoryLayout, PAGE_SIZE_BYTES, RECORD_BYTES } from '../../memory/layout.ts';
import { knownTable } from './known-table.ts';
import { batchModule, hostOf, type PlacedPage, RegionMaker } from './maker.ts';
import type { RegionCode } from './region-function.ts';
import type { FromThread, ToThread } from './thread-messages.ts';

type Message<Kind extends ToThread['kind']> = Extract<ToThread, { kind: Kind }>;

/**
 * Makes regions in a thread of its own, out of records in the memory that it shares with the engine. What it reads may be
 * changing meanwhile: the engine takes only what has been made of pages that have not changed since it asked.
 */
export class RegionThreadServer {
  readonly #post: (message: FromThread) => void;
  #work: Work | undefined;

  constructor(post: (message: FromThread) => void) {
    this.#post = post;
  }

  receive(message: ToThread): void {
    switch (message.kind) {
      case 'start':
        this.#work = new Work(message);
        this.#post({ kind: 'ready' });
        return;
      case 'make':
        this.#post(this.#started.make(message));
        return;
      case 'compile':
        this.#post(this.#started.compile(message));
        return;
      case 'forget':
        this.#started.forget();
    }
  }
  get #started(): Work {
    if (!this.#work) throw new Error('the thread has not been started');
    return this.#work;
  }
}

/** What a page is here: one more place than the engine's, its number. */
interface NumberedPage extends PlacedPage {
  readonly number: number;
}

class Work {
  readonly #layout: MemoryLayout;
  readonly #bytes: Uint8Array;
  readonly #maker: RegionMaker<NumberedPage>;
  readonly #pages: NumberedPage[] = [];
  /** By record. */
  readonly #shapes = new Map<number, InstructionShape | undefined>();
  /** By id, in the order in which they were made. */
  readonly #made = new Map<number, RegionCode>();

  constructor({ memory: { buffer }, ramSizeBytes, base, threshold }: Message<'start'>) {
    this.#layout = layoutFor(ramSizeBytes);
    this.#bytes = new Uint8Array(buffer);
    const memory = {
      view: new DataView(buffer),
      bytes: this.#bytes,
      words: new Int32Array(buffer),
      layout: this.#layout,
    };
    this.#maker = new RegionMaker({
      memory,
      base,
      threshold,
      shapeOf: (record, page, offset, second) => this.#shapeOf(record, page, offset, second),
    });
  }

  make({ id, newPages, recordsEnd, page, linear, growth, lookup }: Message<'make'>): FromThread {
    const started = performance.now();
    for (const each of newPages) this.#addPage(each);
    this.#maker.recordsEnd = recordsEnd;
    const elapsedMs = () => performance.now() - started;
    try {
      const region = this.#maker.make({
        page: this.#pages[page],
        linear,
        growth,
        pageAt: (distance) => lookup && this.#knownPage(lookup, linear + BigInt(distance)),
      });
      if (!region) return { kind: 'notMade', id, unable: false, elapsedMs: elapsedMs() };
      this.#made.set(id, region.code);
      const parts = region.parts.map((part) => ({ ...part, page: part.page.number }));
      const { code, instructions } = region;
      return {
        kind: 'made',
        id,
        instructions,
        growth: region.growth,
        parts,
        tables: code.tables,
        elapsedMs: elapsedMs(),
      };
    } catch {
      // Nonsense, read while it was overwritten; what is wrong otherwise shows in the engine's thread.
      return { kind: 'notMade', id, unable: true, elapsedMs: elapsedMs() };
    }
  }

  compile({ ids, seen }: Message<'compile'>): FromThread {
    const started = performance.now();
    const codes = ids.map((id) => this.#made.get(id) as RegionCode);
    for (const id of this.#made.keys()) if (id <= seen) this.#made.delete(id);
    const bytes = batchModule(this.#layout, codes);
    const module = new WebAssembly.Module(bytes as BufferSource);
    return { kind: 'compiled', ids, module, bytes, elapsedMs: performance.now() - started };
  }

  forget(): void {
    this.#pages.length = 0;
    this.#shapes.clear();
    this.#made.clear();
  }

  #addPage({ physicalPage, mode }: { physicalPage: number; mode: PlacedPage['mode'] }): void {
    const number = this.#pages.length;
    this.#pages.push({ number, physicalPage, mode, table: this.#layout.entryTables + number * ENTRY_TABLE_BYTES });
  }

  #knownPage(lookup: Uint8Array, linear: bigint): NumberedPage | undefined {
    const table = knownTable(new DataView(lookup.buffer, lookup.byteOffset), 0, linear);
    return table === undefined ? undefined : this.#pages[(table - this.#layout.entryTables) / ENTRY_TABLE_BYTES];
  }

  #shapeOf(
    record: number,
    page: NumberedPage,
    offset: number,
    second: NumberedPage | undefined,
  ): InstructionShape | undefined {
    const number = (record - this.#layout.records) / RECORD_BYTES;
    if (this.#shapes.has(number)) return this.#shapes.get(number);
    const left = PAGE_SIZE_BYTES - offset;
    const host = hostOf(this.#layout, page) + offset;
    const secondHost = second && hostOf(this.#layout, second) - left;
    const result = decode((i) => {
      const start = i < left ? host : secondHost;
      return start === undefined ? -1 : this.#bytes[start + i];
    }, page.mode);
    const shape = result.ok ? result.instruction.shape : undefined;
    this.#shapes.set(number, shape);
    return shape;
  }
}

import { TLB_ENTRY_BYTES, TLB_EXEC_ENTRIES } from '../../memory/layout.ts';
import type { CodeCache, CodePage } from '../code-cache.ts';
import type { EngineMemory } from '../memory.ts';
import type { Growth, Numbers, RegionPart } from './maker.ts';
import type { FromThread, RegionThread } from './thread-messages.ts';

/** Where a region was asked for. */
export interface AskedRegion {
  /** The record that it starts at. */
  readonly record: number;
  readonly page: CodePage;
  readonly linear: bigint;
  readonly growth: Growth;
  /** Host address of the code look-up. */
  readonly lookup: number;
}

/** What a region was made of. */
export interface RegionSource {
  /** The record it starts at. */
  readonly record: number;
  readonly linear: bigint;
  readonly parts: readonly RegionPart<CodePage>[];
  /** Distances of the pages whose entry tables it looks for. */
  readonly tables: Numbers;
  readonly growth: Growth;
}

export interface ThreadRegionsOptions {
  readonly thread: RegionThread;
  readonly memory: EngineMemory;
  readonly base: number;
  readonly code: CodeCache;
  readonly threshold: number;
  /** How many regions make a module. */
  readonly batch: number;
  /** Put regions in place: the functions of a module, in their order; undefined: dropped meanwhile. */
  install(regions: readonly (RegionSource | undefined)[], module: WebAssembly.Module, bytes: Uint8Array): void;
  /** The thread cannot make it. */
  unable(asked: AskedRegion): void;
}

interface InFlight extends AskedRegion {
  /** How often pages had changed when it was asked for. */
  readonly changes: number;
}
type Of<Kind extends FromThread['kind']> = Extract<FromThread, { kind: Kind }>;

/**
 * Regions that another thread makes: asked for, made and waiting for their batch, being compiled. All of them can lose what
 * they were made of at any time: those that have been made by their bytes, those asked for as soon as anything changes in a
 * page that they turn out to hold.
 */
export class ThreadRegions {
  readonly #options: ThreadRegionsOptions;
  readonly #inFlight = new Map<number, InFlight>();
  #waiting = new Map<number, RegionSource>();
  readonly #compiling = new Map<number, RegionSource>();
  #nextId = 1;
  /** Pages that the thread knows of. */
  #pagesSent = 0;
  /** Changes to pages while regions are asked for. */
  #changes = 0;
  readonly #changedAt = new Map<CodePage, number>();
  /** The last region that has been made or not. */
  #seen = 0;
  #isReady = false;
  readonly figures = { made: 0, instructions: 0, generateMs: 0, compileMs: 0, outdated: 0 };

  constructor(options: ThreadRegionsOptions) {
    this.#options = options;
    const { thread, memory, base, threshold } = options;
    const { ramSizeBytes } = memory.layout;
    thread.send({ kind: 'start', memory: memory.memory, ramSizeBytes, base, threshold });
  }

  /** The thread can be asked: it has started, and has not failed. */
  get isReady(): boolean {
    return this.#isReady && !this.#options.thread.failed;
  }
  /** How many may come yet. */
  get expected(): number {
    return this.#inFlight.size + this.#waiting.size + this.#compiling.size;
  }
  get isWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Ask for a region; only while {@link isReady}. */
  ask(asked: AskedRegion): void {
    const { code, memory, thread } = this.#options;
    const { record, page, linear, growth, lookup } = asked;
    const id = this.#nextId++;
    const newPages = code.pagesFrom(this.#pagesSent).map(({ physicalPage, mode }) => ({ physicalPage, mode }));
    this.#pagesSent += newPages.length;
    this.#inFlight.set(id, { record, page, linear, growth, lookup, changes: this.#changes });
    thread.send({
      kind: 'make',
      id,
      newPages,
      recordsEnd: code.recordsEnd,
      page: code.numberOf(page),
      linear,
      growth,
      lookup: growth > 0 ? memory.bytes.slice(lookup, lookup + TLB_EXEC_ENTRIES * TLB_ENTRY_BYTES) : undefined,
    });
  }

  /**
   * A region that has been asked for is reached again and again, and cannot wait: what has been made is compiled now, and what
   * has not is given up. Answers whether it comes.
   */
  hurry(record: number): boolean {
    for (const [id, asked] of this.#inFlight) if (asked.record === record) this.#inFlight.delete(id);
    for (const compiling of this.#compiling.values()) if (compiling.record === record) return true;
    for (const waiting of this.#waiting.values()) {
      if (waiting.record !== record) continue;
      this.compile();
      return true;
    }
    return false;
  }
  /** It has been asked for, and not come yet. */
  isOnItsWay(record: number): boolean {
    const isIt = (region: { record: number }) => region.record === record;
    return [this.#inFlight, this.#waiting, this.#compiling].some((regions) => [...regions.values()].some(isIt));
  }

  /** Have all that waits compiled. */
  compile(): void {
    const waiting = this.#waiting;
    if (waiting.size === 0) return;
    this.#waiting = new Map();
    for (const [id, region] of waiting) this.#compiling.set(id, region);
    this.#options.thread.send({ kind: 'compile', ids: [...waiting.keys()], seen: this.#seen });
  }

  /** Take what the thread has done. Only while the engine is outside generated code. */
  poll(): void {
    if (this.#isReady && this.#inFlight.size === 0 && this.#compiling.size === 0) return;
    for (let message = this.#options.thread.receive(); message; message = this.#options.thread.receive())
      this.#take(message);
    if (this.#options.thread.failed) this.forget();
  }

  #take(message: FromThread): void {
    switch (message.kind) {
      case 'ready':
        this.#isReady = true;
        break;
      case 'made':
        this.#made(message);
        break;
      case 'notMade':
        this.#notMade(message);
        break;
      case 'compiled':
        this.#compiled(message);
    }
  }

  #made({ id, parts, tables, instructions, growth, elapsedMs }: Of<'made'>): void {
    const { code, batch } = this.#options;
    const asked = this.#answered(id, elapsedMs);
    if (!asked) return;
    const here = parts.map((part) => ({ ...part, page: code.pageOfNumber(part.page) }));
    for (const { page } of here) {
      if ((this.#changedAt.get(page) ?? 0) <= asked.changes) continue;
      this.figures.outdated++;
      return;
    }
    this.figures.made++;
    this.figures.instructions += instructions;
    const { record, linear } = asked;
    this.#waiting.set(id, { record, linear, growth, parts: here, tables });
    if (this.#waiting.size >= batch) this.compile();
  }

  #notMade({ id, unable, elapsedMs }: Of<'notMade'>): void {
    const asked = this.#answered(id, elapsedMs);
    if (asked && unable && (this.#changedAt.get(asked.page) ?? 0) <= asked.changes) this.#options.unable(asked);
  }

  #answered(id: number, elapsedMs: number): InFlight | undefined {
    this.figures.generateMs += elapsedMs;
    this.#seen = id;
    const asked = this.#inFlight.get(id);
    this.#inFlight.delete(id);
    return asked;
  }

  #compiled({ ids, module, bytes, elapsedMs }: Of<'compiled'>): void {
    this.figures.compileMs += elapsedMs;
    const regions = ids.map((id) => this.#compiling.get(id));
    for (const id of ids) this.#compiling.delete(id);
    if (regions.some((region) => region !== undefined)) this.#options.install(regions, module, bytes);
  }

  /** Bytes of a page have changed; `isGone` says whether that touches a region. */
  changed(page: CodePage, isGone: (region: RegionSource) => boolean): void {
    // A map that is emptied is made anew, also where it was empty.
    if (this.#inFlight.size > 0) this.#changedAt.set(page, ++this.#changes);
    else if (this.#changedAt.size > 0) this.#changedAt.clear();
    for (const regions of [this.#waiting, this.#compiling])
      regions.forEach((region, id) => {
        if (isGone(region)) regions.delete(id);
      });
  }

  /** All pages and records are gone. */
  forget(): void {
    this.#inFlight.clear();
    this.#waiting.clear();
    this.#compiling.clear();
    this.#changedAt.clear();
    this.#pagesSent = 0;
    if (!this.#options.thread.failed) this.#options.thread.send({ kind: 'forget' });
  }
}

import type { DirectPrograms } from '../../ir/builder.ts';
import { REGION_LOOKUP_BYTES, REGION_LOOKUP_ENTRY_BYTES } from '../../memory/layout.ts';
import type { ByteRange, CodeCache, CodePage } from '../code-cache.ts';
import { REGION_TABLE_SIZE } from '../interpreter.ts';
import type { EngineMemory } from '../memory.ts';
import { RecordField, RecordInfo, recordInfoOffset, SpecialHandler } from '../record.ts';
import { knownTable } from './known-table.ts';
import { batchModule, RegionMaker } from './maker.ts';
import type { RegionCode } from './region-function.ts';
import type { RegionThread } from './thread-messages.ts';
import { type AskedRegion, type RegionSource, ThreadRegions } from './thread-regions.ts';

/** Beyond so many live modules V8 and the operating system get slow; then all regions are dropped. */
const MAX_MODULES = 4000;
/** No code lies there: not canonical. */
const NOWHERE = -(1n << 63n);
/** Entries of the engine after which an incomplete batch is compiled. */
const TICKS_TO_WAIT = 5000;

export interface RegionsOptions {
  readonly memory: EngineMemory;
  readonly base: number;
  readonly code: CodeCache;
  /** How many regions make a module. */
  readonly batch: number;
  /** Arrivals at a place before a region is made that starts there. */
  readonly threshold: number;
  readonly directCode: DirectPrograms;
  /** Host address of the region look-up. */
  readonly lookup: number;
  readonly thread?: RegionThread | undefined;
}

/** A region that waits for its module. */
interface Waiting extends RegionSource {
  readonly code: RegionCode;
}

/** A region in its place. */
interface Installed extends RegionSource {
  readonly index: number;
  /** What ran its record before. */
  readonly handler: number;
}

/** Tier 1: which regions there are, how they come to be and go. */
export class Regions {
  readonly #statistics = {
    regions: 0,
    modules: 0,
    instructions: 0,
    codeBytes: 0,
    dropped: 0,
    generateMs: 0,
    compileMs: 0,
  };
  readonly #options: RegionsOptions;
  readonly #maker: RegionMaker<CodePage>;
  readonly #thread: ThreadRegions | undefined;
  readonly #infoOffset: number;
  #table: WebAssembly.Table | undefined;
  #functions: WebAssembly.ModuleImports = {};
  #waiting: Waiting[] = [];
  readonly #byPage = new Map<CodePage, Set<Installed>>();
  readonly #byRecord = new Map<number, Installed>();
  readonly #free: number[] = [];
  #nextIndex = 0;
  /** How many regions of a module are in use, by region index. */
  readonly #moduleOf: { live: number }[] = [];
  #liveModules = 0;
  #ticks = 0;

  constructor(options: RegionsOptions) {
    this.#options = options;
    this.#infoOffset = recordInfoOffset(options.memory.layout);
    this.#maker = new RegionMaker({ ...options, shapeOf: (record) => options.code.shapeOf(record) });
    const { thread } = options;
    this.#thread =
      thread &&
      new ThreadRegions({
        ...options,
        thread,
        install: (regions, module, sizeBytes) => this.#instantiate(regions, module, sizeBytes),
        unable: (asked) => this.#makeHere(asked),
      });
    this.#emptyLookup();
  }

  attach(table: WebAssembly.Table, functions: WebAssembly.ModuleImports): void {
    this.#table = table;
    this.#functions = functions;
  }

  /** Figures for `--stats`; `executed`: instructions that ran in regions, which were entered `entries` times. */
  figures(executed: number, entries: number): Record<string, number> {
    const { regions, modules, instructions, codeBytes, dropped, generateMs, compileMs } = this.#statistics;
    const there = this.#thread?.figures;
    return {
      'instructions in regions': executed,
      'region entries': entries,
      regions,
      'regions in place': this.#nextIndex - this.#free.length,
      'regions dropped': dropped,
      'region modules': modules,
      'region modules in place': this.#liveModules,
      'instructions compiled': instructions + (there?.instructions ?? 0),
      'region code bytes': codeBytes,
      'region generation ms': Math.round(generateMs),
      'region compilation ms': Math.round(compileMs),
      ...(there && {
        'regions made in thread': there.made,
        'outdated in thread': there.outdated,
        'generation in thread ms': Math.round(there.generateMs),
        'compilation in thread ms': Math.round(there.compileMs),
      }),
    };
  }

  /** No room for another batch: everything decoded has to go. */
  get full(): boolean {
    const used = this.#nextIndex - this.#free.length + (this.#thread?.expected ?? 0);
    return this.#liveModules > MAX_MODULES || used > REGION_TABLE_SIZE - this.#options.batch;
  }

  /**
   * The record at a linear address in a page is hot: make a region that starts there, or, if there is one, a larger one.
   * `lookup`: host address of the code look-up, which leads to other pages.
   */
  request(page: CodePage, linear: bigint, lookup: number): void {
    const record = this.#recordAt(page, linear);
    const present = this.#byRecord.get(record);
    if (record === 0 || present?.isGrown) return;
    // Reached again and again while it waits for its batch: it cannot wait.
    if (this.#waiting.some((waiting) => waiting.record === record)) {
      this.compileWaiting();
      return;
    }
    const asked = { record, page, linear, isGrown: present !== undefined, lookup };
    if (this.#thread?.isOnItsWay(record)) {
      if (this.#thread.hurry(record)) return;
      this.#makeHere(asked);
      this.compileWaiting();
    } else if (this.#thread?.isReady) this.#thread.ask(asked);
    else this.#makeHere(asked);
  }
  #recordAt(page: CodePage, linear: bigint): number {
    return this.#options.memory.words[(page.table >>> 2) + Number(linear & 0xfffn)] >>> 0;
  }

  #makeHere({ record, page, linear, isGrown, lookup }: AskedRegion): void {
    if (this.#recordAt(page, linear) !== record) return;
    const started = performance.now();
    const { memory, code, batch } = this.#options;
    const region = this.#maker.make({
      page,
      offset: Number(linear & 0xfffn),
      growsAt: isGrown ? linear : undefined,
      pageAt: (distance) => {
        const table = knownTable(memory.view, lookup, linear + BigInt(distance));
        return table === undefined ? undefined : code.pageOfTable(table);
      },
    });
    if (region) {
      this.#statistics.instructions += region.instructions;
      this.#waiting.push({ record, code: region.code, blocks: region.blocks, isGrown });
    }
    this.#statistics.generateMs += performance.now() - started;
    if (this.#waiting.length >= batch) this.compileWaiting();
  }

  /**
   * Guest code is about to be entered: regions of another thread come into place, and those that have waited for a while are
   * compiled, though their batch is small.
   */
  tick(): void {
    this.#thread?.poll();
    if (this.#waiting.length === 0 && !this.#thread?.isWaiting) return;
    if (++this.#ticks < TICKS_TO_WAIT) return;
    this.#thread?.compile();
    this.compileWaiting();
  }

  /** Compile what waits here, and put it in place. Only while the engine is outside generated code. */
  compileWaiting(): void {
    this.#ticks = 0;
    const batch = this.#waiting;
    if (batch.length === 0) return;
    this.#waiting = [];
    const started = performance.now();
    const codes = batch.map(({ code }) => code);
    const bytes = batchModule(this.#options.memory.layout, codes);
    const module = new WebAssembly.Module(bytes as BufferSource);
    this.#statistics.compileMs += performance.now() - started;
    this.#instantiate(batch, module, bytes.length);
  }

  /** Put the functions of a module in place, but for those of regions that are gone. */
  #instantiate(batch: readonly (RegionSource | undefined)[], module: WebAssembly.Module, sizeBytes: number): void {
    const started = performance.now();
    const { memory } = this.#options.memory;
    const { exports } = new WebAssembly.Instance(module, { env: { memory, ...this.#functions } });
    const shared = { live: batch.filter((region) => region !== undefined).length };
    this.#liveModules++;
    for (const [i, region] of batch.entries())
      if (region) this.#install(region, exports[`region${i}`] as () => number, shared);
    this.#statistics.regions += shared.live;
    this.#statistics.modules++;
    this.#statistics.codeBytes += sizeBytes;
    this.#statistics.compileMs += performance.now() - started;
  }

  #install({ record, blocks, isGrown }: RegionSource, run: () => number, module: { live: number }): void {
    const { view } = this.#options.memory;
    const before = this.#byRecord.get(record);
    if (before) this.#remove(before);
    const index = before?.index ?? this.#free.pop() ?? this.#nextIndex++;
    this.#table?.set(index, run);
    this.#moduleOf[index] = module;
    view.setInt32((record >>> 2) + this.#infoOffset + RecordInfo.region, index, true);
    const handler = before?.handler ?? view.getUint16(record + RecordField.handler, true);
    const region = { record, blocks, isGrown, index, handler };
    view.setUint16(record + RecordField.handler, SpecialHandler.region, true);
    this.#byRecord.set(record, region);
    for (const page of blocks.keys()) {
      const others = this.#byPage.get(page);
      if (others) others.add(region);
      else this.#byPage.set(page, new Set([region]));
    }
  }

  /** Drop the regions of a page that start at stale records or were made of any of these bytes. */
  drop(page: CodePage, stale: readonly ByteRange[], isStale: (record: number) => boolean): void {
    const isGone = ({ record, blocks }: RegionSource) => isStale(record) || holdsAny(blocks.get(page) ?? [], stale);
    this.#thread?.changed(page, isGone);
    this.#waiting = this.#waiting.filter((waiting) => !waiting.blocks.has(page) || !isGone(waiting));
    const gone = [...(this.#byPage.get(page) ?? [])].filter(isGone);
    if (gone.length === 0) return;
    for (const region of gone) this.#remove(region);
    this.#forget(gone.map(({ index }) => index));
    for (const { index, record, handler } of gone) {
      if (!isStale(record)) this.#restore(record, handler);
      this.#free.push(index);
    }
  }
  /** Take a region out of the lists; its place in the table stays taken. */
  #remove(region: Installed): void {
    for (const page of region.blocks.keys()) this.#byPage.get(page)?.delete(region);
    this.#byRecord.delete(region.record);
    this.#table?.set(region.index, null);
    this.#statistics.dropped++;
    if (--this.#moduleOf[region.index].live === 0) this.#liveModules--;
  }
  /** A record whose region is gone, though its own bytes are as they were, is interpreted again. */
  #restore(record: number, handler: number): void {
    const { view } = this.#options.memory;
    view.setUint16(record + RecordField.handler, handler, true);
    view.setInt32((record >>> 2) + this.#infoOffset + RecordInfo.arrivals, 0, true);
  }

  /** What `action` drops leaves the look-up at its end, all at once. No region may be made meanwhile. */
  dropTogether(action: () => void): void {
    const together = new Set<number>();
    this.#together = together;
    try {
      action();
    } finally {
      this.#together = undefined;
      if (together.size > 0) this.#forget([...together]);
    }
  }
  #together: Set<number> | undefined;

  /** Take regions out of the look-up. */
  #forget(indices: readonly number[]): void {
    if (this.#together) {
      for (const index of indices) this.#together.add(index);
      return;
    }
    const gone = new Set(indices);
    const { memory, lookup } = this.#options;
    for (let at = lookup; at < lookup + REGION_LOOKUP_BYTES; at += REGION_LOOKUP_ENTRY_BYTES)
      if (gone.has(memory.words[(at + 8) >>> 2] & (REGION_TABLE_SIZE - 1))) this.#emptyEntry(at);
  }
  #emptyEntry(at: number): void {
    this.#options.memory.view.setBigInt64(at, NOWHERE, true);
  }
  /** All records are gone. */
  dropAll(): void {
    this.#waiting = [];
    this.#thread?.forget();
    for (const region of [...this.#byRecord.values()]) {
      this.#remove(region);
      this.#free.push(region.index);
    }
    this.#emptyLookup();
  }
  #emptyLookup(): void {
    const { lookup } = this.#options;
    for (let at = lookup; at < lookup + REGION_LOOKUP_BYTES; at += REGION_LOOKUP_ENTRY_BYTES) this.#emptyEntry(at);
  }
}

function holdsAny(blocks: readonly number[], ranges: readonly ByteRange[]): boolean {
  for (const { firstByte, endByte } of ranges)
    for (let i = 0; i < blocks.length; i += 2) if (blocks[i] < endByte && blocks[i + 1] > firstByte) return true;
  return false;
}

import {
  REGION_LOOKUP_BYTES,
  REGION_LOOKUP_ENTRY_BYTES,
  REGION_NOWHERE,
  REGION_PLACE_BYTES,
  REGION_PLACE_COUNT,
  REGION_PLACE_TABLES,
  REGION_TABLE_SIZE,
} from '../../memory/layout.ts';
import type { ByteRange, CodeCache, CodePage } from '../code-cache.ts';
import { type CodeKeeper, compileOnly } from '../code-keeper.ts';
import type { EngineMemory } from '../memory.ts';
import { RecordField, RecordInfo, recordInfoOffset, SpecialHandler } from '../record.ts';
import {
  findParts,
  holdsPart,
  type KeptModule,
  keep,
  madeFor,
  type RegionStarts,
  slideOf,
  wordAt,
} from './kept-regions.ts';
import { knownTable } from './known-table.ts';
import {
  batchModule,
  FULLY_GROWN,
  type Growth,
  hostOf,
  type Numbers,
  RegionMaker,
  type RegionPart,
  regionName,
} from './maker.ts';
import { PackedRegions } from './packed-regions.ts';
import type { RegionCode } from './region-function.ts';
import type { RegionThread } from './thread-messages.ts';
import { type AskedRegion, type RegionSource, ThreadRegions } from './thread-regions.ts';

/** Beyond so many live modules V8 and the operating system get slow; then all regions are dropped. */
const MAX_MODULES = 4000;
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
  /** Entries of a region before it is made anew. */
  readonly growAfter: number;
  /** Host address of the region look-up. */
  readonly lookup: number;
  readonly thread?: RegionThread | undefined;
  /** Knows code that has been compiled before, and is told of more. */
  readonly keeper?: CodeKeeper | undefined;
}

/** Where a region is wanted. */
export interface RegionRequest {
  readonly page: CodePage;
  readonly linear: bigint;
  /** Host address of the code look-up, which leads to other pages. */
  readonly lookup: number;
  /** The page at a linear address, though it may not have been looked up yet. */
  findPage(linear: bigint): CodePage | undefined;
}

/** A region that waits for its module. */
interface Waiting extends RegionSource {
  readonly code: RegionCode;
}

/** The functions of a module, each in as many places as there are for it. */
interface ModuleInstance {
  readonly exports: WebAssembly.Exports;
  /** How many places hold functions of it. */
  used: number;
}

/** A region in its place. */
interface Installed extends RegionSource {
  readonly index: number;
  /** What ran its record before. */
  readonly handler: number;
  readonly instance: ModuleInstance;
  /** How often a longer one has been asked for. */
  requests: number;
}

/** One that has grown is asked for again after 16,384 entries, then after each 65,536 (interpreter.ts). */
const REQUESTS_TO_GROW_AGAIN = 4;

/** How the region is to have grown that takes the place of another one. */
const grown = (present: Installed | undefined): Growth =>
  present ? (Math.min(present.growth + 1, FULLY_GROWN) as Growth) : 0;

/** Tier 1: which regions there are, how they come to be and go. */
export class Regions {
  readonly #statistics = {
    regions: 0,
    modules: 0,
    instructions: 0,
    codeBytes: 0,
    dropped: 0,
    reused: 0,
    generateMs: 0,
    compileMs: 0,
  };
  readonly #options: RegionsOptions;
  readonly #maker: RegionMaker<CodePage>;
  readonly #thread: ThreadRegions | undefined;
  readonly #infoOffset: number;
  readonly #madeFor: string;
  readonly #keptStarts: RegionStarts | undefined;
  readonly #compiler: Pick<CodeKeeper, 'compile' | 'instantiated'>;
  #table: WebAssembly.Table | undefined;
  #functions: WebAssembly.ModuleImports = {};
  #waiting: Waiting[] = [];
  readonly #byPage = new Map<CodePage, Set<Installed>>();
  readonly #byRecord = new Map<number, Installed>();
  readonly #free: number[] = [];
  #nextIndex = 0;
  /** With functions in use. */
  readonly #live = new Set<ModuleInstance>();
  readonly #keptInstances = new Map<KeptModule, ModuleInstance>();
  /** Records for which kept code has been looked for in vain: numbers, three times, plus how the region was to have grown. */
  readonly #triedKept = new Set<number>();
  #ticks = 0;

  constructor(options: RegionsOptions) {
    this.#options = options;
    this.#infoOffset = recordInfoOffset(options.memory.layout);
    this.#compiler = options.keeper ?? compileOnly;
    this.#madeFor = madeFor(options.memory.layout, options.base);
    this.#keptStarts = options.keeper?.regions.of(this.#madeFor);
    this.#maker = new RegionMaker({ ...options, shapeOf: (record) => options.code.shapeOf(record) });
    const { thread } = options;
    this.#thread =
      thread &&
      new ThreadRegions({
        ...options,
        thread,
        install: (regions, module, bytes) => this.#putInPlace(regions, module, bytes),
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
    const { regions, modules, instructions, codeBytes, dropped, reused, generateMs, compileMs } = this.#statistics;
    const there = this.#thread?.figures;
    return {
      'instructions in regions': executed,
      'region entries': entries,
      regions,
      'regions in place': this.#nextIndex - this.#free.length,
      'regions dropped': dropped,
      'region modules': modules,
      'region modules in place': this.#live.size,
      ...(this.#options.keeper && { 'regions from before': reused }),
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
    return this.#live.size > MAX_MODULES || used > REGION_TABLE_SIZE - this.#options.batch;
  }

  /**
   * The record at a linear address in a page is hot: make a region that starts there, or, if there is one, a larger one.
   */
  request({ page, linear, lookup, findPage }: RegionRequest): void {
    const record = this.#recordAt(page, linear);
    const present = this.#byRecord.get(record);
    if (record === 0 || present?.growth === FULLY_GROWN) return;
    if (this.#reuse({ page, linear, findPage }, record, present)) return;
    if (present && present.growth > 0 && ++present.requests < REQUESTS_TO_GROW_AGAIN) return;
    // Reached again and again while it waits for its batch: it cannot wait.
    if (this.#waiting.some((waiting) => waiting.record === record)) {
      this.compileWaiting();
      return;
    }
    const asked = { record, page, linear, growth: grown(present), lookup };
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

  #makeHere({ record, page, linear, growth, lookup }: AskedRegion): void {
    if (this.#recordAt(page, linear) !== record) return;
    const started = performance.now();
    const { memory, code, batch } = this.#options;
    const region = this.#maker.make({
      page,
      linear,
      growth,
      pageAt: (distance) => {
        const table = knownTable(memory.view, lookup, linear + BigInt(distance));
        return table === undefined ? undefined : code.pageOfTable(table);
      },
    });
    if (region) {
      this.#statistics.instructions += region.instructions;
      const { code: made, parts } = region;
      this.#waiting.push({ record, linear, code: made, parts, tables: made.tables, growth: region.growth });
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
    const module = this.#compiler.compile(bytes);
    this.#statistics.compileMs += performance.now() - started;
    this.#putInPlace(batch, module, bytes);
  }

  /** Put the functions of a new module in place, but for those of regions that are gone. */
  #putInPlace(batch: readonly (RegionSource | undefined)[], module: WebAssembly.Module, bytes: Uint8Array): void {
    const started = performance.now();
    const { keeper, memory } = this.#options;
    const kept = keeper && {
      madeFor: this.#madeFor,
      regions: PackedRegions.of(
        batch.map((region) => region && keep(memory, region.parts, { ...region, pageBase: pageBaseOf(region.linear) })),
      ),
      bytes,
    };
    if (kept) keeper.keep(kept, module);
    const instance = this.#instantiate(module);
    if (kept) this.#keptInstances.set(kept, instance);
    for (const [number, region] of batch.entries()) if (region) this.#install(region, instance, number);
    this.#statistics.modules++;
    this.#statistics.codeBytes += bytes.length;
    this.#statistics.compileMs += performance.now() - started;
  }
  #instantiate(module: WebAssembly.Module): ModuleInstance {
    const { memory } = this.#options.memory;
    const { exports } = new WebAssembly.Instance(module, { env: { memory, ...this.#functions } });
    this.#compiler.instantiated(module, exports);
    return { exports, used: 0 };
  }

  /** Code that has been compiled before starts at a place of a page, as far as can be seen of that page. */
  isKept(page: CodePage, offset: number): boolean {
    const { memory, keeper } = this.#options;
    const host = hostOf(memory.layout, page) + offset;
    if (!keeper?.regions.filter.mayStart(memory.bytes, host, offset)) return false;
    const places = this.#keptStarts?.[page.mode]?.[offset];
    if (!places) return false;
    const word = wordAt(memory.bytes, host);
    return places.some((place) => place.mayBeAt(word) && holdsPart(memory, page, place.region.parts[0], 'any'));
  }

  /** Put a region in place that is kept from before, if there is one for what stands there. */
  #reuse({ page, linear, findPage }: Omit<RegionRequest, 'lookup'>, record: number, present?: Installed): boolean {
    const { memory } = this.#options;
    const offset = Number(linear & 0xfffn);
    const places = this.#keptStarts?.[page.mode]?.[offset];
    const attempt = record * (FULLY_GROWN + 1) + grown(present);
    if (!places || this.#triedKept.has(attempt)) return false;
    const pageAt = (distance: number) => {
      if (distance === 0) return page;
      const at = linear + BigInt(distance);
      // Outside of 64-bit mode addresses wrap at 4 GiB, where regions end.
      return page.mode === 'long64' || at === BigInt.asUintN(32, at) ? findPage(at) : undefined;
    };
    const word = wordAt(memory.bytes, hostOf(memory.layout, page) + offset);
    for (const place of places) {
      const { module, number, growth } = place;
      if (!place.mayBeAt(word) || (present && growth <= present.growth)) continue;
      const { region } = place;
      const slide = slideOf(region, pageBaseOf(linear));
      const parts = findParts(memory, region, slide, pageAt);
      if (!parts) continue;
      const instance = this.#instanceOf(module);
      if (!instance) continue;
      for (const part of parts) this.#options.code.cover(part);
      this.#install({ record, linear, parts, growth, tables: region.tables }, instance, number, slide);
      this.#statistics.reused++;
      return true;
    }
    this.#triedKept.add(attempt);
    return false;
  }
  /** The instance of a kept module; undefined: the module is not there any more. */
  #instanceOf(module: KeptModule): ModuleInstance | undefined {
    const present = this.#keptInstances.get(module);
    if (present) return present;
    const compiled = this.#options.keeper?.moduleOf(module);
    if (!compiled) return undefined;
    const instance = this.#instantiate(compiled);
    this.#keptInstances.set(module, instance);
    return instance;
  }

  /** `slide`: how far its code has moved since it was compiled. */
  #install(source: RegionSource, instance: ModuleInstance, number: number, slide = 0): void {
    const { growAfter, memory } = this.#options;
    const { view, layout } = memory;
    const { record, linear, parts, growth, tables } = source;
    const before = this.#byRecord.get(record);
    if (before) this.#remove(before);
    const index = before?.index ?? this.#free.pop() ?? this.#nextIndex++;
    const place = layout.regionPlaces + index * REGION_PLACE_BYTES;
    view.setBigInt64(place, BigInt(slide), true);
    // Counted up to 0, and around.
    if (!before) view.setInt32(place + REGION_PLACE_COUNT, -Math.min(growAfter, 32767) * REGION_TABLE_SIZE, true);
    for (const [k, distance] of tables.entries()) {
      const { page } = parts.find((part) => part.distance === distance) as RegionPart<CodePage>;
      view.setInt32(place + REGION_PLACE_TABLES + k * 4, page.table, true);
    }
    this.#table?.set(index, instance.exports[regionName(number)] as () => number);
    instance.used++;
    this.#live.add(instance);
    view.setInt32((record >>> 2) + this.#infoOffset + RecordInfo.region, index, true);
    const handler = before?.handler ?? view.getUint16(record + RecordField.handler, true);
    const region = { record, linear, parts, growth, tables, index, handler, instance, requests: 0 };
    view.setUint16(record + RecordField.handler, SpecialHandler.region, true);
    this.#byRecord.set(record, region);
    this.#statistics.regions++;
    for (const { page } of parts) {
      const others = this.#byPage.get(page);
      if (others) others.add(region);
      else this.#byPage.set(page, new Set([region]));
    }
  }

  /** Drop the regions of a page that start at stale records or were made of any of these bytes, which are in their order. */
  drop(page: CodePage, stale: readonly ByteRange[], isStale: (record: number) => boolean): void {
    const isGone = ({ record, parts }: RegionSource) => isStale(record) || areIn(parts, page, stale);
    this.#thread?.changed(page, isGone);
    if (this.#waiting.length > 0) this.#waiting = this.#waiting.filter((waiting) => !isGone(waiting));
    const here = this.#byPage.get(page);
    if (!here || here.size === 0) return;
    const gone = [...here].filter(isGone);
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
    for (const { page } of region.parts) this.#byPage.get(page)?.delete(region);
    this.#byRecord.delete(region.record);
    this.#table?.set(region.index, null);
    this.#statistics.dropped++;
    if (--region.instance.used === 0) this.#live.delete(region.instance);
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
    // All of the look-up is gone through each time: by bytes, as asking a set is what took most of that.
    const isGone = this.#isGone;
    for (const index of indices) isGone[index] = 1;
    const { memory, lookup } = this.#options;
    for (let at = lookup; at < lookup + REGION_LOOKUP_BYTES; at += REGION_LOOKUP_ENTRY_BYTES)
      if (isGone[memory.words[(at + 8) >>> 2] & (REGION_TABLE_SIZE - 1)]) this.#emptyEntry(at);
    for (const index of indices) isGone[index] = 0;
  }
  readonly #isGone = new Uint8Array(REGION_TABLE_SIZE);
  #emptyEntry(at: number): void {
    this.#options.memory.view.setBigInt64(at, REGION_NOWHERE, true);
  }
  /** All records are gone. */
  dropAll(): void {
    this.#waiting = [];
    this.#triedKept.clear();
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

const pageBaseOf = (linear: bigint): bigint => linear & ~0xfffn;

/** Some of these bytes of a page are in parts. Asked for each region that is on its way, at each change of code. */
function areIn(parts: readonly RegionPart<CodePage>[], page: CodePage, ranges: readonly ByteRange[]): boolean {
  for (const part of parts) if (part.page === page && holdsAny(part.blocks, ranges)) return true;
  return false;
}

/** `ranges`: in their order, none overlapping another. */
function holdsAny(blocks: Numbers, ranges: readonly ByteRange[]): boolean {
  for (let i = 0; i < blocks.length; i += 2) {
    // The first range that ends behind the block's start.
    let [low, high] = [0, ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ranges[middle].endByte > blocks[i]) high = middle;
      else low = middle + 1;
    }
    if (low < ranges.length && ranges[low].firstByte < blocks[i + 1]) return true;
  }
  return false;
}

import { Builder, type DirectPrograms } from '../../ir/builder.ts';
import type { InstructionShape } from '../../isa/types.ts';
import { REGION_LOOKUP_BYTES, REGION_LOOKUP_ENTRY_BYTES } from '../../memory/layout.ts';
import type { ByteRange, CodeCache, CodePage } from '../code-cache.ts';
import { memoryPages, REGION_SIGNATURE, REGION_TABLE_SIZE } from '../interpreter.ts';
import type { EngineMemory } from '../memory.ts';
import { NO_SEGMENT, RecordField, RecordInfo, recordInfoOffset, SpecialHandler } from '../record.ts';
import { ModuleBuilder } from '../wasm.ts';
import { demandOf } from './demand.ts';
import { buildGraph, pageOf, type RegionGraph, type RegionInstruction, type ShapeCode } from './graph.ts';
import { type RegionCode, RegionFunction, type RegionOptions } from './region-function.ts';

/** Longest region, in instructions: TurboFan's time grows with the size of a function. */
const MAX_INSTRUCTIONS = 120;
/** The same of one that has been entered very often, and is made anew with what it calls. */
const MAX_GROWN_INSTRUCTIONS = 240;
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
  helperNumber(name: string): number;
  /** Host address of the region look-up. */
  readonly lookup: number;
}

/** What a region was made of: the record it starts at, and of each page blocks of bytes (first, end, first, end…). */
interface Source {
  readonly record: number;
  readonly blocks: ReadonlyMap<CodePage, readonly number[]>;
  /** It holds what it calls and what it goes to in other pages. */
  readonly isGrown: boolean;
}
/** A region that waits for its module. */
interface Waiting extends Source {
  readonly code: RegionCode;
}

/** A region in its place. */
interface Installed extends Source {
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
  readonly #shapes = new Map<InstructionShape, ShapeCode | undefined>();
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
    this.#emptyLookup();
  }

  attach(table: WebAssembly.Table, functions: WebAssembly.ModuleImports): void {
    this.#table = table;
    this.#functions = functions;
  }

  /** Figures for `--stats`; `executed`: instructions that ran in regions, which were entered `entries` times. */
  figures(executed: number, entries: number): Record<string, number> {
    const { regions, modules, instructions, codeBytes, dropped, generateMs, compileMs } = this.#statistics;
    return {
      'instructions in regions': executed,
      'region entries': entries,
      regions,
      'regions in place': this.#nextIndex - this.#free.length,
      'regions dropped': dropped,
      'region modules': modules,
      'instructions compiled': instructions,
      'region code bytes': codeBytes,
      'region generation ms': Math.round(generateMs),
      'region compilation ms': Math.round(compileMs),
    };
  }

  /** No room for another batch: everything decoded has to go. */
  get full(): boolean {
    return (
      this.#liveModules > MAX_MODULES || this.#nextIndex - this.#free.length > REGION_TABLE_SIZE - this.#options.batch
    );
  }

  /**
   * The record at `offset` of a page is hot: make a region that starts there, or, if there is one, a larger one. `pageAt`
   * finds the code page that lies so many bytes from the first one, if it has been looked up.
   */
  request(first: CodePage, offset: number, pageAt: (distanceBytes: number) => CodePage | undefined): void {
    const { memory, base, helperNumber } = this.#options;
    const record = memory.words[(first.table >>> 2) + offset] >>> 0;
    const present = this.#byRecord.get(record);
    if (record === 0 || present?.isGrown) return;
    // Reached again and again while it waits for its batch: it cannot wait.
    if (this.#waiting.some((waiting) => waiting.record === record)) {
      this.compileWaiting();
      return;
    }
    const started = performance.now();
    const pages = new Map<number, CodePage | undefined>([[0, first]]);
    const find = (page: number) => {
      // Outside of 64-bit mode addresses wrap at 4 GiB.
      if (!pages.has(page)) pages.set(page, first.mode === 'long64' ? pageAt(page) : undefined);
      return pages.get(page);
    };
    const isGrown = present !== undefined;
    const graph = buildGraph(offset, {
      read: (at) => this.#read(find(pageOf(at)), at),
      isHot: (at) => isGrown && this.#isHot(find(pageOf(at)), at),
      limit: isGrown ? MAX_GROWN_INSTRUCTIONS : MAX_INSTRUCTIONS,
    });
    if (graph) {
      const entryTable = (page: number) => (pages.get(page) as CodePage).table;
      const options: RegionOptions = { base, codeSegmentBase: first.mode !== 'long64', helperNumber, entryTable };
      const code = new RegionFunction(graph, options).compile();
      for (const block of graph.blocks.values()) this.#statistics.instructions += block.instructions.length;
      this.#waiting.push({ record, code, blocks: blocksOf(graph, pages), isGrown });
    }
    this.#statistics.generateMs += performance.now() - started;
    if (this.#waiting.length >= this.#options.batch) this.compileWaiting();
  }

  #recordAt(page: CodePage, offset: number): number {
    return this.#options.memory.words[(page.table >>> 2) + (offset - pageOf(offset))] >>> 0;
  }

  /** Something is reached often enough that regions start there, or soon will. */
  #isHot(page: CodePage | undefined, offset: number): boolean {
    const record = page ? this.#recordAt(page, offset) : 0;
    if (record === 0) return false;
    const { view } = this.#options.memory;
    if (view.getUint16(record + RecordField.handler, true) === SpecialHandler.region) return true;
    return view.getInt32((record >>> 2) + this.#infoOffset + RecordInfo.arrivals, true) >= this.#options.threshold / 4;
  }

  /** The decoded instruction at a place, if a region can hold it. */
  #read(page: CodePage | undefined, offset: number): RegionInstruction | undefined {
    if (!page) return undefined;
    const { memory, code } = this.#options;
    const { view, bytes } = memory;
    const record = this.#recordAt(page, offset);
    if (record === 0) return undefined;
    const handler = view.getUint16(record + RecordField.handler, true);
    if (handler <= SpecialHandler.stop) return undefined;
    const shape = code.shapeOf(record);
    const shapeCode = shape && this.#shapeCode(shape);
    if (!shapeCode) return undefined;
    const lengthBytes = bytes[record + RecordField.length];
    const u16 = (field: number) => BigInt(view.getUint16(record + field, true));
    return {
      code: shapeCode,
      offset,
      pageOffset: pageOf(offset),
      lengthBytes,
      imm: view.getBigInt64(record + RecordField.imm, true),
      disp: view.getBigInt64(record + RecordField.disp, true),
      scale: BigInt(bytes[record + RecordField.scale]),
      reg: u16(RecordField.reg),
      rm: u16(RecordField.rm),
      base: u16(RecordField.base),
      index: u16(RecordField.index),
      segment: bytes[record + RecordField.segment] ?? NO_SEGMENT,
      thisOffset: BigInt(offset - pageOf(offset)),
      nextOffset: BigInt(offset - pageOf(offset) + lengthBytes),
    };
  }

  #shapeCode(shape: InstructionShape): ShapeCode | undefined {
    if (this.#shapes.has(shape)) return this.#shapes.get(shape);
    const builder = new Builder({ directCode: this.#options.directCode });
    shape.encoding.semantics(builder, shape);
    const { program } = builder;
    const demand = demandOf(program);
    const code = demand.control.leaves ? undefined : { program, demand };
    this.#shapes.set(shape, code);
    return code;
  }

  /** Guest code is about to be entered: regions that have waited for a while are compiled, though their batch is small. */
  tick(): void {
    if (this.#waiting.length === 0 || ++this.#ticks < TICKS_TO_WAIT) return;
    this.compileWaiting();
  }

  /** Compile what waits, and put it in place. Only while the engine is outside generated code. */
  compileWaiting(): void {
    const batch = this.#waiting;
    if (batch.length === 0) return;
    this.#waiting = [];
    this.#ticks = 0;
    const started = performance.now();
    const { memory } = this.#options;
    const module = new ModuleBuilder(memoryPages(memory.layout));
    module.importFunction('regionRead', ['i64', 'i32'], ['i32']);
    module.importFunction('regionWrite', ['i64', 'i32'], ['i32']);
    module.importFunction('helper', ['i32'], ['i32']);
    batch.forEach(({ code }, i) => module.addFunction(`region${i}`, REGION_SIGNATURE, code.locals, code.body));
    const bytes = module.finish();
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), {
      env: { memory: memory.memory, ...this.#functions },
    });
    const shared = { live: batch.length };
    this.#liveModules++;
    batch.forEach((waiting, i) => this.#install(waiting, instance.exports[`region${i}`] as () => number, shared));
    this.#statistics.regions += batch.length;
    this.#statistics.modules++;
    this.#statistics.codeBytes += bytes.length;
    this.#statistics.compileMs += performance.now() - started;
  }

  #install({ record, blocks, isGrown }: Waiting, run: () => number, module: { live: number }): void {
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
    const isGone = ({ record, blocks }: Source) => isStale(record) || holdsAny(blocks.get(page) ?? [], stale);
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

function blocksOf(graph: RegionGraph, pages: ReadonlyMap<number, CodePage | undefined>): Map<CodePage, number[]> {
  const blocks = new Map<CodePage, number[]>();
  for (const { offset, instructions } of graph.blocks.values()) {
    const last = instructions[instructions.length - 1];
    const page = pages.get(pageOf(offset)) as CodePage;
    const of = blocks.get(page) ?? [];
    of.push(offset - pageOf(offset), last.offset + last.lengthBytes - pageOf(offset));
    blocks.set(page, of);
  }
  return blocks;
}
function holdsAny(blocks: readonly number[], ranges: readonly ByteRange[]): boolean {
  for (const { firstByte, endByte } of ranges)
    for (let i = 0; i < blocks.length; i += 2) if (blocks[i] < endByte && blocks[i + 1] > firstByte) return true;
  return false;
}

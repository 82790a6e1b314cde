import { Builder } from '../../ir/builder.ts';
import type { InstructionShape } from '../../isa/types.ts';
import { PAGE_SIZE_BYTES, REGION_LOOKUP_BYTES, REGION_LOOKUP_ENTRY_BYTES } from '../../memory/layout.ts';
import type { CodeCache, CodePage } from '../code-cache.ts';
import { memoryPages, REGION_SIGNATURE, REGION_TABLE_SIZE } from '../interpreter.ts';
import type { EngineMemory } from '../memory.ts';
import { NO_SEGMENT, RecordField, RecordInfo, recordInfoOffset, SpecialHandler } from '../record.ts';
import { ModuleBuilder } from '../wasm.ts';
import { demandOf } from './demand.ts';
import { buildGraph, type RegionGraph, type RegionInstruction, type ShapeCode } from './graph.ts';
import { type RegionCode, RegionFunction, type RegionOptions } from './region-function.ts';

/** Longest region, in instructions: TurboFan's time grows with the size of a function. */
const MAX_INSTRUCTIONS = 120;
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
  helperNumber(name: string): number;
  /** Host address of the region look-up. */
  readonly lookup: number;
}

/** What a region was made of: the record it starts at, and blocks of bytes of its page (first, end, first, end…). */
interface Source {
  readonly page: CodePage;
  readonly record: number;
  readonly blocks: readonly number[];
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
  readonly #byPage = new Map<CodePage, Installed[]>();
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

  /** Figures for `--stats`; `executed`: instructions that ran in regions. */
  figures(executed: number): Record<string, number> {
    const { regions, modules, instructions, codeBytes, dropped, generateMs, compileMs } = this.#statistics;
    return {
      'instructions in regions': executed,
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

  /** The record at `offset` of a page is hot: make a region that starts there. */
  request(page: CodePage, offset: number): void {
    const { memory, base, helperNumber } = this.#options;
    const record = memory.words[(page.table >>> 2) + offset] >>> 0;
    if (record === 0 || memory.view.getUint16(record + RecordField.handler, true) === SpecialHandler.region) return;
    // Reached again and again while it waits for its batch: it cannot wait.
    if (this.#waiting.some((waiting) => waiting.record === record)) {
      this.compileWaiting();
      return;
    }
    const started = performance.now();
    const graph = buildGraph(offset, (at) => this.#read(page, at), MAX_INSTRUCTIONS);
    if (graph) {
      const options: RegionOptions = { base, codeSegmentBase: page.mode !== 'long64', helperNumber };
      const code = new RegionFunction(graph, options).compile();
      for (const block of graph.blocks.values()) this.#statistics.instructions += block.instructions.length;
      this.#waiting.push({ page, record, code, blocks: blocksOf(graph) });
    }
    this.#statistics.generateMs += performance.now() - started;
    if (this.#waiting.length >= this.#options.batch) this.compileWaiting();
  }

  /** The decoded instruction at an offset of a page, if a region can hold it. */
  #read(page: CodePage, offset: number): RegionInstruction | undefined {
    if (offset >= PAGE_SIZE_BYTES) return undefined;
    const { memory, code } = this.#options;
    const { view, bytes } = memory;
    const record = memory.words[(page.table >>> 2) + offset] >>> 0;
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
      lengthBytes,
      imm: view.getBigInt64(record + RecordField.imm, true),
      disp: view.getBigInt64(record + RecordField.disp, true),
      scale: BigInt(bytes[record + RecordField.scale]),
      reg: u16(RecordField.reg),
      rm: u16(RecordField.rm),
      base: u16(RecordField.base),
      index: u16(RecordField.index),
      segment: bytes[record + RecordField.segment] ?? NO_SEGMENT,
      thisOffset: BigInt(offset),
      nextOffset: BigInt(offset + lengthBytes),
    };
  }

  #shapeCode(shape: InstructionShape): ShapeCode | undefined {
    if (this.#shapes.has(shape)) return this.#shapes.get(shape);
    const builder = new Builder();
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

  #install({ page, record, blocks }: Waiting, run: () => number, module: { live: number }): void {
    const { view } = this.#options.memory;
    const index = this.#free.pop() ?? this.#nextIndex++;
    this.#table?.set(index, run);
    this.#moduleOf[index] = module;
    view.setInt32((record >>> 2) + this.#infoOffset + RecordInfo.region, index, true);
    const region = { page, record, blocks, index, handler: view.getUint16(record + RecordField.handler, true) };
    view.setUint16(record + RecordField.handler, SpecialHandler.region, true);
    const others = this.#byPage.get(page);
    if (others) others.push(region);
    else this.#byPage.set(page, [region]);
  }

  /** Drop the regions of a page that start at stale records or were made of any of these bytes. */
  drop(page: CodePage, from: number, to: number, isStale: (record: number) => boolean): void {
    const isGone = (source: Source) => isStale(source.record) || holds(source.blocks, from, to);
    this.#waiting = this.#waiting.filter((waiting) => waiting.page !== page || !isGone(waiting));
    const regions = this.#byPage.get(page);
    if (!regions) return;
    const gone = regions.filter(isGone);
    if (gone.length === 0) return;
    this.#byPage.set(
      page,
      regions.filter((region) => !gone.includes(region)),
    );
    this.#forget(new Set(gone.map(({ index }) => index)));
    for (const { index, record, handler } of gone) {
      if (!isStale(record)) this.#restore(record, handler);
      this.#release(index);
    }
  }
  /** A record whose region is gone, though its own bytes are as they were, is interpreted again. */
  #restore(record: number, handler: number): void {
    const { view } = this.#options.memory;
    view.setUint16(record + RecordField.handler, handler, true);
    view.setInt32((record >>> 2) + this.#infoOffset + RecordInfo.arrivals, 0, true);
  }

  /** Take regions out of the look-up. */
  #forget(gone: ReadonlySet<number>): void {
    const { memory, lookup } = this.#options;
    for (let at = lookup; at < lookup + REGION_LOOKUP_BYTES; at += REGION_LOOKUP_ENTRY_BYTES)
      if (gone.has(memory.words[(at + 8) >>> 2])) this.#emptyEntry(at);
  }
  #emptyEntry(at: number): void {
    this.#options.memory.view.setBigInt64(at, NOWHERE, true);
  }
  /** All records are gone. */
  dropAll(): void {
    this.#waiting = [];
    for (const regions of this.#byPage.values()) for (const { index } of regions) this.#release(index);
    this.#byPage.clear();
    this.#emptyLookup();
  }
  #emptyLookup(): void {
    const { lookup } = this.#options;
    for (let at = lookup; at < lookup + REGION_LOOKUP_BYTES; at += REGION_LOOKUP_ENTRY_BYTES) this.#emptyEntry(at);
  }
  #release(index: number): void {
    this.#table?.set(index, null);
    this.#free.push(index);
    this.#statistics.dropped++;
    if (--this.#moduleOf[index].live === 0) this.#liveModules--;
  }
}

function blocksOf(graph: RegionGraph): number[] {
  return [...graph.blocks.values()].flatMap(({ offset, instructions }) => {
    const last = instructions[instructions.length - 1];
    return [offset, last.offset + last.lengthBytes];
  });
}
function holds(blocks: readonly number[], from: number, to: number): boolean {
  for (let i = 0; i < blocks.length; i += 2) if (blocks[i] <= to && blocks[i + 1] > from) return true;
  return false;
}

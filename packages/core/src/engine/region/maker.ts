import { PAGE_BASE } from '../../cpu/state.ts';
import { Builder } from '../../ir/builder.ts';
import { flagUse } from '../../ir/flag-use.ts';
import type { CpuMode } from '../../isa/modes.ts';
import type { InstructionShape } from '../../isa/types.ts';
import {
  callLog,
  callLogOffset,
  JUMP_LOG_ENTRIES,
  JUMP_LOG_ENTRY_BYTES,
  jumpLog,
  type MemoryLayout,
  PAGE_SIZE_BYTES,
  RECORD_BYTES,
} from '../../memory/layout.ts';
import { Asm } from '../asm.ts';
import { helperNumber } from '../helper-numbers.ts';
import { memoryPages, REGION_SIGNATURE } from '../interpreter.ts';
import type { EngineMemory } from '../memory.ts';
import { RecordField, RecordInfo, recordInfoOffset, SpecialHandler } from '../record.ts';
import { ModuleBuilder, Op, type Signature } from '../wasm.ts';
import { addressFields } from './address-fields.ts';
import { demandOf } from './demand.ts';
import { withoutDeadFlags } from './flag-effects.ts';
import { buildGraph, pageOf, type RegionGraph, type RegionInstruction, type ShapeCode } from './graph.ts';
import { type REGION_IMPORTS, type RegionCode, RegionFunction } from './region-function.ts';

/**
 * How often a region has been made anew, as it was entered very often: first with what it calls and with code of other pages, then
 * longer. One that could not become longer has grown as far as it can.
 */
export type Growth = 0 | 1 | 2;
export const FULLY_GROWN: Growth = 2;
/** Longest region, in instructions, by how it has grown: TurboFan's time grows with the size of a function. */
const MOST_INSTRUCTIONS = [120, 240, 960] as const;

/** What is called or jumped to from farther away lies in another file of the guest's, which the next process or boot may have elsewhere: such code would not be found again. */
const FARTHEST_BYTES = 16 << 20;

/** A page of decoded code. */
export interface PlacedPage {
  readonly physicalPage: number;
  readonly mode: CpuMode;
  /** Host address of its entry table. */
  readonly table: number;
}

export interface MakerOptions<Page extends PlacedPage> {
  readonly memory: Pick<EngineMemory, 'view' | 'bytes' | 'words' | 'layout'>;
  /** Host address of the vCPU's state block. */
  readonly base: number;
  /** Arrivals at a place before a region is made that starts there. */
  readonly threshold: number;
  /** The shape of the instruction that a record stands for, which lies at an offset of a page and may reach into a second one. */
  shapeOf(record: number, page: Page, offset: number, second: Page | undefined): InstructionShape | undefined;
}

/** Where a region is to start. */
export interface Start<Page> {
  readonly page: Page;
  readonly linear: bigint;
  /** Of one that has grown: it is to hold what it calls, and what it goes to in other pages or by indirect jumps. */
  readonly growth: Growth;
  /**
   * The page of code that lies so many bytes from the first one, if it has been looked up. There is none beyond the first and
   * the last address: code goes there by way of the code look-up.
   */
  pageAt(distanceBytes: number): Page | undefined;
}

export type Numbers = readonly number[] | Int32Array;

/** What a region holds of a page. */
export interface RegionPart<Page> {
  readonly page: Page;
  /** How far that lies from the page that the region starts in, in bytes. */
  readonly distance: number;
  /** Blocks of bytes: first, end, first, end… */
  readonly blocks: Numbers;
  /**
   * Addresses among these that move with the code, in their order: the first byte of each, counted through all blocks, its size and its
   * direction, as in {@link AddressField}.
   */
  readonly addresses: Numbers;
}

/** A region's function, and what it was made of. */
export interface MadeRegion<Page> {
  readonly code: RegionCode;
  readonly parts: readonly RegionPart<Page>[];
  readonly instructions: number;
  /** As asked, or further. */
  readonly growth: Growth;
}

/** Makes regions of decoded records. It changes nothing in memory, and may run in a thread of its own. */
export class RegionMaker<Page extends PlacedPage> {
  readonly #options: MakerOptions<Page>;
  readonly #infoOffset: number;
  readonly #shapes = new Map<InstructionShape, ShapeCode | undefined>();
  /** Records from here on are not looked at: they may be being written. */
  recordsEnd: number;

  constructor(options: MakerOptions<Page>) {
    this.#options = options;
    const { layout } = options.memory;
    this.#infoOffset = recordInfoOffset(layout);
    this.recordsEnd = layout.recordsEnd;
  }

  /** The region that starts at a place; undefined if no instruction there can be in one. */
  make({ page: first, linear, growth, pageAt }: Start<Page>): MadeRegion<Page> | undefined {
    const offset = Number(linear & 0xfffn);
    const pageBase = linear - BigInt(offset);
    const pages = new Map<number, Page | undefined>([[0, first]]);
    const find = (page: number) => {
      if (!pages.has(page)) pages.set(page, pageAt(page));
      return pages.get(page);
    };
    const isGrown = growth > 0;
    const found = buildGraph(offset, {
      read: (at) => this.#read(at, pageBase, find),
      isHot: (at) => isGrown && this.#isHot(find(pageOf(at)), at),
      jumpTargets: (at) => (isGrown ? this.#jumpTargets(at, pageBase) : []),
      calledFrom: (at) => (isGrown ? this.#calledFrom(at, pageBase) : undefined),
      limit: MOST_INSTRUCTIONS[growth],
    });
    if (!found) return undefined;
    const graph = withoutDeadFlags(found);
    const { base, memory } = this.#options;
    const options = {
      base,
      codeSegmentBase: first.mode !== 'long64',
      helperNumber,
      // Nothing is asked of it any more once regions have grown as far as they can.
      jumpLog: growth < FULLY_GROWN ? jumpLog(memory.layout, base) : undefined,
      callLog: callLog(memory.layout, base),
    };
    let instructions = 0;
    for (const block of graph.blocks.values()) instructions += block.instructions.length;
    const code = new RegionFunction(graph, options).compile();
    const isAll = isGrown && !graph.mayBeLonger;
    return { code, parts: partsOf(graph, pages), instructions, growth: isAll ? FULLY_GROWN : growth };
  }

  /** Where a jump has led that goes where a register or memory says, in bytes from the base of a page. */
  #jumpTargets(offset: number, pageBase: bigint): number[] {
    const { memory, base } = this.#options;
    const log = jumpLog(memory.layout, base);
    const from = BigInt.asIntN(64, pageBase + BigInt(offset));
    const [low, high] = [Number(BigInt.asIntN(32, from)), Number(from >> 32n)];
    const targets: number[] = [];
    for (let entry = log; entry < log + JUMP_LOG_ENTRIES * JUMP_LOG_ENTRY_BYTES; entry += JUMP_LOG_ENTRY_BYTES) {
      if (memory.words[entry >>> 2] !== low || memory.words[(entry >>> 2) + 1] !== high) continue;
      const target = distanceTo(memory.view.getBigInt64(entry + 8, true), pageBase);
      if (target !== undefined) targets.push(target);
    }
    return targets;
  }

  /** Where a call has led of late, in bytes from the base of a page. */
  #calledFrom(offset: number, pageBase: bigint): number | undefined {
    const { memory, base } = this.#options;
    const entry = callLog(memory.layout, base) + callLogOffset(offset - pageOf(offset));
    if (memory.view.getBigInt64(entry, true) !== BigInt.asIntN(64, pageBase + BigInt(offset))) return undefined;
    return distanceTo(memory.view.getBigInt64(entry + 8, true), pageBase);
  }

  #recordAt(page: Page, offset: number): number {
    const record = this.#options.memory.words[(page.table >>> 2) + (offset - pageOf(offset))] >>> 0;
    return record < this.recordsEnd ? record : 0;
  }

  /** Something is reached often enough that regions start there, or soon will. */
  #isHot(page: Page | undefined, offset: number): boolean {
    const record = page ? this.#recordAt(page, offset) : 0;
    if (record === 0) return false;
    const { view } = this.#options.memory;
    if (view.getUint16(record + RecordField.handler, true) === SpecialHandler.region) return true;
    return view.getInt32((record >>> 2) + this.#infoOffset + RecordInfo.arrivals, true) >= this.#options.threshold / 4;
  }

  /** The decoded instruction at a place, if a region can hold it. */
  #read(
    offset: number,
    firstPageBase: bigint,
    find: (page: number) => Page | undefined,
  ): RegionInstruction | undefined {
    const page = find(pageOf(offset));
    if (!page) return undefined;
    const { view, bytes, layout } = this.#options.memory;
    const first = this.#recordAt(page, offset);
    if (first === 0) return undefined;
    const isCrossing = view.getUint16(first + RecordField.handler, true) === SpecialHandler.crossing;
    const second = isCrossing ? find(pageOf(offset) + PAGE_SIZE_BYTES) : undefined;
    if (isCrossing && second?.table !== view.getUint32(first + RecordField.link, true)) return undefined;
    // The record behind the one that looks at the second page.
    const record = isCrossing ? first + RECORD_BYTES : first;
    const handler = view.getUint16(record + RecordField.handler, true);
    if (handler <= SpecialHandler.stop) return undefined;
    const inPage = offset - pageOf(offset);
    const shape = this.#options.shapeOf(record, page, inPage, second);
    const shapeCode = shape && this.#shapeCode(shape);
    if (!shapeCode) return undefined;
    const lengthBytes = view.getUint8(record + RecordField.length);
    const u16 = (field: number) => BigInt(view.getUint16(record + field, true));
    const imm = view.getBigInt64(record + RecordField.imm, true);
    const disp = view.getBigInt64(record + RecordField.disp, true);
    const host = hostOf(layout, page) + inPage;
    const here = bytes.subarray(host, host + Math.min(lengthBytes, PAGE_SIZE_BYTES - inPage));
    const there = second && bytes.subarray(hostOf(layout, second), hostOf(layout, second) + lengthBytes - here.length);
    const addresses = addressFields({
      bytes: there ? Uint8Array.of(...here, ...there) : here,
      mode: page.mode,
      pageBase: firstPageBase + BigInt(pageOf(offset)),
      pageOffset: inPage,
      imm,
      disp,
      ripRelative: view.getUint16(record + RecordField.base, true) === PAGE_BASE.offset,
      branches: shape.operands.some((operand) => operand.kind === 'rel'),
    });
    // An address in two pages has no place in either.
    if (there && addresses.length > 0) return undefined;
    return {
      code: shapeCode,
      offset,
      pageOffset: pageOf(offset),
      lengthBytes,
      imm,
      disp,
      addresses,
      scale: BigInt(view.getUint8(record + RecordField.scale)),
      reg: u16(RecordField.reg),
      rm: u16(RecordField.rm),
      base: u16(RecordField.base),
      index: u16(RecordField.index),
      segment: view.getUint8(record + RecordField.segment),
      thisOffset: BigInt(inPage),
      nextOffset: BigInt(inPage + lengthBytes),
    };
  }

  #shapeCode(shape: InstructionShape): ShapeCode | undefined {
    if (this.#shapes.has(shape)) return this.#shapes.get(shape);
    const loud = shapeCode(shape, false);
    const quiet = lazily(() => shapeCode(shape, true));
    const { leaves, jumps } = loud.demand.control;
    // Where a plug-in has built code for an instruction that leaves, tier 0 goes through that.
    const code =
      leaves && !jumps
        ? undefined
        : { ...loud, quiet: () => (loud.flags.writes ? { ...quiet(), quiet: () => undefined } : undefined) };
    this.#shapes.set(shape, code);
    return code;
  }
}

/** How far away something lies; undefined: too far to be found at that distance again. */
function distanceTo(linear: bigint, pageBase: bigint): number | undefined {
  const distance = Number(BigInt.asIntN(64, linear - pageBase));
  return Math.abs(distance) < FARTHEST_BYTES ? distance : undefined;
}

function shapeCode(shape: InstructionShape, quietFlags: boolean): Omit<ShapeCode, 'quiet'> {
  const builder = new Builder({ quietFlags });
  shape.encoding.semantics(builder, shape);
  const { program } = builder;
  return { program, demand: demandOf(program), flags: flagUse(program) };
}
function lazily<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

function partsOf<Page>(graph: RegionGraph, pages: ReadonlyMap<number, Page | undefined>): RegionPart<Page>[] {
  const parts = new Map<number, { blocks: number[]; addresses: number[]; sizeBytes: number }>();
  const partAt = (distance: number) => {
    const part = parts.get(distance) ?? { blocks: [], addresses: [], sizeBytes: 0 };
    parts.set(distance, part);
    return part;
  };
  for (const { offset, instructions } of graph.blocks.values()) {
    if (instructions.length === 0) continue;
    const distance = pageOf(offset);
    const part = partAt(distance);
    const first = offset - distance;
    for (const { addresses } of instructions)
      for (const { firstByte, sizeBytes, direction } of addresses)
        part.addresses.push(part.sizeBytes + firstByte - first, sizeBytes, direction);
    const last = instructions[instructions.length - 1];
    const end = last.offset + last.lengthBytes - distance;
    const here = Math.min(end, PAGE_SIZE_BYTES);
    part.blocks.push(first, here);
    part.sizeBytes += here - first;
    if (end > here) {
      const next = partAt(distance + PAGE_SIZE_BYTES);
      next.blocks.push(0, end - here);
      next.sizeBytes += end - here;
    }
  }
  return [...parts].map(([distance, { blocks, addresses }]) => {
    const page = pages.get(distance) as Page;
    return { page, distance, blocks, addresses };
  });
}

/** Host address of a page. */
export const hostOf = (layout: MemoryLayout, { physicalPage }: PlacedPage): number =>
  layout.ram + physicalPage * PAGE_SIZE_BYTES;

/** In a batch's module: the function of a region, by its number in the batch. */
export const regionName = (number: number): string => `region${number}`;

/** Of the core module, in the order in which regions count them. */
const BATCH_IMPORTS: Readonly<Record<keyof typeof REGION_IMPORTS, Signature>> = {
  regionRead: { params: ['i64', 'i32'], results: ['i32'] },
  regionWrite: { params: ['i64', 'i32'], results: ['i32'] },
  helper: { params: ['i32'], results: ['i32'] },
};

/** The module of a batch of regions. */
export function batchModule(layout: MemoryLayout, batch: readonly RegionCode[]): Uint8Array {
  const module = new ModuleBuilder(memoryPages(layout));
  for (const [name, { params, results }] of Object.entries(BATCH_IMPORTS)) module.importFunction(name, params, results);
  for (const [i, { body, locals }] of batch.entries())
    module.addFunction(regionName(i), REGION_SIGNATURE, locals, body);
  return module.finish();
}

/** Answers the functions of such modules for who has them compiled where there is no engine: they cannot be called. */
export function uncallableFunctions(memory: WebAssembly.Memory): (batch: WebAssembly.Module) => WebAssembly.Exports {
  const pages = memory.buffer.byteLength / 65536;
  const module = new ModuleBuilder({ initial: pages, maximum: pages });
  const nothing = new Asm().op(Op.unreachable);
  for (const [name, signature] of Object.entries(BATCH_IMPORTS)) module.addFunction(name, signature, [], nothing);
  const compiled = new WebAssembly.Module(module.finish() as BufferSource);
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
  return (batch) => new WebAssembly.Instance(batch, { env: { memory, ...exports } }).exports;
}

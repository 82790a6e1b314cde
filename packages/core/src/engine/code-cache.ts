import { PAGE_BASE } from '../cpu/state.ts';
import type { FlagUse } from '../ir/flag-use.ts';
import { type CpuMode, modeFacts } from '../isa/modes.ts';
import type { DecodedInstruction, DecodeResult, FetchByte, InstructionShape } from '../isa/types.ts';
import {
  ENTRY_TABLE_BYTES,
  type MemoryLayout,
  PAGE_SIZE_BYTES,
  RECORD_BYTES,
  RECORD_INFO_BYTES,
} from '../memory/layout.ts';
import type { MemoryWrites } from '../memory/memory-writes.ts';
import { FillWatch } from './fill-watch.ts';
import { MAX_RUN, NO_SEGMENT, RecordField, RecordInfo, recordInfoOffset, SpecialHandler, writeSum } from './record.ts';

/** Decoded code of one guest page in one code mode. */
export interface CodePage {
  readonly physicalPage: number;
  readonly mode: CpuMode;
  /** Host address of its entry table. */
  readonly table: number;
  /** What has been decoded in it, a run at a time; without records what is only known to be part of kept regions. */
  readonly runs: Run[];
  /** One flag per byte: part of a decoded instruction, or of one that has gone since the page was last in order. */
  readonly decoded: Uint8Array;
  /** Pages that have an instruction reaching into this one. */
  readonly reachedFrom: Set<CodePage>;
  /** Records of single instructions, each with a stop behind it, by offset. */
  readonly singles: Map<number, number>;
  /** Those of {@link runs} that have no records, by {@link placeOf}. */
  readonly covered: Set<number>;
  /** Bytes of runs that have gone since the page was last in order, in any order: see {@link CodeCache.settle}. */
  gone: ByteRange[];
}

/** What is kept of bytes that have gone is put together when it is more than this. */
const MANY_RANGES = 64;

/** How far an instruction of another page may reach into one (SDM vol. 2A, 2.3.11: 15 bytes at most). */
const REACH_BYTES = 15;

/** Bytes of a page. */
export interface ByteRange {
  readonly firstByte: number;
  readonly endByte: number;
}
/** Records of code that was decoded at once: host addresses, and the bytes of the page that it stands for. */
interface Run extends ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface CodeCacheHooks {
  decode(fetch: FetchByte, mode: CpuMode): DecodeResult;
  handlerFor(shape: InstructionShape): HandlerChoice;
  /** The handler that does both of two successive handlers' work; 0: there is none. */
  pairFor(first: number, second: number): number;
  /** A page has become a code page: writes to it must take the slow path from now on. */
  forbidWrites(hostPage: number): void;
  /**
   * Bytes of a page have changed, and the records that satisfy `isStale` are not to be entered any more; from now on
   * nobody says whether the bytes in `stale` change again.
   */
  invalidated(page: CodePage, stale: readonly ByteRange[], isStale: (record: number) => boolean): void;
  /** Code that has been compiled before starts at an offset of a page, as far as can be seen of the page. */
  isKept?(page: CodePage, offset: number): boolean;
  /** With how many arrivals the record of such a place begins. */
  readonly arrivalsOfKept: number;
  /** Everything decoded is gone: drop all code look-ups. */
  flushed(): void;
}

/** How an instruction shape is run. */
export interface HandlerChoice {
  readonly handler: number;
  /** The same without arithmetic flags; {@link handler} where there is no such. */
  quiet(): number;
  readonly flags: FlagUse;
  /** It goes to a direct target. */
  readonly branches: boolean;
}

const CROSSING_GUARD: HandlerChoice = {
  handler: SpecialHandler.crossing,
  quiet: () => SpecialHandler.crossing,
  flags: { writes: false, writesAll: false, observes: true, stores: false },
  branches: false,
};

const UNDEFINED_VECTOR = 6;
const PROTECTION_VECTOR = 13;

/** Decoded records in linear memory, by guest-physical page. */
export class CodeCache {
  readonly #layout: MemoryLayout;
  readonly #hooks: CodeCacheHooks;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #infoOffset: number;
  readonly #pages = new Map<number, CodePage[]>();
  /** In the order of their entry tables. */
  readonly #byTable: CodePage[] = [];
  #nextRecord: number;
  #nextTable = 0;
  /** End of the bytes that were decoded last, in their page. */
  #coveredEnd = 0;
  /** Number of the shape plus 1, by number of the record; 0 for those that are no instruction. An array of the shapes themselves grows slowly. */
  readonly #shapeOfRecord: Int32Array;
  readonly #shapes: InstructionShape[] = [];
  /** An encoding of each shape decoded, in hexadecimal; kept only while someone asks for it. */
  examples: Map<InstructionShape, string> | undefined;
  /** Handler choices of the run being decoded, and where their records are: so many of each. */
  readonly #choices: HandlerChoice[] = [];
  readonly #choiceRecords: number[] = [];
  #choiceCount = 0;
  readonly #fills = new FillWatch();
  readonly statistics = { decoded: 0, invalidations: 0, flushes: 0 };

  constructor(buffer: ArrayBufferLike, layout: MemoryLayout, hooks: CodeCacheHooks) {
    this.#layout = layout;
    this.#hooks = hooks;
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.#words = new Int32Array(buffer);
    this.#nextRecord = layout.records;
    this.#infoOffset = recordInfoOffset(layout);
    this.#shapeOfRecord = new Int32Array((layout.recordsEnd - layout.records) / RECORD_BYTES);
  }

  /** The code page for a host page, made if need be; {@link hasRoom} must hold. */
  page(hostPage: number, mode: CpuMode): CodePage {
    const physicalPage = (hostPage - this.#layout.ram) >>> 12;
    const pages = this.#pages.get(physicalPage);
    const found = pages?.find((page) => page.mode === mode);
    if (found) {
      this.#enter(found);
      return found;
    }
    const table = this.#layout.entryTables + this.#nextTable++ * ENTRY_TABLE_BYTES;
    const page: CodePage = {
      physicalPage,
      mode,
      table,
      runs: [],
      decoded: new Uint8Array(PAGE_SIZE_BYTES),
      reachedFrom: new Set(),
      singles: new Map(),
      covered: new Set(),
      gone: [],
    };
    this.#byTable.push(page);
    if (pages) pages.push(page);
    else this.#pages.set(physicalPage, [page]);
    this.#enter(page);
    return page;
  }

  /** Pages from a number on; they are counted in the order of their entry tables. */
  pagesFrom(number: number): readonly CodePage[] {
    return this.#byTable.slice(number);
  }
  numberOf(page: CodePage): number {
    return (page.table - this.#layout.entryTables) / ENTRY_TABLE_BYTES;
  }
  pageOfNumber(number: number): CodePage {
    return this.#byTable[number];
  }
  /** Where the next record goes: those before it are complete. */
  get recordsEnd(): number {
    return this.#nextRecord;
  }

  /** The page with this entry table. */
  pageOfTable(table: number): CodePage | undefined {
    return this.#byTable[(table - this.#layout.entryTables) / ENTRY_TABLE_BYTES];
  }

  /** Generated code finds the page in the mode that it was looked up in last. */
  #enter(page: CodePage): void {
    this.#words[(this.#layout.codeTables >>> 2) + page.physicalPage] = page.table | modeFacts(page.mode).number;
    this.#mark(page);
  }

  #hostOf(page: CodePage): number {
    return this.#layout.ram + page.physicalPage * PAGE_SIZE_BYTES;
  }

  #mark(page: CodePage): void {
    const flag = this.#layout.pageFlags + page.physicalPage;
    if (this.#bytes[flag] & 1) return;
    this.#bytes[flag] |= 1;
    this.#hooks.forbidWrites(this.#hostOf(page) | 0);
  }

  /** Whether there is room for one more run; call {@link flush} between runs of the engine if not. */
  get hasRoom(): boolean {
    return (
      this.#nextRecord + (MAX_RUN * 2 + 4) * RECORD_BYTES < this.#layout.recordsEnd &&
      this.#nextTable + 4 < this.#layout.entryTableCount
    );
  }

  /** Forget everything. Only while the engine is outside generated code. */
  flush(): void {
    this.statistics.flushes++;
    const { entryTables, pageFlags, codeTables, ramSizeBytes, records, recordInfo } = this.#layout;
    this.#bytes.fill(0, entryTables, entryTables + this.#nextTable * ENTRY_TABLE_BYTES);
    this.#bytes.fill(0, pageFlags, pageFlags + ramSizeBytes / PAGE_SIZE_BYTES);
    this.#bytes.fill(0, codeTables, codeTables + (ramSizeBytes / PAGE_SIZE_BYTES) * 4);
    this.#bytes.fill(0, recordInfo, recordInfo + ((this.#nextRecord - records) / RECORD_BYTES) * RECORD_INFO_BYTES);
    this.#pages.clear();
    this.#byTable.length = 0;
    this.#nextRecord = records;
    this.#nextTable = 0;
    this.#hooks.flushed();
  }

  /**
   * Decode the straight-line run at `offset` of a page. `following` finds the next page's code page, for an
   * instruction that reaches into it (undefined: it cannot be fetched).
   */
  decodeRun(page: CodePage, offset: number, following: () => CodePage | undefined): void {
    const start = this.#nextRecord;
    const firstByte = offset;
    let ordinal = 1;
    this.#choiceCount = 0;
    for (;;) {
      const entry = (page.table >>> 2) + offset;
      if (offset >= PAGE_SIZE_BYTES || this.#words[entry] !== 0 || ordinal > MAX_RUN) {
        // It stands for the end of the instruction before it: what follows is no branch backwards.
        this.#special(SpecialHandler.next, ordinal - 1, offset - 1, offset);
        break;
      }
      this.#words[entry] = this.#nextRecord;
      const next = this.#decodeOne(page, offset, ordinal, following);
      if (next < 0) break;
      offset = next;
      ordinal++;
    }
    page.decoded.fill(1, firstByte, this.#coveredEnd);
    page.runs.push({ start, end: this.#nextRecord, firstByte, endByte: this.#coveredEnd });
    this.#silenceDeadFlags();
    this.#pairUp();
  }

  /** Records whose handler and the next one's have a common handler get that; the next one keeps its own for jumps to it. */
  #pairUp(): void {
    const records = this.#choiceRecords;
    const handlerOf = (record: number) => this.#words[(record + RecordField.handler) >>> 2] & 0xffff;
    let first = this.#choiceCount > 0 ? handlerOf(records[0]) : 0;
    for (let i = 1; i < this.#choiceCount; i++) {
      const second = handlerOf(records[i]);
      const pair = this.#hooks.pairFor(first, second);
      if (pair !== 0) this.#view.setUint16(records[i - 1] + RecordField.handler, pair, true);
      first = second;
    }
  }

  /**
   * Backwards through the run: flags that are written again before anyone can see them need not be computed. An
   * instruction that stores may change the code behind it, and with that who sees its flags.
   */
  #silenceDeadFlags(): void {
    let live = true;
    for (let i = this.#choiceCount - 1; i >= 0; i--) {
      const choice = this.#choices[i];
      const { flags } = choice;
      if (flags.writes && !flags.stores && !live)
        this.#view.setUint16(this.#choiceRecords[i] + RecordField.handler, choice.quiet(), true);
      live = flags.observes || (live && !flags.writesAll);
    }
  }

  /** Bytes of the instruction being decoded, as far as its page goes. Made once: there are hundreds of thousands of instructions. */
  readonly #fetch: FetchByte = (i) => (i < this.#fetchBytes ? this.#bytes[this.#fetchStart + i] : -1);
  #fetchStart = 0;
  #fetchBytes = 0;

  #choose(choice: HandlerChoice, record: number): void {
    this.#choices[this.#choiceCount] = choice;
    this.#choiceRecords[this.#choiceCount++] = record;
  }

  /** Decode one instruction; answers the offset of the next one, or −1 at the end of the run. */
  #decodeOne(page: CodePage, offset: number, ordinal: number, following: () => CodePage | undefined): number {
    const host = this.#hostOf(page) + offset;
    const left = PAGE_SIZE_BYTES - offset;
    this.#fetchStart = host;
    this.#fetchBytes = left;
    let result = this.#hooks.decode(this.#fetch, page.mode);
    if (!result.ok && result.reason === 'fetch') {
      const second = following();
      if (!second) {
        this.#special(SpecialHandler.fetch, ordinal, offset, offset);
        this.#coveredEnd = PAGE_SIZE_BYTES;
        return -1;
      }
      const secondHost = this.#hostOf(second);
      result = this.#hooks.decode((i) => this.#bytes[i < left ? host + i : secondHost + i - left], page.mode);
      this.#special(SpecialHandler.crossing, ordinal, offset, offset);
      // The guard can leave, and fetching again can fault.
      this.#choose(CROSSING_GUARD, this.#nextRecord - RECORD_BYTES);
      this.#view.setUint32(this.#nextRecord - RECORD_BYTES + RecordField.link, second.table, true);
      second.reachedFrom.add(page);
      second.decoded.fill(1, 0, 15);
    }
    if (!result.ok) {
      this.#special(
        SpecialHandler.undefined,
        ordinal,
        offset,
        result.reason === 'tooLong' ? PROTECTION_VECTOR : UNDEFINED_VECTOR,
      );
      this.#coveredEnd = offset + Math.min(left, 15);
      return -1;
    }
    const { instruction } = result;
    this.statistics.decoded++;
    this.#keepExample(instruction, host);
    this.#write(page, instruction, ordinal, offset);
    this.#nextRecord += RECORD_BYTES;
    this.#coveredEnd = offset + Math.min(left, instruction.lengthBytes);
    return instruction.shape.encoding.endsBlock ? -1 : offset + instruction.lengthBytes;
  }

  /** Bytes of a page are part of compiled code, whether they have been decoded or not. */
  cover({ page, blocks }: { readonly page: CodePage; readonly blocks: readonly number[] | Int32Array }): void {
    for (let i = 0; i < blocks.length; i += 2) {
      const [firstByte, endByte] = [blocks[i], blocks[i + 1]];
      const run = { start: 0, end: 0, firstByte, endByte };
      // A region that comes and goes leaves what it was made of, as long as that does not change.
      if (page.covered.has(placeOf(run))) continue;
      page.covered.add(placeOf(run));
      page.decoded.fill(1, firstByte, endByte);
      page.runs.push(run);
    }
    this.#mark(page);
  }

  #recordNumber(record: number): number {
    return (record - this.#layout.records) / RECORD_BYTES;
  }
  /** The shape of the instruction that a record stands for. */
  shapeOf(record: number): InstructionShape | undefined {
    if (record >= this.#nextRecord) return undefined;
    const number = this.#shapeOfRecord[this.#recordNumber(record)];
    return number > 0 ? this.#shapes[number - 1] : undefined;
  }

  /** What the record stood for is no longer there. */
  readonly isStale = (record: number): boolean =>
    record === 0 || this.#view.getUint16((record >>> 0) + RecordField.handler, true) === SpecialHandler.refetch;

  #keepExample(instruction: DecodedInstruction, host: number): void {
    if (!this.examples || this.examples.has(instruction.shape)) return;
    const bytes = [...this.#bytes.subarray(host, host + instruction.lengthBytes)];
    this.examples.set(instruction.shape, bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(''));
  }

  #special(handler: number, ordinal: number, offset: number, imm: number): void {
    const at = this.#nextRecord;
    this.#shapeOfRecord[this.#recordNumber(at)] = 0;
    this.#bytes.fill(0, at, at + RECORD_BYTES);
    this.#view.setUint16(at + RecordField.handler, handler, true);
    this.#bytes[at + RecordField.ordinal] = ordinal;
    this.#view.setUint16(at + RecordField.pageOffset, offset, true);
    this.#view.setInt32(at + RecordField.imm, imm, true);
    this.#nextRecord += RECORD_BYTES;
  }

  /** Write a record. Direct branches keep their target's offset from the page's base as immediate. */
  #write(page: CodePage, d: DecodedInstruction, ordinal: number, offset: number): void {
    const at = this.#nextRecord;
    const choice = this.#hooks.handlerFor(d.shape);
    const { shape } = d;
    this.#shapes[shape.id] ??= shape;
    this.#shapeOfRecord[this.#recordNumber(at)] = shape.id + 1;
    this.#choose(choice, at);
    const after = offset + d.lengthBytes;
    const words = this.#words;
    const first = at >>> 2;
    // Fields of a record, a word at a time: see RecordField.
    words[first] = choice.handler | (d.lengthBytes << 16) | (ordinal << 24);
    words[first + 1] = offset | (d.reg << 16);
    words[first + 2] = d.rm | ((d.ripRelative ? PAGE_BASE.offset : d.base) << 16);
    words[first + 3] = d.index | (d.scale << 16) | ((d.segment < 0 ? NO_SEGMENT : d.segment) << 24);
    writeSum(words, (at + RecordField.disp) >>> 2, d.dispLow, d.dispHigh, d.ripRelative ? after : 0);
    writeSum(words, (at + RecordField.imm) >>> 2, d.immLow, d.immHigh, choice.branches ? after : 0);
    if (choice.branches) words[(at + RecordField.link) >>> 2] = 0;
    if (this.#hooks.isKept?.(page, offset))
      words[((at >>> 2) + this.#infoOffset + RecordInfo.arrivals) >>> 2] = this.#hooks.arrivalsOfKept;
  }

  /** Decode one instruction and a stop record behind it; answers the host address, for single-stepping. */
  decodeSingle(page: CodePage, offset: number, following: () => CodePage | undefined): number {
    const known = page.singles.get(offset);
    if (known !== undefined && !this.isStale(known)) return known;
    const at = this.#nextRecord;
    this.#choiceCount = 0;
    const next = this.#decodeOne(page, offset, 1, following);
    // What could not be fetched may be there the next time.
    if (this.shapeOf(at)) page.singles.set(offset, at);
    const record = this.#nextRecord - RECORD_BYTES;
    const end = next < 0 ? offset + this.#bytes[record + RecordField.length] : next;
    this.#special(SpecialHandler.stop, 2, end, end);
    this.#stopAtTarget(record);
    page.decoded.fill(1, offset, this.#coveredEnd);
    page.runs.push({ start: at, end: this.#nextRecord, firstByte: offset, endByte: this.#coveredEnd });
    return at;
  }

  /** A branch within the page goes to a stop record of its own: budget or not, it is the last instruction. */
  #stopAtTarget(record: number): void {
    const isBranch = this.shapeOf(record)?.operands.some((operand) => operand.kind === 'rel');
    const target = this.#view.getBigInt64(record + RecordField.imm, true);
    if (!isBranch || target < 0n || target >= PAGE_SIZE_BYTES) return;
    this.#view.setUint32(record + RecordField.link, this.#nextRecord, true);
    // The stop record's ordinal less 1, less the branch's.
    this.#view.setInt32(record + RecordField.linkBudget, 1 - this.#bytes[record + RecordField.ordinal], true);
    this.#special(SpecialHandler.stop, 2, Number(target), Number(target));
  }

  /** Bytes of guest memory have been written: drop decoded code that they belong to. */
  written(host: number, sizeBytes: number): void {
    const first = host - this.#layout.ram;
    const last = first + sizeBytes - 1;
    for (let page = first >>> 12; page <= last >>> 12; page++) {
      if (!(this.#bytes[this.#layout.pageFlags + page] & 1)) continue;
      const firstByte = Math.max(first, page * PAGE_SIZE_BYTES) & 0xfff;
      const endByte = (Math.min(last, page * PAGE_SIZE_BYTES + 0xfff) & 0xfff) + 1;
      const hit = (this.#pages.get(page) ?? []).filter((code) => overlaps(code.decoded, firstByte, endByte - 1));
      for (const code of hit) this.#invalidate(code, [{ firstByte, endByte }]);
      if (!this.#fills.goesOn(page * PAGE_SIZE_BYTES + firstByte, endByte - firstByte, hit.length > 0)) continue;
      for (const code of hit) this.#invalidate(code, [{ firstByte: endByte, endByte: PAGE_SIZE_BYTES }]);
    }
  }
  /** The same for many writes, each within a page: of those that follow each other, what was decoded of a page is gone through once. */
  writtenAll(writes: MemoryWrites): void {
    const { pageFlags } = this.#layout;
    const { count, gpas } = writes;
    for (let i = 0; i < count; ) {
      const page = gpas[i] >>> 12;
      const first = i;
      while (i < count && gpas[i] >>> 12 === page) i++;
      if (this.#bytes[pageFlags + page] & 1) this.#pageWritten(page, writes, first, i);
    }
  }
  #pageWritten(page: number, { gpas, sizesBytes }: MemoryWrites, first: number, end: number): void {
    for (const code of this.#pages.get(page) ?? []) {
      const hit: ByteRange[] = [];
      for (let i = first; i < end; i++) {
        const firstByte = gpas[i] & 0xfff;
        const endByte = firstByte + sizesBytes[i];
        if (overlaps(code.decoded, firstByte, endByte - 1)) hit.push({ firstByte, endByte });
      }
      if (hit.length > 0) this.#invalidate(code, hit);
    }
  }

  /** Drop the runs of a page that hold any of these bytes; all of them where instructions reach in from another page. */
  #invalidate(page: CodePage, ranges: readonly ByteRange[]): void {
    if (page.runs.length === 0 && page.reachedFrom.size === 0) return;
    this.statistics.invalidations++;
    const written = joined(ranges);
    const stale = takeOut(page.runs, (run) => hitsAny(run, written));
    for (const run of stale) {
      this.#dropRun(page, run);
      if (run.start === run.end) page.covered.delete(placeOf(run));
    }
    this.#hooks.invalidated(page, stale.length > 0 ? joined([...written, ...stale]) : written, this.isStale);
    page.gone.push(...stale);
    if (page.gone.length > MANY_RANGES) page.gone = joined(page.gone);
    const reaching = ranges.some(({ firstByte }) => firstByte < REACH_BYTES) ? [...page.reachedFrom] : [];
    for (const other of reaching) {
      page.reachedFrom.delete(other);
      this.#invalidate(other, [{ firstByte: PAGE_SIZE_BYTES - 15, endByte: PAGE_SIZE_BYTES }]);
    }
    const pages = this.#pages.get(page.physicalPage) as CodePage[];
    if (pages.every((code) => code.runs.length === 0 && code.reachedFrom.size === 0))
      this.#bytes[this.#layout.pageFlags + page.physicalPage] &= ~1;
  }

  /**
   * Before code of a page is looked for: what is left of it forgets what has gone. Not at once, since code is often written to many
   * times before it runs again, and a guest that is being changed waits meanwhile. A branch to a record that has gone leads here.
   */
  settle(page: CodePage): void {
    if (page.gone.length === 0) return;
    for (const run of page.runs) this.#unlink(run);
    this.#recover(page, joined(page.gone));
    page.gone = [];
  }

  /** The same for pages that have been written to, at once. */
  settleAll({ count, gpas }: MemoryWrites): void {
    const pages = new Set<number>();
    for (let i = 0; i < count; i++) pages.add(gpas[i] >>> 12);
    for (const page of pages) for (const code of this.#pages.get(page) ?? []) this.settle(code);
  }

  #dropRun(page: CodePage, { start, end }: Run): void {
    for (let at = start; at < end; at += RECORD_BYTES) {
      // The end of a run stands for no bytes of code; it stays, so that the run's instructions are counted.
      if (this.#view.getUint16(at + RecordField.handler, true) === SpecialHandler.next) continue;
      this.#view.setUint16(at + RecordField.handler, SpecialHandler.refetch, true);
      const entry = (page.table >>> 2) + this.#view.getUint16(at + RecordField.pageOffset, true);
      if (this.#words[entry] >>> 0 === at) this.#words[entry] = 0;
    }
  }

  /** Branches of a run forget targets that are stale. */
  #unlink({ start, end }: Run): void {
    for (let at = start; at < end; at += RECORD_BYTES) {
      const link = this.#words[(at + RecordField.link) >>> 2] >>> 0;
      if (link < this.#layout.records || link >= this.#nextRecord || !this.isStale(link)) continue;
      const branches = this.shapeOf(at)?.operands.some((operand) => operand.kind === 'rel');
      const isNext = this.#view.getUint16(at + RecordField.handler, true) === SpecialHandler.next;
      if (branches || isNext) this.#view.setUint32(at + RecordField.link, 0, true);
    }
  }

  /** Which bytes are decoded: those of stale runs not, unless a run that is left or an instruction that reaches in holds them. */
  #recover(page: CodePage, stale: readonly ByteRange[]): void {
    for (const { firstByte, endByte } of stale) page.decoded.fill(0, firstByte, endByte);
    page.decoded.fill(page.reachedFrom.size > 0 ? 1 : 0, 0, REACH_BYTES);
    for (const run of page.runs) {
      if (run.firstByte < REACH_BYTES || hitsAny(run, stale)) page.decoded.fill(1, run.firstByte, run.endByte);
    }
  }
}

/** Take the runs out of a list that are stale. */
function takeOut(runs: Run[], isStale: (run: Run) => boolean): readonly Run[] {
  const first = runs.findIndex(isStale);
  if (first < 0) return NO_RUNS;
  const taken: Run[] = [];
  let end = first;
  for (let i = first; i < runs.length; i++) {
    const run = runs[i];
    if (isStale(run)) taken.push(run);
    else runs[end++] = run;
  }
  runs.length = end;
  return taken;
}
const NO_RUNS: readonly Run[] = [];

/** A number that no other range of a page has; an instruction may reach beyond its end. */
const placeOf = ({ firstByte, endByte }: ByteRange): number => firstByte * 2 * PAGE_SIZE_BYTES + endByte;

/** `ranges`: as {@link joined} answers them. */
function hitsAny(run: ByteRange, ranges: readonly ByteRange[]): boolean {
  for (const { firstByte, endByte } of ranges) {
    if (firstByte >= run.endByte) return false;
    if (endByte > run.firstByte) return true;
  }
  return false;
}

/** The same bytes in as few ranges as there can be, in their order. */
function joined(ranges: readonly ByteRange[]): ByteRange[] {
  if (ranges.length === 1) return [ranges[0]];
  const all: { firstByte: number; endByte: number }[] = [];
  for (const { firstByte, endByte } of ranges.toSorted((a, b) => a.firstByte - b.firstByte)) {
    const last = all[all.length - 1];
    if (last && firstByte <= last.endByte) last.endByte = Math.max(last.endByte, endByte);
    else all.push({ firstByte, endByte });
  }
  return all;
}

function overlaps(decoded: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i <= to; i++) if (decoded[i]) return true;
  return false;
}

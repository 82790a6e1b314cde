import {
  BUDGET,
  EXIT_DETAIL,
  EXIT_RECORD,
  FAULT_ADDRESS,
  FAULT_ERROR_CODE,
  FAULT_VECTOR,
  MMU_FLAGS,
  PAGE_BASE,
  REGION_ENTRIES,
  REGION_INSTRUCTIONS,
  RIP,
  SEGMENT_BASE,
  TLB,
  TLB_FILLS,
} from '../cpu/state.ts';
import type { DirectPrograms } from '../ir/builder.ts';
import { decode } from '../isa/decoder.ts';
import { type Helper, helpers as isaHelpers } from '../isa/helpers/index.ts';
import type { CpuMode } from '../isa/modes.ts';
import { reachesStackSegment } from '../isa/stack-fault.ts';
import type { DecodedInstruction } from '../isa/types.ts';
import { TlbBanks } from '../memory/banks.ts';
import {
  PENDING_GPA_OFFSET,
  REGION_LOOKUP_BYTES,
  SCRATCH_OFFSET,
  stateBase,
  TLB_EXEC_OFFSET,
} from '../memory/layout.ts';
import type { MemoryWrites } from '../memory/memory-writes.ts';
import { MmuFlag, WalkAccess } from '../memory/walk.ts';
import { CodeCache, type CodePage } from './code-cache.ts';
import { type CodeKeeper, compileOnly } from './code-keeper.ts';
import { COMMON_INSTRUCTIONS } from './common.ts';
import { NO_ERROR_CODE } from './emit.ts';
import { EventEntry } from './event-entry.ts';
import { ExitCode } from './exit-code.ts';
import { type CommonInstructions, Handlers, type ProfiledHandler } from './handlers.ts';
import { HELPER_NAMES, type HostHelper, helperNumber } from './helper-numbers.ts';
import { HOT_INSTRUCTIONS } from './hot.ts';
import { buildInterpreter, interpreterKey, ProfileLayout } from './interpreter.ts';
import type { EngineMemory } from './memory.ts';
import { WALK_FAULT, WALK_MMIO } from './memory-code.ts';
import { RecordField, SpecialHandler } from './record.ts';
import { lookupOffset } from './region/known-table.ts';
import { Regions } from './region/regions.ts';
import type { RegionThread } from './region/thread-messages.ts';
import { straddlingAccess } from './straddling.ts';

/** What the engine asks of the machine. */
export interface EngineHost {
  /** Read device memory: little-endian bytes into `into`. */
  mmioRead(gpa: number, into: Uint8Array): void;
  mmioWrite(gpa: number, bytes: Uint8Array): void;
  /**
   * The second level of translation, asked while MMU_FLAGS says that there is one: the number of the machine's page, negative if it may
   * not be accessed so. `access`: as of the walk, or TABLE_ACCESS.
   */
  secondLevel?(page: number, access: number): number;
  /**
   * Helpers beyond the instruction set's own: the time stamp counter into RESULT[0]; INVLPG of the address in ARG[0] and
   * MOV of ARG[0] to CR3, privileges checked.
   */
  readonly helpers: Readonly<Record<HostHelper, Helper>>;
}

export interface EngineOptions {
  readonly vcpu?: number;
  readonly vcpus?: number;
  /** Inline handlers by example bytes; default: the measured list. */
  readonly hot?: readonly string[];
  /** Handlers that are compiled together, by example bytes; default: the measured lists, or none if `hot` is given. */
  readonly common?: CommonInstructions;
  /** Compile at most so many handlers before starting afresh; at least 404. Default: as many as the table holds. */
  readonly maxCompiledHandlers?: number;
  /** Count executions per handler, for measuring that list. */
  readonly profile?: boolean;
  /** What plug-ins have built for instructions that would leave. */
  readonly directCode?: DirectPrograms;
  /** Compiled regions (tier 1): none, or how they are made. */
  readonly regions?: RegionPolicy | false | undefined;
  /** A thread that makes them, a new one; without it they are made between two stays in guest code. */
  readonly regionThread?: RegionThread | undefined;
  /** Knows code compiled in other runs, and is told of what is compiled in this one. */
  readonly codeKeeper?: CodeKeeper | undefined;
  /** Told of the linear address of each straight run of code that is decoded; not of what runs in kept code alone. */
  readonly onDecoded?: ((linear: bigint) => void) | undefined;
}

/** When code is compiled into regions. */
export interface RegionPolicy {
  /** A place reached so often by look-ups and branches backwards gets a region. */
  readonly threshold: number;
  /** Regions to a module. */
  readonly batch?: number;
  /** A region entered so often is made anew with what it calls. */
  readonly growAfter?: number;
}

const STACK_FAULT = 12;
const GENERAL_PROTECTION = 13;
const PAGE_BYTES = 4096;
/** Page faults that a stay in guest code goes on over: a guest that does nothing but fault comes out all the same. */
const MAX_ENTERED = 256;

/** Regions pack what is left together with two bits more. */
const MAX_BUDGET = 2 ** 28;
const DEFAULT_THRESHOLD = 1000;
const DEFAULT_GROW_AFTER = 16384;
const DEFAULT_BATCH = 128;
/** Arrivals at a place before code is put there that has been kept. */
const ARRIVALS_OF_KEPT = 4;

interface CoreExports {
  readonly regionTable: WebAssembly.Table;
  run(): number;
  walk(gva: bigint, access: number): number;
  walkHalves(low: number, high: number, access: number): number;
  regionRead(gva: bigint, sizeBytes: number): number;
  regionWrite(gva: bigint, sizeBytes: number): number;
  logFill(entry: number): void;
  copy(to: number, from: number, sizeBytes: number): void;
  table: WebAssembly.Table;
}

/** Runs the vCPU whose state block is in its place: tier 0, the interpreter, with decoded records. */
export class Engine {
  readonly memory: EngineMemory;
  /** Host address of the state block. */
  readonly base: number;
  readonly banks: TlbBanks;
  readonly code: CodeCache;
  /** How code bytes are read at present; part of the TLB bank's key too. */
  mode: CpuMode = 'long64';
  readonly #core: CoreExports;
  readonly #host: EngineHost;
  readonly #onDecoded: ((linear: bigint) => void) | undefined;
  readonly #helpers: readonly Helper[];
  readonly #handlers: Handlers;
  readonly #events: EventEntry;
  readonly regions: Regions | undefined;
  #exitRequested = false;

  constructor(memory: EngineMemory, host: EngineHost, options: EngineOptions = {}) {
    this.memory = memory;
    this.#host = host;
    this.#onDecoded = options.onDecoded;
    this.#helpers = HELPER_NAMES.map((name) => host.helpers[name as HostHelper] ?? isaHelpers[name]);
    const index = options.vcpu ?? 0;
    this.base = stateBase(index);
    const { layout } = memory;
    this.banks = new TlbBanks(memory.memory.buffer, layout, { index, count: options.vcpus ?? 1 });
    const keeper = options.codeKeeper;
    const compiler = keeper ?? compileOnly;
    const policy = options.profile ? false : (options.regions ?? { threshold: DEFAULT_THRESHOLD });
    const regionLookup = layout.regionLookups + index * REGION_LOOKUP_BYTES;
    const forInterpreter = {
      layout,
      base: this.base,
      regionLookup,
      hotThreshold: policy ? policy.threshold : 0,
      helperNumber,
      ...(options.profile ? { profileAt: layout.recordsEnd - ProfileLayout.sizeBytes } : {}),
    };
    const hot = options.profile ? [] : (options.hot ?? HOT_INSTRUCTIONS);
    const common = options.common ?? (options.profile || options.hot ? {} : COMMON_INSTRUCTIONS);
    const directCode: DirectPrograms = options.directCode ?? new Map();
    const maxCompiled = options.maxCompiledHandlers;
    this.#handlers = new Handlers({ ...forInterpreter, memory, hot, common, maxCompiled, directCode, compiler });
    const { base } = this;
    const rewind = () => this.rewindToRecord();
    this.#events = new EventEntry({ memory, base, handlers: this.#handlers, rewind });
    this.code = new CodeCache(memory.memory.buffer, layout, {
      decode,
      handlerFor: (shape) => this.#handlers.choiceFor(shape),
      pairFor: (first, second) => this.#handlers.pairFor(first, second),
      forbidWrites: (hostPage) => this.banks.forbidWrites(hostPage),
      ...(keeper && { isKept: (page, offset) => this.regions?.isKept(page, offset) ?? false }),
      arrivalsOfKept: Math.max(0, (policy ? policy.threshold : 0) - ARRIVALS_OF_KEPT),
      invalidated: (page, stale, isStale) => this.regions?.drop(page, stale, isStale),
      flushed: () => {
        this.banks.flushCode();
        this.regions?.dropAll();
      },
    });
    if (options.profile) this.code.examples = new Map();
    const { inline, inlineName } = this.#handlers;
    const generate = () => buildInterpreter({ ...forInterpreter, inline });
    const module = compiler.named(['interpreter', interpreterKey(forInterpreter), inlineName].join('\n'), generate);
    const instance = new WebAssembly.Instance(module, { env: { memory: memory.memory, ...this.#imports() } });
    compiler.instantiated(module, instance.exports);
    this.#core = instance.exports as unknown as CoreExports;
    this.banks.copy = this.#core.copy;
    this.#handlers.attach(this.#core.table, { ...instance.exports });
    if (policy) {
      this.regions = new Regions({
        memory,
        base: this.base,
        code: this.code,
        batch: policy.batch ?? DEFAULT_BATCH,
        threshold: policy.threshold,
        growAfter: policy.growAfter ?? DEFAULT_GROW_AFTER,
        thread: options.regionThread,
        keeper,
        lookup: regionLookup,
      });
      this.regions.attach(this.#core.regionTable, { ...instance.exports });
    }
  }

  #imports() {
    const { view, bytes } = this.memory;
    const scratch = this.base + SCRATCH_OFFSET;
    const straddling = straddlingAccess({
      memory: this.memory,
      base: this.base,
      walk: (gva, access) => this.walk(gva, access),
      mmioRead: (gpa, into) => this.#host.mmioRead(gpa, into),
      mmioWrite: (gpa, written) => this.#host.mmioWrite(gpa, written),
      written: (host, size) => this.code.written(host, size),
    });
    return {
      mmioRead: (size: number) => {
        const gpa = Number(view.getBigUint64(this.base + FAULT_ADDRESS.offset, true));
        this.#host.mmioRead(gpa, bytes.subarray(scratch, scratch + size));
      },
      mmioWrite: (size: number) => {
        const gpa = Number(view.getBigUint64(this.base + PENDING_GPA_OFFSET, true));
        this.#host.mmioWrite(gpa, bytes.slice(scratch, scratch + size));
      },
      straddlingRead: (size: number) => straddling.read(size),
      straddlingWrite: (size: number) => straddling.write(size),
      codeWritten: (host: number, size: number) => this.code.written(host >>> 0, size),
      secondLevel: (page: number, access: number) => this.#host.secondLevel?.(page, access) ?? page,
      helper: (number: number) => this.#callHelper(number),
    };
  }

  /**
   * Bytes at many places of guest memory have been written, each within a page; best in the order of their addresses. `again`: they are
   * to be written to again soon.
   */
  codeWritten(writes: MemoryWrites, again: boolean): void {
    const drop = () => this.code.writtenAll(writes);
    if (this.regions) this.regions.dropTogether(drop);
    else drop();
    if (again) this.code.settleAll(writes);
  }
  #callHelper(number: number): number {
    const { view } = this.memory;
    const vector = this.#helpers[number](view, this.base);
    if (vector < 0) return 0;
    view.setInt32(this.base + FAULT_VECTOR.offset, vector, true);
    view.setInt32(this.base + FAULT_ERROR_CODE.offset, vector === 13 ? 0 : NO_ERROR_CODE, true);
    view.setBigInt64(this.base + FAULT_ADDRESS.offset, 0n, true);
    return 1;
  }

  /** Executions since the start, under the hot list's names; only with the `profile` option. */
  profile(): ProfiledHandler[] {
    return this.#handlers.profile(this.code.examples ?? new Map());
  }

  /** Handlers of a mode that stand not inline and have been compiled, for the list of those that are common; with `code.examples`. */
  compiledHandlers(mode: CpuMode): Omit<ProfiledHandler, 'count'>[] {
    return this.#handlers.compiled(this.code.examples ?? new Map(), mode);
  }

  /** Figures for `--stats`. */
  statistics(): Record<string, number> {
    const { decoded, invalidations, flushes } = this.code.statistics;
    return {
      'decoded instructions': decoded,
      'code invalidations': invalidations,
      'code cache flushes': flushes,
      'TLB bank flushes': this.banks.flushes,
      'TLB fills': Number(this.#quad(TLB_FILLS)),
      'page faults without an exit': this.#events.pageFaults,
      handlers: this.#handlers.count,
      ...this.regions?.figures(Number(this.#quad(REGION_INSTRUCTIONS)), Number(this.#quad(REGION_ENTRIES))),
    };
  }

  #slot32(slot: { offset: number }): number {
    return this.memory.view.getInt32(this.base + slot.offset, true);
  }
  #quad(slot: { offset: number }): bigint {
    return this.memory.view.getBigInt64(this.base + slot.offset, true);
  }

  /** Instructions that may still be executed before the engine must leave guest code. */
  get budget(): number {
    return this.#slot32(BUDGET) + this.#withheld;
  }
  /** @throws RangeError above {@link MAX_BUDGET} */
  set budget(instructions: number) {
    if (instructions > MAX_BUDGET) throw new RangeError(`a budget of ${instructions} instructions is too large`);
    this.#withheld = 0;
    this.memory.view.setInt32(this.base + BUDGET.offset, instructions, true);
  }
  /** Part of the budget that generated code does not see, so that it leaves. */
  #withheld = 0;
  #giveBack(): void {
    this.budget = this.#slot32(BUDGET) + this.#withheld;
  }
  #withholdAllBut(instructions: number): void {
    const more = this.#slot32(BUDGET) - instructions;
    if (more <= 0) return;
    this.#withheld += more;
    this.memory.view.setInt32(this.base + BUDGET.offset, instructions, true);
  }

  /**
   * For what guest code has called: leave it as if the budget were used up, at the next place where that is looked at. Who
   * enters it looks around before; what was asked for until then is forgotten.
   */
  requestExit(): void {
    this.#exitRequested = true;
    this.#withholdAllBut(0);
  }

  /** Run guest code from RIP. Answers why it stopped: fault, instruction, budget or stop. */
  run(): number {
    const code = this.#run();
    if (code === ExitCode.fault) this.#tellStackFault();
    return code;
  }
  #run(): number {
    this.regions?.tick();
    this.#exitRequested = false;
    let enteredCount = 0;
    for (;;) {
      const code = this.#advance();
      if (code === undefined) continue;
      if (code !== ExitCode.fault || enteredCount === MAX_ENTERED || !this.#events.enterPageFault(this.mode))
        return code;
      enteredCount++;
      if (this.#slot32(BUDGET) <= 0) return ExitCode.budget;
    }
  }
  /** Run guest code until something comes up. Answers why to stop, or undefined to go on. */
  #advance(): number | undefined {
    const code = this.#enter();
    if (code === ExitCode.hot) {
      this.#makeRegion();
      return undefined;
    }
    if (code === ExitCode.resume) return this.#resume();
    if (code !== ExitCode.lookup && code !== ExitCode.refetch) return code;
    if (code === ExitCode.refetch && !this.#afterRefetch()) return ExitCode.fault;
    return this.#resolve() ? undefined : ExitCode.fault;
  }

  /** {@link EventEntry.enter} */
  enterEvent(software: boolean): boolean {
    return this.#events.enter(this.mode, software);
  }

  #enter(): number {
    this.#handlers.compileWaiting();
    return this.#core.run();
  }

  #makeRegion(): void {
    this.#makeRoom();
    const linear = this.#linearRip();
    const page = this.#fetchPage(linear);
    if (!page) return;
    const findPage = (at: bigint) => this.#findPage(BigInt.asUintN(64, at));
    this.regions?.request({ page, linear, lookup: this.#codeLookup, findPage });
  }

  /** Host address of the code look-up in use. */
  get #codeLookup(): number {
    return this.#slot32(TLB) + TLB_EXEC_OFFSET;
  }

  /** Tier 0 does the one instruction at RIP, where a region starts. Answers why to stop, or undefined to go on. */
  #resume(): number | undefined {
    const code = this.#stepOnce();
    if (code === ExitCode.budget) return this.#slot32(BUDGET) <= 0 ? code : undefined;
    return code === ExitCode.stop || code === ExitCode.lookup ? undefined : code;
  }

  /**
   * Execute one instruction, or one iteration under REP, or raise its exception; answers as {@link run}, `stop` when it
   * is done.
   */
  step(): number {
    const code = this.#stepOnce();
    if (code === ExitCode.fault) this.#tellStackFault();
    return code === ExitCode.budget || code === ExitCode.lookup ? ExitCode.stop : code;
  }
  /** As {@link step}; `budget`: done, and at a place where the budget is looked at. */
  #stepOnce(): number {
    this.#makeRoom();
    const linear = this.#linearRip();
    const page = this.#fetchPage(linear);
    if (!page) return ExitCode.fault;
    const offset = Number(linear & 0xfffn);
    const table = (page.table >>> 2) + offset;
    const before = this.memory.words[table];
    this.code.settle(page);
    const record = this.code.decodeSingle(page, offset, () => this.#followingPage(linear));
    this.memory.words[table] = record;
    // Branches and iterations leave when it is used up; straight-line code reaches the stop record.
    this.#withholdAllBut(1);
    let code = this.#enter();
    // The look-up counts as an arrival; nothing has been done then.
    if (code === ExitCode.hot) code = this.#enter();
    this.#giveBack();
    if (this.#exitRequested) this.#withholdAllBut(0);
    if (this.memory.words[table] === record) this.memory.words[table] = this.code.isStale(before) ? 0 : before;
    if (code !== ExitCode.refetch) return code;
    // The stop record itself, when the instruction has overwritten its own code; else the fetch of the second page.
    if (!this.#afterRefetch()) return ExitCode.fault;
    return ExitCode.stop;
  }

  /** Walks raise #GP for every address that is not canonical, as generated code does not say which segment it went through. */
  #tellStackFault(): void {
    const { view } = this.memory;
    const address = this.#quad(FAULT_ADDRESS);
    if (this.#slot32(FAULT_VECTOR) !== GENERAL_PROTECTION || this.mode !== 'long64') return;
    if (BigInt.asIntN(48, address) === address) return;
    if (this.#slot32(EXIT_RECORD) !== 0) this.rewindToRecord();
    const instruction = this.#instructionAtRip();
    const slot = (offset: number) => view.getBigUint64(this.base + offset, true);
    if (instruction && reachesStackSegment(instruction, BigInt.asUintN(64, address), slot))
      view.setInt32(this.base + FAULT_VECTOR.offset, STACK_FAULT, true);
  }

  /** The instruction at RIP, decoded; `undefined`: it cannot be fetched, and the fault slots say why. */
  #instructionAtRip(): DecodedInstruction | undefined {
    const linear = this.#linearRip();
    const page = this.#core.walk(BigInt.asIntN(64, linear), WalkAccess.execute) >>> 0;
    if (page === WALK_FAULT || page === WALK_MMIO) return undefined;
    const offset = Number(linear & 0xfffn);
    let following: number | undefined;
    const result = decode((i) => {
      if (offset + i < PAGE_BYTES) return this.memory.bytes[page + offset + i];
      const next = BigInt.asIntN(64, (linear & ~0xfffn) + BigInt(PAGE_BYTES));
      following ??= this.#core.walk(next, WalkAccess.execute) >>> 0;
      if (following === WALK_FAULT || following === WALK_MMIO) return -1;
      return this.memory.bytes[following + offset + i - PAGE_BYTES];
    }, this.mode);
    return result.ok ? result.instruction : undefined;
  }

  #linearRip(): bigint {
    return BigInt.asUintN(64, this.#quad(RIP) + this.#quad(SEGMENT_BASE[1]));
  }

  /** RIP of the record at which generated code stopped. */
  rewindToRecord(): void {
    const record = this.#slot32(EXIT_RECORD) >>> 0;
    const { words, view } = this.memory;
    const block = this.base >>> 2;
    const page = block + (PAGE_BASE.offset >>> 2);
    const segment = block + (SEGMENT_BASE[1].offset >>> 2);
    const rip = block + (RIP.offset >>> 2);
    // Page base plus the record's offset, less the segment's base; the low halves' sum is exact, its quotient the carry.
    const low = (words[page] >>> 0) + view.getUint16(record + RecordField.pageOffset, true) - (words[segment] >>> 0);
    words[rip] = low;
    words[rip + 1] = words[page + 1] - words[segment + 1] + Math.floor(low / 2 ** 32);
  }

  /** Length in bytes of the instruction at which generated code stopped. */
  get exitLengthBytes(): number {
    return this.memory.bytes[(this.#slot32(EXIT_RECORD) >>> 0) + RecordField.length];
  }
  get exitDetail(): number {
    return this.#slot32(EXIT_DETAIL);
  }

  /** A stale record, or one whose second page must be looked at again. False: a fault is in the fault slots. */
  #afterRefetch(): boolean {
    this.rewindToRecord();
    const record = this.#slot32(EXIT_RECORD) >>> 0;
    const handler = this.memory.view.getUint16(record + RecordField.handler, true);
    if (handler !== SpecialHandler.crossing && handler !== SpecialHandler.fetch) return true;
    const linear = this.#linearRip();
    const page = this.#fetchPage(linear);
    if (!page) return false;
    const following = this.#followingPage(linear);
    const expected = this.memory.view.getUint32(record + RecordField.link, true);
    if (handler === SpecialHandler.crossing && following?.table === expected) return true;
    const entry = (page.table >>> 2) + Number(linear & 0xfffn);
    if (this.memory.words[entry] >>> 0 === record) this.memory.words[entry] = 0;
    return following !== undefined;
  }

  /** Make sure there is a record for RIP. False: a fault is in the fault slots. */
  #resolve(): boolean {
    this.#makeRoom();
    const linear = this.#linearRip();
    const page = this.#fetchPage(linear);
    if (!page) return false;
    this.code.settle(page);
    const offset = Number(linear & 0xfffn);
    if (this.memory.words[(page.table >>> 2) + offset] === 0) {
      this.code.decodeRun(page, offset, () => this.#followingPage(linear));
      this.#onDecoded?.(linear);
    }
    return true;
  }

  /** Room for one more run: of records and entry tables, and of handlers for instructions not seen yet. */
  #makeRoom(): void {
    if (this.#handlers.full) {
      this.code.flush();
      this.#handlers.forgetCompiled();
    } else if (!this.code.hasRoom || this.regions?.full) this.code.flush();
  }

  #followingPage(linear: bigint): CodePage | undefined {
    return this.#fetchPage(BigInt.asUintN(64, (linear & ~0xfffn) + 0x1000n));
  }

  /** Translate for execution and enter the page into the code look-up; undefined: fault slots are set. */
  #fetchPage(linear: bigint): CodePage | undefined {
    const host = this.#core.walk(BigInt.asIntN(64, linear), WalkAccess.execute);
    if (host === WALK_FAULT || host === WALK_MMIO) {
      const { view } = this.memory;
      view.setInt32(this.base + EXIT_RECORD.offset, 0, true);
      // Code cannot be fetched from device memory.
      if (host === WALK_MMIO) {
        view.setInt32(this.base + FAULT_VECTOR.offset, 13, true);
        view.setInt32(this.base + FAULT_ERROR_CODE.offset, 0, true);
      }
      return undefined;
    }
    const page = this.code.page(host >>> 0, this.mode);
    const entry = this.#codeLookup + lookupOffset(linear);
    this.memory.view.setBigInt64(entry, BigInt.asIntN(64, linear & ~0xfffn), true);
    this.memory.view.setInt32(entry + 8, page.table, true);
    this.#core.logFill(entry);
    return page;
  }

  /** The code page at a linear address, though nothing is to be executed there now; nothing shows that. */
  #findPage(linear: bigint): CodePage | undefined {
    const { words } = this.memory;
    const flags = (this.base + MMU_FLAGS.offset) >>> 2;
    const before = words[flags];
    words[flags] = before | MmuFlag.PROBE;
    const host = this.walk(linear, WalkAccess.execute);
    words[flags] = before;
    if (host === WALK_FAULT || host === WALK_MMIO || !this.code.hasRoom) return undefined;
    return this.code.page(host, this.mode);
  }

  /** Page walk with its A/D side effects; WALK_FAULT, WALK_MMIO or a host page. */
  walk(gva: bigint, access: number): number {
    return this.#core.walk(BigInt.asIntN(64, gva), access) >>> 0;
  }
  /** {@link walk} of an address given as 32-bit halves. */
  walkHalves(low: number, high: number, access: number): number {
    return this.#core.walkHalves(low, high, access) >>> 0;
  }
  /**
   * Host address of the page of an address in halves, which the TLB holds from now on; 0 for what it does not take: faults, device
   * memory, code to write to.
   */
  fill(low: number, high: number, write: boolean): number {
    const page = (BigInt(high) << 32n) | BigInt((low & ~0xfff) >>> 0);
    return (write ? this.#core.regionWrite(page, 1) : this.#core.regionRead(page, 1)) >>> 0;
  }
}

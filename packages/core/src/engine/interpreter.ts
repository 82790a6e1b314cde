import { BUDGET, ENTRY_TABLE, EXIT_RECORD, FAULT_ADDRESS, FAULT_ERROR_CODE, FAULT_VECTOR, PAGE_BASE, REGION_ENTRIES, REGION_INSTRUCTIONS, RIP, SEGMENT_BASE, TLB } from '../cpu/state.ts';
import type { Program, ValueType } from '../ir/types.ts';
import { type MemoryLayout, RECORD_BYTES, REGION_LOOKUP_ENTRIES, REGION_LOOKUP_ENTRY_BYTES, REGION_NOWHERE, REGION_PLACE_BYTES, REGION_PLACE_COUNT, REGION_TABLE_SIZE, TLB_EXEC_ENTRIES, TLB_EXEC_OFFSET } from '../memory/layout.ts';
import { Asm } from './asm.ts';
import { type EmitTarget, emitPair, emitProgram, NO_ERROR_CODE } from './emit.ts';
import { ExitCode, HandlerResult, REGION_EXIT_BITS, REGION_GO_ON, RESUME_VECTOR, RegionExit } from './exit-code.ts';
import { LocalPool } from './local-pool.ts';
import { addMemoryFunctions, type MemoryFunctions } from './memory-code.ts';
import { FIRST_HANDLER, MAX_RUN, RecordField, RecordInfo, recordInfoOffset, SpecialHandler } from './record.ts';
import { ModuleBuilder, Op, type Signature, } from './wasm.ts';

const HANDLER_SIGNATURE: Signature = { params: ['i32'], results: ['i32'] };
/**
 * A region: (budget, TLB bank, page base, host address of what it finds about its place: {@link REGION_PLACE_BYTES}) → linear address where to go on, and what is left of the budget above
 * {@link REGION_EXIT_BITS} bits of {@link RegionExit}. All of it stays in registers of the host.
 */
export const REGION_SIGNATURE: Signature = { params: ['i32', 'i32', 'i64', 'i32'], results: ['i64', 'i32'] };
const REGION_LOOP_SIGNATURE: Signature = { params: ['i32', 'i32'], results: ['i32'] };
/** Size of the handler table; records name handlers by 16 bits. */
export const HANDLER_TABLE_SIZE = 16384;

/** What a handler does: one instruction, or two that follow each other. */
export type InlineHandler = readonly [Program] | readonly [Program, Program];

export interface InterpreterOptions {
  readonly layout: MemoryLayout;
  /** Host address of the vCPU's state block. */
  readonly base: number;
  /** Handlers that stand inline in the dispatch loop: number FIRST_HANDLER + index. */
  readonly inline: readonly InlineHandler[];
  /** Count executions here: for finding what to inline. See {@link ProfileLayout}. */
  readonly profileAt?: number;
  /** Host address of the vCPU's region look-up. */
  readonly regionLookup: number;
  /** A record reached so often leaves with {@link ExitCode.hot}; 0: none does. */
  readonly hotThreshold: number;
  helperNumber(name: string): number;
}

const LOCAL = { record: 0, budget: 1, tlb: 2, table: 3, entry: 4, rip: 5 } as const;
/** Blocks around the handlers, innermost first. */
const TAILS = ['jump', 'branch', 'repeat', 'fault', 'instruction'] as const;

/** All that the code depends on beside what its handlers do: equal for equal options. */
export const interpreterKey = (options: Omit<InterpreterOptions, 'inline'>): string =>
  [options.layout.ramSizeBytes, options.base, options.regionLookup, options.hotThreshold, options.profileAt ?? ''].join();

/** The core module of one vCPU: memory code and the interpreter's `run`. */
export function buildInterpreter(options: InterpreterOptions): Uint8Array {
  const { layout, base } = options;
  const module = new ModuleBuilder(memoryPages(layout));
  const imports = {
    mmioRead: module.importFunction('mmioRead', ['i32'], []),
    mmioWrite: module.importFunction('mmioWrite', ['i32'], []),
    straddlingRead: module.importFunction('straddlingRead', ['i32'], []),
    straddlingWrite: module.importFunction('straddlingWrite', ['i32'], []),
    codeWritten: module.importFunction('codeWritten', ['i32', 'i32'], []),
    secondLevel: module.importFunction('secondLevel', ['i32', 'i32'], ['i32']),
  };
  const helper = module.importFunction('helper', ['i32'], ['i32']);
  const handlerType = module.declareType(HANDLER_SIGNATURE);
  const regionType = module.declareType(REGION_SIGNATURE);
  module.ownTable('table', HANDLER_TABLE_SIZE);
  const regionTable = module.ownTable('regionTable', REGION_TABLE_SIZE);
  const memory = addMemoryFunctions(module, layout, base, imports);
  const regions = addRegionLoop(module, options, memory, { type: regionType, table: regionTable });
  addRun(module, options, { ...memory, helper, regions }, handlerType);
  // For the modules that come later: to link a function of JavaScript takes V8 0.3 ms in each of them, one of WebAssembly nothing.
  module.addFunction('helper', HANDLER_SIGNATURE, [], new Asm().get(0).call(helper));
  return module.finish();
}

/** A handler that is not inline: what it does, and its place in the table. */
export interface TableHandler {
  /** All that the program depends on; undefined: code of a plug-in, too. */
  readonly name: string | undefined;
  readonly program: Program;
  readonly number: number;
}

/** A module with handlers as functions, `handler` and their number, for the table of the core module. */
export function buildHandlers(options: Omit<InterpreterOptions, 'inline'>, handlers: readonly TableHandler[]): Uint8Array {
  const { layout } = options;
  const module = new ModuleBuilder(memoryPages(layout));
  const functions = {
    slowRead: module.importFunction('slowRead', ['i64', 'i32'], ['i32']),
    slowWrite: module.importFunction('slowWrite', ['i64', 'i32'], ['i32']),
    commit: module.importFunction('commit', [], []),
    helper: module.importFunction('helper', ['i32'], ['i32']),
  };
  for (const handler of handlers) addHandler(module, options, functions, handler);
  return module.finish();
}

function addHandler(
  module: ModuleBuilder, options: Omit<InterpreterOptions, 'inline'>, functions: EmitTarget['functions'], { program, number }: TableHandler,
): void {
  const { base } = options;
  const asm = new Asm();
  const pool = new LocalPool(1, ['i32', 'i64']);
  const [record, tlb, target] = [0, 1, 2];
  if (options.profileAt !== undefined) {
    countExecution(asm, options.profileAt, number);
  }
  asm.load(base, TLB).set(tlb);
  emitProgram(program, {
    asm, base, functions, record, tlb,
    allocate: (type) => pool.allocate(type),
    release: (type, local) => pool.release(type, local),
    helperNumber: options.helperNumber,
    spare: () => asm.load(base, BUDGET).i32(1).op(Op.i32Sub),
    spend(push) {
      asm.store(base, BUDGET, (a) => {
        a.load(base, BUDGET);
        push();
        a.op(Op.i32Sub);
      });
    },
    // The dispatch loop has done that.
    beforeOutside() {},
    afterOutside() {},
    end(kind) {
      if (kind === 'jump') asm.set(target).store(base, RIP, (a) => a.get(target));
      asm.i32(HandlerResult[kind]).return();
    },
  });
  asm.i32(HandlerResult.next);
  module.addFunction(`handler${number}`, HANDLER_SIGNATURE, pool.types, asm);
}

/** Where executions are counted: last record and handler, a counter per handler, a counter per pair of handlers. */
export const ProfileLayout = { lastRecord: 0, lastHandler: 4, handlers: 8, handlerLimit: 2048, pairs: 8 + 2048 * 4, sizeBytes: 8 + 2048 * 4 + 2048 * 2048 * 4 } as const;

/** Count this handler, and the pair it makes with the handler of the record before it. Local 0 is the record. */
function countExecution(asm: Asm, profileAt: number, handler: number): void {
  const [record] = [0];
  const increment = (push: () => Asm, offset: number) => {
    push();
    push().mem(Op.i32Load, offset).i32(1).op(Op.i32Add).mem(Op.i32Store, offset);
  };
  increment(() => asm.i32(0), profileAt + ProfileLayout.handlers + handler * 4);
  const last = (field: number) => asm.i32(0).mem(Op.i32Load, profileAt + field);
  last(ProfileLayout.lastRecord).i32(RECORD_BYTES).op(Op.i32Add).get(record).op(Op.i32Eq).if();
  const pairs = profileAt + ProfileLayout.pairs + handler * 4;
  increment(() => last(ProfileLayout.lastHandler).i32(13).op(Op.i32Shl), pairs);
  asm.end();
  asm.i32(0).get(record).mem(Op.i32Store, profileAt + ProfileLayout.lastRecord);
  asm.i32(0).i32(handler).mem(Op.i32Store, profileAt + ProfileLayout.lastHandler);
}

export function memoryPages(layout: MemoryLayout): { initial: number; maximum: number } {
  const pages = layout.totalBytes / 65536;
  return { initial: pages, maximum: pages };
}

type RunFunctions = MemoryFunctions & { readonly helper: number; readonly regions: number };

/** run() → ExitCode: executes from RIP until something has to be decided outside. */
function addRun(module: ModuleBuilder, options: InterpreterOptions, functions: RunFunctions, handlerType: number): void {
  const { base, inline } = options;
  const asm = new Asm();
  const pool = new LocalPool(0, ['i32', 'i32', 'i32', 'i32', 'i32', 'i64']);
  asm.load(base, BUDGET).set(LOCAL.budget).load(base, TLB).set(LOCAL.tlb);
  asm.load(base, RIP).load(base, SEGMENT_BASE[1]).op(Op.i64Add).set(LOCAL.rip);
  asm.loop();
  emitLookup(asm, options, functions.fetch);
  asm.loop();
  for (const _ of TAILS) asm.block();
  const cases = FIRST_HANDLER + inline.length;
  // One block per case and one for "not inline".
  for (let i = 0; i <= cases; i++) asm.block();
  asm.get(LOCAL.record).mem(Op.i32Load16U, RecordField.handler);
  asm.op(Op.brTable).out.u32(cases);
  for (let i = 0; i <= cases; i++) asm.out.u32(i);
  for (let i = 0; i < cases; i++) {
    asm.end();
    // Now inside the blocks of the later cases, the "not inline" one and the tails.
    const outer = cases - i;
    if (i >= FIRST_HANDLER) emitInline(asm, options, functions, pool, inline[i - FIRST_HANDLER], outer);
    else emitSpecial(asm, options, functions, i, outer);
  }
  asm.end();
  emitCall(asm, base, handlerType);
  emitTails(asm, options);
  asm.end().end().op(Op.unreachable);
  module.addFunction('run', { params: [], results: ['i32'] }, pool.types, asm);
}

/** Push the offset of a linear address's entry in the code look-up of the bank in local `tlb`. */
export function pushCodeEntry(asm: Asm, rip: number, tlb: number): Asm {
  return asm.get(rip).i64(12).op(Op.i64ShrU, Op.i32WrapI64).i32(TLB_EXEC_ENTRIES - 1).op(Op.i32And).i32(4).op(Op.i32Shl).get(tlb).op(Op.i32Add);
}

interface Finding {
  readonly rip: number;
  readonly tlb: number;
  readonly entry: number;
  readonly table: number;
  readonly record: number;
}

/** Find the page of code of the linear address in `rip`: sets `entry` and `table`; does `leave` where there is none. */
function emitFindPage(asm: Asm, fetch: number, l: Finding, leave: () => void): void {
  pushCodeEntry(asm, l.rip, l.tlb).tee(l.entry);
  asm.mem(Op.i64Load, TLB_EXEC_OFFSET).get(l.rip).i64(-4096).op(Op.i64And, Op.i64Ne).unlikelyIf();
  asm.get(l.rip).call(fetch).op(Op.i32Eqz).if();
  leave();
  asm.end().end();
  asm.get(l.entry).mem(Op.i32Load, TLB_EXEC_OFFSET + 8).set(l.table);
}

/** Find the record there: sets `record`; does `leave` where there is none. */
function emitFindRecord(asm: Asm, l: Finding, leave: () => void): void {
  asm.get(l.table).get(l.rip).op(Op.i32WrapI64).i32(4095).op(Op.i32And).i32(2).op(Op.i32Shl, Op.i32Add).mem(Op.i32Load, 0).tee(l.record);
  asm.op(Op.i32Eqz).unlikelyIf();
  leave();
  asm.end();
}

/** A place that is still reached so often without a region is reported again. */
const ARRIVALS_MASK = 0x3fff;

/** Count an arrival at the record in `record`; does `leave` when it has become hot. */
function emitArrival(asm: Asm, options: InterpreterOptions, record: number, leave: () => void): void {
  if (options.hotThreshold === 0) return;
  const arrivals = recordInfoOffset(options.layout) + RecordInfo.arrivals;
  const info = () => asm.get(record).i32(2).op(Op.i32ShrU);
  info();
  info().mem(Op.i32Load, arrivals).i32(1).op(Op.i32Add).mem(Op.i32Store, arrivals);
  info().mem(Op.i32Load, arrivals).i32(ARRIVALS_MASK).op(Op.i32And).i32(options.hotThreshold).op(Op.i32Eq).unlikelyIf();
  leave();
  asm.end();
}

/** Find the record of LOCAL.rip, or leave. Enters a run: the budget is counted from the record's ordinal. */
function emitLookup(asm: Asm, options: InterpreterOptions, fetch: number): void {
  const { base } = options;
  const nothing = () => emitExit(asm, base, ExitCode.lookup, true);
  emitFindPage(asm, fetch, LOCAL, nothing);
  emitFindRecord(asm, LOCAL, nothing);
  asm.store(base, PAGE_BASE, (a) => a.get(LOCAL.rip).i64(-4096).op(Op.i64And));
  enterRun(asm);
  emitArrival(asm, options, LOCAL.record, () => exitBeforeRecord(asm, base, ExitCode.hot));
}

/** Entering a run at a record: instructions before it in the run were not executed. */
function enterRun(asm: Asm): void {
  asm.get(LOCAL.budget).get(LOCAL.record).mem(Op.i32Load8U, RecordField.ordinal).op(Op.i32Add).i32(1).op(Op.i32Sub).set(LOCAL.budget);
}
/** Leaving a run at a record: count the instructions up to it, `less` of them not executed. */
function leaveRun(asm: Asm, less: number): void {
  asm.get(LOCAL.budget).get(LOCAL.record).mem(Op.i32Load8U, RecordField.ordinal).op(Op.i32Sub);
  if (less) asm.i32(less).op(Op.i32Add);
  asm.set(LOCAL.budget);
}
/** Bring BUDGET up to date at the record that is `offset` from LOCAL.record: it counts what was executed before that. */
function storeBudget(asm: Asm, base: number, offset: number): void {
  asm.store(base, BUDGET, (a) => a.get(LOCAL.budget).get(LOCAL.record).mem(Op.i32Load8U, offset + RecordField.ordinal).op(Op.i32Sub).i32(1).op(Op.i32Add));
}
/** The other way: TypeScript may have taken from it. */
function loadBudget(asm: Asm, base: number, offset: number): void {
  asm.load(base, BUDGET).get(LOCAL.record).mem(Op.i32Load8U, offset + RecordField.ordinal).op(Op.i32Add).i32(1).op(Op.i32Sub).set(LOCAL.budget);
}
/** Return to TypeScript. `withRip`: LOCAL.rip (linear) is where to go on. */
function emitExit(asm: Asm, base: number, code: number, withRip: boolean): void {
  asm.store(base, BUDGET, (a) => a.get(LOCAL.budget));
  if (withRip) asm.store(base, RIP, (a) => a.get(LOCAL.rip).load(base, SEGMENT_BASE[1]).op(Op.i64Sub));
  else asm.store(base, EXIT_RECORD, (a) => a.get(LOCAL.record));
  asm.i32(code).return();
}

function emitInline(
  asm: Asm, options: InterpreterOptions, functions: RunFunctions, pool: LocalPool, handler: InlineHandler, outer: number,
): void {
  const target: EmitTarget = {
    asm, base: options.base, functions, record: LOCAL.record, tlb: LOCAL.tlb,
    allocate: (type: ValueType) => pool.allocate(type),
    release: (type: ValueType, local: number) => pool.release(type, local),
    helperNumber: options.helperNumber,
    spare: (offset) => asm.get(LOCAL.budget).get(LOCAL.record).mem(Op.i32Load8U, offset + RecordField.ordinal).op(Op.i32Sub),
    spend(push) {
      asm.get(LOCAL.budget);
      push();
      asm.op(Op.i32Sub).set(LOCAL.budget);
    },
    beforeOutside: (offset) => storeBudget(asm, options.base, offset),
    afterOutside: (offset) => loadBudget(asm, options.base, offset),
    end(kind, depth) {
      if (kind === 'jump') asm.set(LOCAL.rip);
      asm.br(outer + depth + TAILS.indexOf(kind));
    },
  };
  const [first, second] = handler;
  if (second) emitPair(first, second, target);
  else emitProgram(first, target);
  asm.get(LOCAL.record).i32(handler.length * RECORD_BYTES).op(Op.i32Add).set(LOCAL.record).br(outer + TAILS.length);
}

/** Records that stand for no instruction. */
function emitSpecial(asm: Asm, options: InterpreterOptions, functions: RunFunctions, handler: number, outer: number): void {
  const { base } = options;
  const tail = (kind: (typeof TAILS)[number]) => asm.br(outer + TAILS.indexOf(kind));
  const refetch = () => {
    leaveRun(asm, 1);
    emitExit(asm, base, ExitCode.refetch, false);
  };
  switch (handler) {
    case SpecialHandler.next:
      tail('branch');
      return;
    case SpecialHandler.crossing:
      // The following page must still be the one the instruction was decoded from.
      asm.load(base, PAGE_BASE).i64(4096).op(Op.i64Add).set(LOCAL.rip);
      pushCodeEntry(asm, LOCAL.rip, LOCAL.tlb).tee(LOCAL.entry);
      asm.mem(Op.i64Load, TLB_EXEC_OFFSET).get(LOCAL.rip).op(Op.i64Ne).unlikelyIf();
      asm.get(LOCAL.rip).call(functions.fetch).op(Op.i32Eqz).if();
      refetch();
      asm.end().end();
      asm.get(LOCAL.entry).mem(Op.i32Load, TLB_EXEC_OFFSET + 8).get(LOCAL.record).mem(Op.i32Load, RecordField.link).op(Op.i32Eq).if();
      asm.get(LOCAL.record).i32(RECORD_BYTES).op(Op.i32Add).set(LOCAL.record).br(outer + TAILS.length + 1);
      asm.end();
      refetch();
      return;
    case SpecialHandler.undefined:
      asm.store(base, FAULT_VECTOR, (a) => a.get(LOCAL.record).mem(Op.i32Load, RecordField.imm));
      asm.store(base, FAULT_ERROR_CODE, (a) => a.get(LOCAL.record).mem(Op.i32Load, RecordField.imm).i32(13).op(Op.i32Eq).if('i32').i32(0).else().i32(NO_ERROR_CODE).end());
      asm.store(base, FAULT_ADDRESS, (a) => a.i64(0));
      tail('fault');
      return;
    case SpecialHandler.stop:
      leaveRun(asm, 1);
      asm.load(base, PAGE_BASE).get(LOCAL.record).mem(Op.i64Load, RecordField.imm).op(Op.i64Add).set(LOCAL.rip);
      emitExit(asm, base, ExitCode.stop, true);
      return;
    case SpecialHandler.region:
      leaveRun(asm, 1);
      asm.get(LOCAL.record).get(LOCAL.budget).call(functions.regions).set(LOCAL.entry);
      asm.store(base, REGION_INSTRUCTIONS, (a) => {
        a.load(base, REGION_INSTRUCTIONS).get(LOCAL.budget).load(base, BUDGET).op(Op.i32Sub, Op.i64ExtendI32U, Op.i64Add);
      });
      asm.get(LOCAL.entry).i32(REGION_GO_ON).op(Op.i32Ne).if();
      asm.get(LOCAL.entry).return();
      asm.end();
      asm.load(base, BUDGET).set(LOCAL.budget);
      asm.load(base, TLB).set(LOCAL.tlb);
      asm.load(base, ENTRY_TABLE).set(LOCAL.table);
      asm.load(base, EXIT_RECORD).set(LOCAL.record);
      enterRun(asm);
      asm.br(outer + TAILS.length);
      return;
    default:
      refetch();
  }
}

/** Not inline: call the handler's function and do what it answers. */
function emitCall(asm: Asm, base: number, handlerType: number): void {
  storeBudget(asm, base, 0);
  asm.get(LOCAL.record).get(LOCAL.record).mem(Op.i32Load16U, RecordField.handler);
  asm.op(Op.callIndirect).out.u32(handlerType).byte(0);
  asm.load(base, TLB).set(LOCAL.tlb);
  loadBudget(asm, base, 0);
  asm.tee(LOCAL.entry).op(Op.i32Eqz).if();
  asm.get(LOCAL.record).i32(RECORD_BYTES).op(Op.i32Add).set(LOCAL.record).br(TAILS.length + 1);
  asm.end();
  asm.get(LOCAL.entry).i32(HandlerResult.jump).op(Op.i32Eq).if();
  asm.load(base, RIP).set(LOCAL.rip).br(TAILS.indexOf('jump') + 1).end();
  asm.get(LOCAL.entry).i32(HandlerResult.jump).op(Op.i32Sub).op(Op.brTable).out.u32(TAILS.length - 1);
  for (let i = 0; i < TAILS.length; i++) asm.out.u32(i);
}

function emitTails(asm: Asm, options: InterpreterOptions): void {
  const { base } = options;
  const depthToDispatch = (tail: number) => TAILS.length - 1 - tail;
  // jump: LOCAL.rip holds RIP
  asm.end();
  leaveRun(asm, 0);
  asm.get(LOCAL.rip).load(base, SEGMENT_BASE[1]).op(Op.i64Add).set(LOCAL.rip);
  asm.get(LOCAL.budget).i32(0).op(Op.i32LeS).unlikelyIf();
  emitExit(asm, base, ExitCode.budget, true);
  asm.end();
  asm.br(depthToDispatch(0) + 1);
  // branch
  asm.end();
  emitBranch(asm, options, depthToDispatch(1));
  // repeat
  asm.end();
  asm.get(LOCAL.budget).i32(1).op(Op.i32Sub).tee(LOCAL.budget).get(LOCAL.record).mem(Op.i32Load8U, RecordField.ordinal).op(Op.i32LtS).unlikelyIf();
  exitBeforeRecord(asm, base, ExitCode.budget);
  asm.end();
  asm.br(depthToDispatch(2));
  // fault
  asm.end();
  leaveRun(asm, 1);
  emitExit(asm, base, ExitCode.fault, false);
  // instruction
  asm.end();
  leaveRun(asm, 0);
  emitExit(asm, base, ExitCode.instruction, false);
}

/**
 * A taken direct branch: by the record's link, else by the page's entry table, else by look-up. The budget is looked at
 * only if it goes backwards or out of the page, so that it does not matter how code was cut into runs.
 */
function emitBranch(asm: Asm, options: InterpreterOptions, depthToDispatch: number): void {
  const { base } = options;
  const remembered = () => asm.get(LOCAL.record).mem(Op.i32Load, RecordField.link);
  const offset = (local: number) => asm.get(local).mem(Op.i32Load16U, RecordField.pageOffset);
  const target = () => asm.get(LOCAL.record).mem(Op.i64Load, RecordField.imm);
  asm.loop();
  remembered().tee(LOCAL.entry).if();
  asm.get(LOCAL.budget).get(LOCAL.record).mem(Op.i32Load, RecordField.linkBudget).op(Op.i32Add).tee(LOCAL.budget);
  // What is left is the budget less the target's ordinal.
  asm.i32(MAX_RUN + 1).op(Op.i32LtS).unlikelyIf();
  offset(LOCAL.entry);
  offset(LOCAL.record).op(Op.i32LeU);
  asm.get(LOCAL.budget).get(LOCAL.entry).mem(Op.i32Load8U, RecordField.ordinal).op(Op.i32LtS, Op.i32And).if();
  asm.get(LOCAL.entry).set(LOCAL.record);
  exitBeforeRecord(asm, base, ExitCode.budget);
  asm.end().end();
  asm.get(LOCAL.entry).get(LOCAL.record).op(Op.i32LeU).get(LOCAL.entry).set(LOCAL.record).if();
  asm.get(LOCAL.record).mem(Op.i32Load16U, RecordField.handler).i32(SpecialHandler.region).op(Op.i32Ne).if();
  emitArrival(asm, options, LOCAL.record, () => exitBeforeRecord(asm, base, ExitCode.hot));
  asm.end().end();
  asm.br(depthToDispatch + 2).end();
  // Not linked yet: within the page the entry table knows; otherwise look the address up.
  target().i64(4096).op(Op.i64LtU).if();
  asm.get(LOCAL.table).get(LOCAL.record).mem(Op.i32Load, RecordField.imm).i32(2).op(Op.i32Shl, Op.i32Add).mem(Op.i32Load, 0).tee(LOCAL.entry).if();
  asm.get(LOCAL.record).get(LOCAL.entry).mem(Op.i32Store, RecordField.link);
  asm.get(LOCAL.record).get(LOCAL.entry).mem(Op.i32Load8U, RecordField.ordinal).i32(1).op(Op.i32Sub);
  asm.get(LOCAL.record).mem(Op.i32Load8U, RecordField.ordinal).op(Op.i32Sub).mem(Op.i32Store, RecordField.linkBudget);
  asm.br(2);
  asm.end().end();
  leaveRun(asm, 0);
  asm.load(base, PAGE_BASE);
  target().op(Op.i64Add).set(LOCAL.rip);
  asm.get(LOCAL.budget).i32(0).op(Op.i32LeS).unlikelyIf();
  target().i64(4096).op(Op.i64GeU);
  target().op(Op.i32WrapI64);
  offset(LOCAL.record).op(Op.i32LeS, Op.i32Or).if();
  emitExit(asm, base, ExitCode.budget, true);
  asm.end().end();
  asm.br(depthToDispatch + 2);
  asm.end();
}

/** Leave with RIP at the record that was entered. */
function exitBeforeRecord(asm: Asm, base: number, code: number): void {
  leaveRun(asm, 1);
  asm.load(base, PAGE_BASE).get(LOCAL.record).mem(Op.i32Load16U, RecordField.pageOffset).op(Op.i64ExtendI32U, Op.i64Add).set(LOCAL.rip);
  if (code === ExitCode.hot) asm.store(base, EXIT_RECORD, (a) => a.get(LOCAL.record));
  emitExit(asm, base, code, true);
}

/** What an entry of the region look-up counts stands above the region's index. */
const REGION_COUNT_ONE = REGION_TABLE_SIZE;

/**
 * regions(record, budget) → ExitCode or REGION_GO_ON: runs the region at a record, and the next one, as long as one leads
 * to the start of another. BUDGET, and RIP or EXIT_RECORD, are set on return.
 */
function addRegionLoop(module: ModuleBuilder, options: InterpreterOptions, { fetch }: MemoryFunctions, regions: { type: number; table: number }): number {
  const { base, layout } = options;
  const l = { record: 0, budget: 1, code: 2, tlb: 3, table: 4, entry: 5, region: 6, known: 7, rip: 8, pageBase: 9 } as const;
  const asm = new Asm();
  const lookup = options.regionLookup;
  const resuming = () => asm.get(l.code).i32(RegionExit.fault).op(Op.i32Eq);
  const leave = (code: number) => {
    asm.store(base, BUDGET, (a) => a.get(l.budget));
    asm.store(base, RIP, (a) => a.get(l.rip).load(base, SEGMENT_BASE[1]).op(Op.i64Sub));
    asm.i32(code).return();
  };
  const regionOfRecord = () => asm.get(l.record).i32(2).op(Op.i32ShrU).mem(Op.i32Load, recordInfoOffset(layout) + RecordInfo.region).set(l.region);
  const counted = layout.regionPlaces + REGION_PLACE_COUNT;
  const place = () => asm.i32(REGION_COUNT_ONE - 1).op(Op.i32And).i32(Math.log2(REGION_PLACE_BYTES)).op(Op.i32Shl);
  asm.load(base, TLB).set(l.tlb);
  asm.load(base, PAGE_BASE).get(l.record).mem(Op.i32Load16U, RecordField.pageOffset).op(Op.i64ExtendI32U, Op.i64Add).set(l.rip);
  asm.loop();
  asm.get(l.rip).i64(-4096).op(Op.i64And).set(l.pageBase);
  // Where a region is known to start the next one is at hand; tier 0 must not be passed by when it has to do an instruction.
  asm.get(l.rip).op(Op.i32WrapI64).get(l.rip).i64(12).op(Op.i64ShrU, Op.i32WrapI64).op(Op.i32Xor);
  asm.i32(REGION_LOOKUP_ENTRIES - 1).op(Op.i32And).i32(Math.log2(REGION_LOOKUP_ENTRY_BYTES)).op(Op.i32Shl).set(l.known);
  emitFindPage(asm, fetch, l, () => leave(ExitCode.lookup));
  const isKnown = () => {
    asm.get(l.known).mem(Op.i64Load, lookup).get(l.rip).op(Op.i64Eq);
    asm.get(l.known).mem(Op.i32Load, lookup + 12).get(l.table).op(Op.i32Eq, Op.i32And);
  };
  const otherWay = () => asm.get(l.known).i32(REGION_LOOKUP_ENTRY_BYTES).op(Op.i32Xor).set(l.known);
  asm.block().block().block();
  resuming().op(Op.brIf).out.u32(1);
  isKnown();
  asm.op(Op.brIf).out.u32(0);
  otherWay();
  isKnown();
  asm.op(Op.i32Eqz, Op.brIf).out.u32(1);
  asm.end();
  // A region that is entered very often is worth being made anew, with what it calls.
  asm.get(l.known).get(l.known).mem(Op.i32Load, lookup + 8).i32(REGION_COUNT_ONE).op(Op.i32Add).tee(l.region).mem(Op.i32Store, lookup + 8);
  asm.get(l.region).i32(REGION_COUNT_ONE).op(Op.i32LtU).unlikelyIf();
  leave(ExitCode.hot);
  asm.end();
  asm.get(l.region).i32(REGION_COUNT_ONE - 1).op(Op.i32And).set(l.region).br(1);
  asm.end();
  emitFindRecord(asm, l, () => leave(ExitCode.lookup));
  asm.get(l.record).mem(Op.i32Load16U, RecordField.handler).i32(SpecialHandler.region).op(Op.i32Eq).if();
  resuming().if();
  leave(ExitCode.resume);
  asm.end();
  regionOfRecord();
  // Either way is taken, by no rule. What has been counted of the region that it was of stays with that.
  asm.load(base, REGION_ENTRIES).op(Op.i32WrapI64).i32(1).op(Op.i32And).if();
  otherWay();
  asm.end();
  asm.get(l.known).mem(Op.i64Load, lookup).i64(REGION_NOWHERE).op(Op.i64Ne).if();
  asm.get(l.known).mem(Op.i32Load, lookup + 8).tee(l.code);
  place();
  asm.get(l.code).i32(-REGION_COUNT_ONE).op(Op.i32And).mem(Op.i32Store, counted).end();
  asm.get(l.known).get(l.rip).mem(Op.i64Store, lookup);
  asm.get(l.known).get(l.region);
  place();
  asm.mem(Op.i32Load, counted).get(l.region).op(Op.i32Or).mem(Op.i32Store, lookup + 8);
  asm.get(l.known).get(l.table).mem(Op.i32Store, lookup + 12);
  asm.br(1);
  asm.end();
  asm.store(base, EXIT_RECORD, (a) => a.get(l.record));
  resuming().op(Op.i32Eqz).if();
  emitArrival(asm, options, l.record, () => leave(ExitCode.hot));
  asm.end();
  asm.store(base, BUDGET, (a) => a.get(l.budget));
  asm.store(base, PAGE_BASE, (a) => a.get(l.pageBase));
  asm.store(base, ENTRY_TABLE, (a) => a.get(l.table));
  asm.i32(REGION_GO_ON).return();
  asm.end();
  asm.store(base, REGION_ENTRIES, (a) => a.load(base, REGION_ENTRIES).i64(1).op(Op.i64Add));
  asm.get(l.budget).get(l.tlb).get(l.pageBase);
  asm.get(l.region).i32(Math.log2(REGION_PLACE_BYTES)).op(Op.i32Shl).i32(layout.regionPlaces).op(Op.i32Add);
  asm.get(l.region);
  asm.op(Op.callIndirect).out.u32(regions.type).byte(regions.table);
  asm.tee(l.code).i32(REGION_EXIT_BITS).op(Op.i32ShrS).set(l.budget);
  asm.get(l.code).i32((1 << REGION_EXIT_BITS) - 1).op(Op.i32And).set(l.code);
  asm.set(l.rip);
  asm.load(base, TLB).set(l.tlb);
  // Out of regions: a fault, or the budget.
  asm.get(l.code).i32(RegionExit.budget).op(Op.i32GeU).unlikelyIf();
  asm.get(l.code).i32(RegionExit.budget).op(Op.i32Eq).if();
  leave(ExitCode.budget);
  asm.end();
  asm.load(base, FAULT_VECTOR).i32(RESUME_VECTOR).op(Op.i32Ne).if();
  asm.store(base, EXIT_RECORD, (a) => a.i32(0));
  leave(ExitCode.fault);
  asm.end().end();
  asm.get(l.code).i32(RegionExit.transfer).op(Op.i32Eq).get(l.budget).i32(0).op(Op.i32LeS, Op.i32And).unlikelyIf();
  leave(ExitCode.budget);
  asm.end();
  asm.br(0).end();
  asm.op(Op.unreachable);
  return module.addFunction('runRegions', REGION_LOOP_SIGNATURE, ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i64', 'i64'], asm);
}

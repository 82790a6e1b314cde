import { LAST_PAGES, SEGMENT_BASE } from '../../cpu/state.ts';
import type { Node } from '../../ir/types.ts';
import {
  callLogOffset,
  JUMP_LOG_ENTRIES,
  JUMP_LOG_ENTRY_BYTES,
  MAX_REGION_TABLES,
  PAGE_SIZE_BYTES,
  REGION_PLACE_TABLES,
  TLB_EXEC_OFFSET,
} from '../../memory/layout.ts';
import { Asm } from '../asm.ts';
import { REGION_EXIT_BITS, RegionExit } from '../exit-code.ts';
import { pushCodeEntry } from '../interpreter.ts';
import { LocalPool } from '../local-pool.ts';
import type { EndKind, LastPage, Sharing } from '../program-emitter.ts';
import { Op, type WasmType } from '../wasm.ts';
import { CarriedFlags } from './carried-flags.ts';
import { unreadFlags } from './flag-effects.ts';
import { RegionFlags } from './flags.ts';
import {
  callsAnywhere,
  DISPATCHER,
  jumpsAnywhere,
  pageOf,
  type RegionBlock,
  type RegionGraph,
  type RegionInstruction,
  reachesOver,
} from './graph.ts';
import { InstructionEmitter, type InstructionPlace } from './instruction-emitter.ts';
import {
  type BlockEntry,
  isVector,
  membersOf,
  RegisterPlan,
  type RegisterSet,
  slotOf,
  vectorRegister,
} from './registers.ts';
import { type SharedTranslation, sharedTranslations, type TranslationUses } from './shared-translations.ts';
import { type LoopAccess, loopAccesses } from './small-loops.ts';

/** Functions that region modules import, in this order. */
export const REGION_IMPORTS = { regionRead: 0, regionWrite: 1, helper: 2 } as const;

export interface RegionOptions {
  /** Host address of the vCPU's state block. */
  readonly base: number;
  /** RIP counts from the base of CS: the code is not 64-bit code. */
  readonly codeSegmentBase: boolean;
  helperNumber(name: string): number;
  /** Host address of the log of indirect jumps, if those that leave are to be noted there. */
  readonly jumpLog: number | undefined;
  /** Host address of the log of indirect calls. */
  readonly callLog: number;
}

/** A compiled region: code and locals of its function. */
export interface RegionCode {
  readonly body: Asm;
  readonly locals: readonly WasmType[];
  /**
   * Pages, by their distance from the first one, whose entry tables are looked for in the code look-up: as they are where
   * the code runs, which it finds in this order ({@link REGION_PLACE_TABLES}).
   */
  readonly tables: readonly number[];
}

/** Blocks of WebAssembly around the code of all blocks, by what is done behind them. */
const Way = { known: 0, fault: 1, exit: 2 } as const;

/** Bits of an address that others are laid over to find the entry of a pair of them: targets often have the lowest ones alike. */
const JUMP_LOG_SHIFT = 5;
const PARAMETERS = 4;
const FIXED_LOCALS: readonly WasmType[] = [
  ...(['i32', 'i32', 'i32', 'i64', 'i64', 'i64', 'i64', 'i64', 'i32'] as const),
  ...(['i64', 'i64', 'i64', 'i32'] as const),
];

/**
 * The function of one region. Around the code of the blocks stand two ways out, beside those that return at once:
 *
 *     block exit { block fault { block known { prologue, blocks } …flags that are known… } …fault: where and how far… } …flags, registers…
 *
 * Blocks are nested by dominance, so that each branch is a branch of WebAssembly ("Beyond Relooper", Ramsey, 2022).
 */
export class RegionFunction implements InstructionPlace {
  readonly asm = new Asm();
  readonly pool = new LocalPool(PARAMETERS, FIXED_LOCALS);
  readonly local = { budget: 0, tlb: 1, pageBase: 2, own: 3, code: 4, place: 5, next: 7, dirty: 12 } as const;
  readonly flags: RegionFlags;
  readonly functions = REGION_IMPORTS;
  readonly base: number;
  /** Blocks of WebAssembly around the place where code is being written; the offset of the block that a branch there leads to. */
  readonly labels: (number | undefined)[] = [];
  readonly #options: RegionOptions;
  readonly #graph: RegionGraph;
  readonly #registers: RegisterPlan;
  readonly #unread: ReadonlyMap<number, RegisterSet>;
  /** Places of the jumps that go through the dispatcher: where that is reached, there is one. */
  readonly #jumps: readonly number[];
  /** Local of each register that the region uses. */
  readonly #locals = new Map<number, number>();
  /** As in {@link RegionCode}. */
  readonly #tables: number[] = [];
  readonly #sharing: TranslationUses;
  /** Local of each shared translation that there has been on the way to where code is being written. */
  readonly #translations = new Map<SharedTranslation, number>();
  /** By header of the loop that they are in. */
  readonly #loopAccesses: ReadonlyMap<number, readonly LoopAccess[]>;
  /** Of the loops that are being written, those within others last. */
  readonly #lastPages: (LoopAccess & { readonly lastPage: LastPage })[] = [];
  /** Where code is being written: registers that are in their locals, and those that may differ from the state block. */
  #loaded: RegisterSet = 0;
  #dirty: RegisterSet = 0;
  #block!: RegionBlock;

  constructor(graph: RegionGraph, options: RegionOptions) {
    this.#options = options;
    this.#graph = graph;
    this.base = options.base;
    const carried = new CarriedFlags(this.asm, { form: 6, a: 13, b: 14, result: 15 }, (register) => this.gpr(register));
    this.flags = new RegionFlags(this.asm, options.base, { form: 16, a: 8, b: 9, result: 10, scratch: 11 }, carried);
    this.#registers = new RegisterPlan(graph);
    this.#unread = unreadFlags(graph, this.#registers);
    this.#sharing = sharedTranslations(graph);
    this.#loopAccesses = loopAccesses(graph, this.#sharing);
    const blocks = [...graph.blocks.values()];
    const jumping = blocks.filter(({ successors }) => successors.has(DISPATCHER));
    this.#jumps = jumping.map(lastOffset);
    for (const register of membersOf(this.#registers.touched))
      this.#locals.set(register, this.pool.allocate(isVector(register) ? 'v128' : 'i64'));
  }

  compile(): RegionCode {
    const { asm, local } = this;
    asm.block().block().block();
    this.#load(this.#entryOf(this.#graph.entry).loaded);
    this.#tree(this.#graph.entry);
    asm.end();
    // known
    this.flags.carryKnown();
    asm.end();
    // fault
    asm.get(local.place).op(Op.i64ExtendI32S).get(local.pageBase).op(Op.i64Add).set(local.next);
    asm.get(local.budget).get(local.code).op(Op.i32Add).set(local.budget);
    asm.i32(RegionExit.fault).set(local.code);
    asm.end();
    // exit
    this.flags.storeCarried();
    for (const register of membersOf(this.#registers.written)) {
      asm
        .get(local.dirty)
        .i32(1 << register)
        .op(Op.i32And)
        .if();
      this.#store(1 << register);
      asm.end();
    }
    asm.get(local.next);
    this.#pushRest(() => asm.get(local.code));
    return { body: asm, locals: this.pool.types, tables: this.#tables };
  }
  /** Push the second answer: what is left of the budget, and how the region is left. */
  #pushRest(code: () => void): void {
    const { asm, local } = this;
    asm.get(local.budget).i32(REGION_EXIT_BITS).op(Op.i32Shl);
    code();
    asm.op(Op.i32Or);
  }

  pushSlide(): void {
    this.asm.get(this.local.own).mem(Op.i64Load, 0);
  }
  helperNumber(name: string): number {
    return this.#options.helperNumber(name);
  }
  gpr(register: number): number {
    return this.#locals.get(register) as number;
  }
  xmm(register: number): number {
    return this.#locals.get(vectorRegister(register)) as number;
  }
  storeRegisters(instruction: RegionInstruction): void {
    this.#store(this.#dirty | this.#registers.use(instruction).written);
  }
  loadRegisters(instruction: RegionInstruction): void {
    this.#load(this.#loaded | this.#registers.use(instruction).touched);
  }
  #load(set: RegisterSet): void {
    const { asm, base } = this;
    for (const register of membersOf(set)) {
      const { offset } = slotOf(register);
      asm.i32(0);
      if (isVector(register)) asm.op(0xfd, 0x00, 0).out.u32(base + offset);
      else asm.mem(Op.i64Load, base + offset);
      asm.set(this.#locals.get(register) as number);
    }
  }
  #store(set: RegisterSet): void {
    const { asm, base } = this;
    for (const register of membersOf(set)) {
      asm.i32(0).get(this.#locals.get(register) as number);
      const { offset } = slotOf(register);
      if (isVector(register)) asm.op(0xfd, 0x0b, 0).out.u32(base + offset);
      else asm.mem(Op.i64Store, base + offset);
    }
  }
  /** Say which registers are to be stored where all ways out meet. */
  #noteDirty(set: RegisterSet): void {
    this.asm.i32(set | 0).set(this.local.dirty);
  }
  #entryOf(block: number) {
    return this.#registers.entries.get(block) as BlockEntry;
  }

  // ---- blocks ----
  #tree(offset: number): void {
    const { asm, labels } = this;
    const isLoop = this.#graph.loopHeaders.has(offset);
    const outerPages = this.#lastPages.length;
    if (isLoop) {
      this.#openLastPages(offset);
      asm.loop();
      labels.push(offset);
    }
    if (isLoop || this.#graph.merges.has(offset)) this.flags.known = { kind: 'unknown' };
    const merges = (this.#graph.children.get(offset) as number[]).filter((child) => this.#graph.merges.has(child));
    for (const merge of merges.toReversed()) {
      asm.block();
      labels.push(merge);
    }
    this.#code(this.#graph.blocks.get(offset) as RegionBlock);
    for (const merge of merges) {
      asm.end();
      labels.pop();
      this.#tree(merge);
    }
    if (isLoop) {
      asm.end();
      labels.pop();
      asm.op(Op.unreachable);
      this.#lastPages.length = outerPages;
    }
  }

  #code(block: RegionBlock): void {
    const outer = { block: this.#block, loaded: this.#loaded, dirty: this.#dirty };
    this.#block = block;
    ({ loaded: this.#loaded, dirty: this.#dirty } = this.#entryOf(block.offset));
    const { asm, local } = this;
    if (block.instructions.some(reachesOver)) this.#leaveUnlessReached(block.offset);
    asm.get(local.budget).i32(block.instructions.length).op(Op.i32Sub).set(local.budget);
    for (const instruction of block.instructions) {
      const { needed, touched, written } = this.#registers.use(instruction);
      this.#load(needed & ~this.#loaded);
      this.#loaded |= needed;
      new InstructionEmitter(instruction, this).run();
      this.#loaded |= touched;
      this.#dirty |= written;
    }
    if (block.offset === DISPATCHER) this.#dispatch(block);
    else if (block.next !== undefined) this.#edge(block, block.next, 'none');
    this.#releaseTranslations(block);
    ({ block: this.#block, loaded: this.#loaded, dirty: this.#dirty } = outer);
  }

  sharing(instruction: RegionInstruction, node: Node): Sharing | undefined {
    const use = this.#sharing.get(instruction)?.get(node);
    if (!use) return undefined;
    const { shared, isFirst, offsetBytes } = use;
    const local = isFirst ? this.pool.allocate('i32') : (this.#translations.get(shared) as number);
    this.#translations.set(shared, local);
    return { isFirst, offsetBytes, sizeBytes: Number(shared.end - shared.first), local };
  }
  /** Nothing comes any more that a block's translations could be used for. */
  #releaseTranslations(block: RegionBlock): void {
    for (const instruction of block.instructions)
      for (const { shared, isFirst } of this.#sharing.get(instruction)?.values() ?? [])
        if (isFirst) this.pool.release('i32', this.#translations.get(shared) as number);
  }

  lastPage(instruction: RegionInstruction, node: Node): LastPage | undefined {
    return this.#lastPages.find((each) => each.instruction === instruction && each.node === node)?.lastPage;
  }
  /** Before a loop is entered: where its accesses were last may be something else by now. */
  #openLastPages(header: number): void {
    for (const [index, access] of (this.#loopAccesses.get(header) ?? []).entries()) {
      const lastPage = { ...LAST_PAGES[index], isFollowed: access.isFollowed };
      this.asm.store(this.base, lastPage.end, (a) => a.i64(0));
      this.#lastPages.push({ ...access, lastPage });
    }
  }

  /** Instructions of the block being written that are not done before this one is. */
  notExecuted(instruction: RegionInstruction): number {
    const { instructions } = this.#block;
    return instructions.length - instructions.indexOf(instruction);
  }

  /** The way an instruction ends other than by going on to the next. */
  end(kind: EndKind, instruction: RegionInstruction): void {
    const dirty = this.#dirty;
    this.#dirty |= this.#registers.use(instruction).written;
    this.#end(kind, instruction);
    this.#dirty = dirty;
  }
  #end(kind: EndKind, instruction: RegionInstruction): void {
    const { asm, base, local } = this;
    switch (kind) {
      case 'jump':
        if (this.#options.codeSegmentBase) asm.load(base, SEGMENT_BASE[1]).op(Op.i64Add);
        asm.set(local.next);
        for (const to of this.#block.likely) this.#goToIfThere(to);
        if (this.#block.successors.has(DISPATCHER)) {
          const { known } = this.flags;
          this.#lookAtBudget();
          this.#goTo(this.#block, DISPATCHER);
          this.flags.known = known;
          return;
        }
        if (jumpsAnywhere(instruction)) this.#logJump(instruction.offset);
        this.#logCall(instruction);
        this.#leave(RegionExit.transfer);
        return;
      case 'branch':
        this.#edge(this.#block, this.#block.taken as number, 'direct');
        return;
      case 'repeat':
        this.#edge(this.#block, instruction.offset, 'direct');
        return;
      default:
        throw new Error(`a region cannot hold an instruction that ends by ${kind}`);
    }
  }

  /** Go on at a place of the region, if that is where the jump leads. */
  #goToIfThere(to: number): void {
    if (!this.#block.successors.has(to)) return;
    const { asm, local } = this;
    asm.get(local.next).get(local.pageBase).i64(to).op(Op.i64Add, Op.i64Eq).if();
    this.labels.push(undefined);
    this.#edge(this.#block, to, 'indirect');
    this.labels.pop();
    asm.end();
  }

  /**
   * Go on at a place. The budget is looked at where tier 0 does so: where control is transferred backwards, to another
   * page or indirectly.
   */
  #edge(from: RegionBlock, to: number, transfer: 'none' | 'direct' | 'indirect'): void {
    const known = this.flags.known;
    const last = lastOffset(from);
    const crosses = pageOf(to) !== pageOf(last);
    const looks = transfer === 'indirect' || crosses || (transfer === 'direct' && to <= last);
    if (!from.successors.has(to)) this.#leaveTo(to, looks);
    else {
      if (looks) this.#lookAtBudget(to);
      if (crosses) {
        this.#leaveUnlessMapped(to);
        this.flags.known = known;
      }
      this.#goTo(from, to);
    }
    this.flags.known = known;
  }
  #goTo(from: RegionBlock, to: number): void {
    this.#load(this.#entryOf(to).loaded & ~this.#loaded);
    if (this.#graph.merges.has(to) || this.#graph.loopHeaders.has(to)) {
      const written = this.#unread.get(to);
      if (written === undefined) this.flags.carry();
      else this.flags.carryUnread(written);
    }
    const isBack = (this.#graph.order.get(to) as number) <= (this.#graph.order.get(from.offset) as number);
    if (isBack || this.#graph.merges.has(to)) this.asm.br(this.#depthOf(to));
    else this.#tree(to);
  }

  /** Find the block of the region that the address in `next` is that of, and go on there. */
  #dispatch(block: RegionBlock): void {
    const { asm, local, pool } = this;
    const targets = [...block.successors].sort((a, b) => a - b);
    const distance = pool.allocate('i64');
    asm.get(local.next).get(local.pageBase).op(Op.i64Sub).set(distance);
    const find = (first: number, end: number): void => {
      const middle = (first + end) >> 1;
      const single = end - first === 1;
      asm
        .get(distance)
        .i64(targets[middle])
        .op(single ? Op.i64Eq : Op.i64LtS)
        .if();
      this.labels.push(undefined);
      if (single) this.#enterFromDispatcher(block, targets[first]);
      else {
        find(first, middle);
        asm.else();
        find(middle, end);
      }
      this.labels.pop();
      asm.end();
    };
    // All edges may have been cut that make no structured loop.
    if (targets.length > 0) find(0, targets.length);
    pool.release('i64', distance);
    // The region has been made with what is known of all its jumps: it does not matter of which one this is noted.
    this.#logJump(this.#jumps[0]);
    this.#leave(RegionExit.transfer);
  }
  #enterFromDispatcher(block: RegionBlock, to: number): void {
    const { known } = this.flags;
    if (this.#jumps.some((jump) => pageOf(jump) !== pageOf(to))) this.#leaveUnlessMapped(to);
    this.flags.known = known;
    this.#goTo(block, to);
    this.flags.known = known;
  }

  /** Note where a jump leads that leaves. */
  #logJump(offset: number): void {
    const { asm, local, pool } = this;
    const { jumpLog } = this.#options;
    if (jumpLog === undefined) return;
    const entry = pool.allocate('i32');
    asm.get(local.next).op(Op.i32WrapI64).set(entry);
    asm.get(entry).get(entry).i32(JUMP_LOG_SHIFT).op(Op.i32ShrU, Op.i32Xor);
    asm.i32(offset ^ (offset >> JUMP_LOG_SHIFT)).op(Op.i32Xor);
    asm
      .i32(JUMP_LOG_ENTRIES - 1)
      .op(Op.i32And)
      .i32(Math.log2(JUMP_LOG_ENTRY_BYTES))
      .op(Op.i32Shl)
      .set(entry);
    asm.get(entry).get(local.pageBase).i64(offset).op(Op.i64Add).mem(Op.i64Store, jumpLog);
    asm
      .get(entry)
      .get(local.next)
      .mem(Op.i64Store, jumpLog + 8);
    pool.release('i32', entry);
  }

  /** Note where a call leads that leaves. */
  #logCall(instruction: RegionInstruction): void {
    const { asm, local } = this;
    if (!callsAnywhere(instruction)) return;
    const entry = this.#options.callLog + callLogOffset(instruction.offset - instruction.pageOffset);
    asm.i32(0).get(local.pageBase).i64(instruction.offset).op(Op.i64Add).mem(Op.i64Store, entry);
    asm
      .i32(0)
      .get(local.next)
      .mem(Op.i64Store, entry + 8);
  }

  /** Code in another page is that of the region only if the code look-up says so. */
  #leaveUnlessMapped(to: number): void {
    this.#unlessMapped(pageOf(to), () => this.#leaveTo(to, true));
  }
  /** The same of an instruction's second page: without it tier 0 does the instruction. */
  #leaveUnlessReached(offset: number): void {
    const { known } = this.flags;
    this.#unlessMapped(pageOf(offset) + PAGE_SIZE_BYTES, () => this.#leaveTo(offset, false));
    this.flags.known = known;
  }
  #unlessMapped(page: number, leave: () => void): void {
    const { asm, local } = this;
    const table = this.#tableOf(page);
    if (table === undefined) {
      leave();
      return;
    }
    asm.get(local.pageBase).i64(page).op(Op.i64Add).set(local.next);
    pushCodeEntry(asm, local.next, local.tlb)
      .tee(local.place)
      .mem(Op.i64Load, TLB_EXEC_OFFSET)
      .get(local.next)
      .op(Op.i64Ne);
    asm
      .get(local.place)
      .mem(Op.i32Load, TLB_EXEC_OFFSET + 8)
      .get(local.own)
      .mem(Op.i32Load, REGION_PLACE_TABLES + table * 4)
      .op(Op.i32Ne);
    asm.op(Op.i32Or).unlikelyIf();
    this.labels.push(undefined);
    leave();
    this.labels.pop();
    asm.end();
  }

  /** Number of a page among those whose entry tables are looked for; undefined: there are too many already. */
  #tableOf(page: number): number | undefined {
    const at = this.#tables.indexOf(page);
    if (at >= 0) return at;
    return this.#tables.length < MAX_REGION_TABLES ? this.#tables.push(page) - 1 : undefined;
  }

  /** Leave if the budget is used up, to go on at a place; without one, at `next`. */
  #lookAtBudget(to?: number): void {
    const { asm, local } = this;
    asm.get(local.budget).i32(0).op(Op.i32LeS).unlikelyIf();
    if (to !== undefined) asm.get(local.pageBase).i64(to).op(Op.i64Add).set(local.next);
    asm.i32(RegionExit.budget).set(local.code);
    this.flags.carry();
    this.#noteDirty(this.#dirty);
    // Past this `if` as well.
    asm.br(this.labels.length + 1 + Way.exit).end();
  }

  #depthOf(block: number): number {
    const at = this.labels.lastIndexOf(block);
    if (at < 0) throw new Error('a region branches to a block that is not around it');
    return this.labels.length - 1 - at;
  }

  #leaveTo(offset: number, transfer: boolean): void {
    const { asm, local } = this;
    asm.get(local.pageBase).i64(offset).op(Op.i64Add).set(local.next);
    this.#leave(transfer ? RegionExit.transfer : RegionExit.flow);
  }
  #leave(code: number): void {
    const { asm, local } = this;
    if (this.flags.storeKnown()) {
      this.#store(this.#dirty);
      asm.get(local.next);
      this.#pushRest(() => asm.i32(code));
      asm.return();
      return;
    }
    asm.i32(code).set(local.code);
    this.#noteDirty(this.#dirty);
    asm.br(this.labels.length + Way.exit);
  }

  /** Leave with an exception at an instruction, or to have tier 0 do it; `inside` more blocks deep than `labels` says. */
  leaveAt(instruction: RegionInstruction, inside: number): void {
    const { asm, local, labels } = this;
    this.#noteDirty(this.#dirty);
    // Where it is, and how many instructions of its block have not been executed.
    asm.i32(instruction.offset).set(local.place).i32(this.notExecuted(instruction)).set(local.code);
    const way = this.flags.known.kind === 'unknown' ? Way.fault : Way.known;
    asm.br(labels.length + inside + way);
  }
}

const lastOffset = (block: RegionBlock): number => block.instructions[block.instructions.length - 1].offset;

import { GPR, SEGMENT_BASE, XMM } from '../../cpu/state.ts';
import { Asm } from '../asm.ts';
import { REGION_EXIT_BITS, RegionExit } from '../exit-code.ts';
import { LocalPool } from '../local-pool.ts';
import type { EndKind } from '../program-emitter.ts';
import { Op, type WasmType } from '../wasm.ts';
import { RegionFlags } from './flags.ts';
import type { RegionBlock, RegionGraph, RegionInstruction } from './graph.ts';
import { InstructionEmitter, type InstructionPlace } from './instruction-emitter.ts';

/** Functions that region modules import, in this order. */
export const REGION_IMPORTS = { regionRead: 0, regionWrite: 1, helper: 2 } as const;

export interface RegionOptions {
  /** Host address of the vCPU's state block. */
  readonly base: number;
  /** RIP counts from the base of CS: the code is not 64-bit code. */
  readonly codeSegmentBase: boolean;
  helperNumber(name: string): number;
}

/** A compiled region: code and locals of its function. */
export interface RegionCode {
  readonly body: Asm;
  readonly locals: readonly WasmType[];
}

const LOADED = { i64: Op.i64Load, v128: [0xfd, 0x00] } as const;
const PARAMETERS = 3;
const FIXED_LOCALS: readonly WasmType[] = ['i32', 'i32', 'i32', 'i64', 'i64', 'i64', 'i64', 'i64'];
/** An exception's place is packed: offset in the page below, instructions of the block that were not executed above. */
const NOT_EXECUTED_SHIFT = 12;

/**
 * The function of one region. Around the code of the blocks stand two ways out, beside those that return at once:
 *
 *     block exit { block fault { prologue, blocks } …fault: where and how far… } …flags, registers…
 *
 * Blocks are nested by dominance, so that each branch is a branch of WebAssembly ("Beyond Relooper", Ramsey, 2022).
 */
export class RegionFunction implements InstructionPlace {
  readonly asm = new Asm();
  readonly pool = new LocalPool(PARAMETERS, FIXED_LOCALS);
  readonly local = { budget: 0, tlb: 1, pageBase: 2, code: 3, place: 4, next: 6 } as const;
  readonly flags: RegionFlags;
  readonly functions = REGION_IMPORTS;
  readonly base: number;
  /** Blocks of WebAssembly around the place where code is being written; the offset of the block that a branch there leads to. */
  readonly labels: (number | undefined)[] = [];
  readonly #options: RegionOptions;
  readonly #graph: RegionGraph;
  readonly #registers: Registers;
  /** By block: registers that may have been changed at its end, as {@link Registers.written}. */
  readonly #dirty: ReadonlyMap<number, ReadonlySet<number>>;
  #block!: RegionBlock;

  constructor(graph: RegionGraph, options: RegionOptions) {
    this.#options = options;
    this.#graph = graph;
    this.base = options.base;
    this.flags = new RegionFlags(this.asm, options.base, { form: 5, a: 7, b: 8, result: 9, scratch: 10 });
    this.#registers = new Registers(graph, this.pool);
    this.#dirty = dirtyAtEnd(graph, this.#registers);
  }

  compile(): RegionCode {
    const { asm, local } = this;
    asm.block().block();
    this.loadRegisters();
    this.#tree(this.#graph.entry);
    asm.end();
    // fault
    asm.get(local.place).i32(0xfff).op(Op.i32And, Op.i64ExtendI32U).get(local.pageBase).op(Op.i64Add).set(local.next);
    asm.get(local.budget).get(local.place).i32(NOT_EXECUTED_SHIFT).op(Op.i32ShrU, Op.i32Add).set(local.budget);
    asm.i32(RegionExit.fault).set(local.code);
    asm.end();
    // exit
    this.flags.storeByForm();
    this.storeRegisters();
    asm.get(local.next);
    this.#pushRest(() => asm.get(local.code));
    return { body: asm, locals: this.pool.types };
  }
  /** Push the second answer: what is left of the budget, and how the region is left. */
  #pushRest(code: () => void): void {
    const { asm, local } = this;
    asm.get(local.budget).i32(REGION_EXIT_BITS).op(Op.i32Shl);
    code();
    asm.op(Op.i32Or);
  }

  helperNumber(name: string): number {
    return this.#options.helperNumber(name);
  }
  gpr(register: number): number {
    return this.#registers.gpr.get(register) as number;
  }
  xmm(register: number): number {
    return this.#registers.xmm.get(register) as number;
  }
  loadRegisters(): void {
    const { asm, base } = this;
    for (const [register, local] of this.#registers.gpr)
      asm
        .i32(0)
        .mem(LOADED.i64, base + GPR[register].offset)
        .set(local);
    for (const [register, local] of this.#registers.xmm) {
      asm.i32(0).op(...LOADED.v128, 0);
      asm.out.u32(base + XMM[register].offset);
      asm.set(local);
    }
  }
  storeRegisters(written: ReadonlySet<number> = this.#registers.written): void {
    const { asm, base } = this;
    const { gpr, xmm } = this.#registers;
    for (const [register, local] of gpr)
      if (written.has(GPR[register].offset)) asm.store(base, GPR[register], () => asm.get(local));
    for (const [register, local] of xmm) {
      if (!written.has(XMM[register].offset)) continue;
      asm.i32(0).get(local).op(0xfd, 0x0b, 0);
      asm.out.u32(base + XMM[register].offset);
    }
  }

  // ---- blocks ----
  #tree(offset: number): void {
    const { asm, labels } = this;
    const isLoop = this.#graph.loopHeaders.has(offset);
    if (isLoop) {
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
    }
  }

  #code(block: RegionBlock): void {
    const outer = this.#block;
    this.#block = block;
    const { asm, local } = this;
    asm.get(local.budget).i32(block.instructions.length).op(Op.i32Sub).set(local.budget);
    for (const instruction of block.instructions) new InstructionEmitter(instruction, this).run();
    if (block.next !== undefined) this.#edge(block, block.next, false);
    this.#block = outer;
  }

  /** Instructions of the block being written that are not done before this one is. */
  notExecuted(instruction: RegionInstruction): number {
    const { instructions } = this.#block;
    return instructions.length - instructions.indexOf(instruction);
  }

  /** The way an instruction ends other than by going on to the next. */
  end(kind: EndKind, instruction: RegionInstruction): void {
    const { asm, base, local } = this;
    switch (kind) {
      case 'jump':
        if (this.#options.codeSegmentBase) asm.load(base, SEGMENT_BASE[1]).op(Op.i64Add);
        asm.set(local.next);
        this.#leave(RegionExit.transfer);
        return;
      case 'branch':
        this.#edge(this.#block, this.#block.taken as number, true);
        return;
      case 'repeat':
        this.#edge(this.#block, instruction.offset, true);
        return;
      default:
        throw new Error(`a region cannot hold an instruction that ends by ${kind}`);
    }
  }

  /** Go on at an offset from the page's base; by a `transfer`, at which the budget is looked at if it goes back. */
  #edge(from: RegionBlock, to: number, transfer: boolean): void {
    const known = this.flags.known;
    const looks = transfer && to <= lastOffset(from);
    if (!from.successors.has(to)) this.#leaveTo(to, looks || to < 0 || to >= 4096);
    else {
      if (looks) this.#lookAtBudget(to);
      const isBack = (this.#graph.order.get(to) as number) <= (this.#graph.order.get(from.offset) as number);
      if (isBack || this.#graph.merges.has(to)) this.asm.br(this.#depthOf(to));
      else this.#tree(to);
    }
    this.flags.known = known;
  }

  #lookAtBudget(to: number): void {
    const { asm, local } = this;
    asm.get(local.budget).i32(0).op(Op.i32LeS).unlikelyIf();
    asm.get(local.pageBase).i64(to).op(Op.i64Add).set(local.next);
    asm.i32(RegionExit.budget).set(local.code);
    // Past this `if` and `fault`.
    asm.br(this.labels.length + 2).end();
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
      this.storeRegisters(this.#dirty.get(this.#block.offset));
      asm.get(local.next);
      this.#pushRest(() => asm.i32(code));
      asm.return();
      return;
    }
    asm.i32(code).set(local.code);
    // Past `fault`.
    asm.br(this.labels.length + 1);
  }

  /** Leave with an exception at an instruction, or to have tier 0 do it; `inside` more blocks deep than `labels` says. */
  leaveAt(instruction: RegionInstruction, inside: number): void {
    const { asm, local, labels } = this;
    asm.i32(instruction.offset | (this.notExecuted(instruction) << NOT_EXECUTED_SHIFT)).set(local.place);
    asm.br(labels.length + inside);
  }
}

const lastOffset = (block: RegionBlock): number => block.instructions[block.instructions.length - 1].offset;

/** Which registers a region holds in locals, and which of them it changes (by their offset in the state block). */
class Registers {
  readonly gpr = new Map<number, number>();
  readonly xmm = new Map<number, number>();
  readonly written = new Set<number>();
  /** What each block changes by itself. */
  readonly writtenBy = new Map<number, Set<number>>();

  constructor(graph: RegionGraph, pool: LocalPool) {
    for (const block of graph.blocks.values()) {
      const own = new Set<number>();
      this.writtenBy.set(block.offset, own);
      for (const instruction of block.instructions)
        for (const { field, offset, write } of instruction.code.demand.state) {
          const at = offset + (field ? Number(instruction[field]) : 0);
          this.#touch(at, write ? own : undefined, this.gpr, { first: GPR[0].offset, sizeBytes: 8, type: 'i64' }, pool);
          this.#touch(
            at,
            write ? own : undefined,
            this.xmm,
            { first: XMM[0].offset, sizeBytes: 16, type: 'v128' },
            pool,
          );
        }
      for (const register of own) this.written.add(register);
    }
  }

  #touch(
    at: number,
    written: Set<number> | undefined,
    locals: Map<number, number>,
    file: { first: number; sizeBytes: number; type: 'i64' | 'v128' },
    pool: LocalPool,
  ): void {
    const register = Math.floor((at - file.first) / file.sizeBytes);
    if (register < 0 || register > 15) return;
    if (!locals.has(register)) locals.set(register, pool.allocate(file.type));
    written?.add(file.first + register * file.sizeBytes);
  }
}

function dirtyAtEnd(graph: RegionGraph, registers: Registers): Map<number, ReadonlySet<number>> {
  const dirty = new Map([...registers.writtenBy].map(([offset, own]) => [offset, new Set(own)]));
  for (let changed = true; changed; ) {
    changed = false;
    for (const [offset, block] of graph.blocks) {
      const from = dirty.get(offset) as Set<number>;
      for (const next of block.successors) {
        const to = dirty.get(next) as Set<number>;
        const before = to.size;
        for (const register of from) to.add(register);
        changed ||= to.size !== before;
      }
    }
  }
  return dirty;
}

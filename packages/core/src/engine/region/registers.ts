import { GPR, XMM } from '../../cpu/state.ts';
import { loopOf, type RegionBlock, type RegionGraph, type RegionInstruction } from './graph.ts';

/** A set of registers: bit n is general register n, bit 16 + n vector register n. */
export type RegisterSet = number;
const FIRST_VECTOR = 16;
export const isVector = (register: number): boolean => register >= FIRST_VECTOR;
/** Its place in the state block. */
export const slotOf = (register: number) => (isVector(register) ? XMM[register - FIRST_VECTOR] : GPR[register]);
export const vectorRegister = (register: number): number => FIRST_VECTOR + register;

export function membersOf(set: RegisterSet): number[] {
  const members: number[] = [];
  // The lowest bit, until none is left.
  for (let rest = set; rest !== 0; rest &= rest - 1) members.push(31 - Math.clz32(rest & -rest));
  return members;
}

/** What an instruction has to do with the registers. */
export interface RegisterUse {
  /** Must be in their locals before the instruction begins. */
  readonly needed: RegisterSet;
  /** Are in their locals at its end. */
  readonly touched: RegisterSet;
  readonly written: RegisterSet;
}

/** What holds where a block begins. */
export interface BlockEntry {
  /** Registers that are in their locals. */
  readonly loaded: RegisterSet;
  /** Registers that may differ from the state block; all of them are in their locals. */
  readonly dirty: RegisterSet;
}

/** Which register a byte of the state block belongs to; -1: none. */
export const registerAt = (offset: number): number => {
  const general = (offset - GPR[0].offset) >> 3;
  if (general >= 0 && general < 16) return general;
  const vector = (offset - XMM[0].offset) >> 4;
  return vector >= 0 && vector < 16 ? FIRST_VECTOR + vector : -1;
};

function useOf(instruction: RegionInstruction): RegisterUse {
  const { state, control, calls } = instruction.code.demand;
  // Where it can end before its last node, or TypeScript sees all registers, even what is only written must be there.
  const simple = !calls && !control.branches && !control.jumps && !control.repeats;
  let [needed, touched, written] = [0, 0, 0];
  for (const { field, offset, bytes, write, certain } of state) {
    const register = registerAt(offset + (field ? Number(instruction[field]) : 0));
    if (register < 0) continue;
    const bit = 1 << register;
    const replaces = write && certain && simple && bytes === (isVector(register) ? 16 : 8);
    // What is read after it was replaced is there, and loading it once more is no harm.
    if (!replaces) needed |= bit;
    touched |= bit;
    if (write) written |= bit;
  }
  return { needed, touched, written };
}

/**
 * Which registers of a region are in locals at which place. A register is loaded where it is first used, so that a short
 * way through a large region pays for what it uses; before a loop all that the loop uses, so that nothing is loaded in it.
 */
export class RegisterPlan {
  readonly entries: ReadonlyMap<number, BlockEntry>;
  /** All that the region uses, and all that it may change. */
  readonly touched: RegisterSet;
  readonly written: RegisterSet;
  readonly #uses = new Map<RegionInstruction, RegisterUse>();

  constructor(graph: RegionGraph) {
    const own = new Map<number, RegisterUse>();
    let [touched, written] = [0, 0];
    for (const block of graph.blocks.values()) {
      const sum = this.#sum(block);
      own.set(block.offset, sum);
      touched |= sum.touched;
      written |= sum.written;
    }
    this.touched = touched;
    this.written = written;
    this.entries = entriesOf(graph, own);
  }

  use(instruction: RegionInstruction): RegisterUse {
    return this.#uses.get(instruction) as RegisterUse;
  }

  #sum(block: RegionBlock): RegisterUse {
    let [touched, written] = [0, 0];
    for (const instruction of block.instructions) {
      const use = useOf(instruction);
      this.#uses.set(instruction, use);
      touched |= use.touched;
      written |= use.written;
    }
    return { needed: touched, touched, written };
  }
}

function entriesOf(graph: RegionGraph, own: ReadonlyMap<number, RegisterUse>): Map<number, BlockEntry> {
  const rank = (offset: number) => graph.order.get(offset) as number;
  const blocks = [...graph.blocks.values()].sort((a, b) => rank(a.offset) - rank(b.offset));
  const before = graph.predecessors;
  const use = (offset: number) => own.get(offset) as RegisterUse;
  const dirty = dirtyAtStart(blocks, before, use);
  const loaded = new Map<number, RegisterSet>();
  for (const { offset } of blocks) {
    const forward = (before.get(offset) as number[]).filter((from) => rank(from) < rank(offset));
    let set = forward.length === 0 ? 0 : -1;
    for (const from of forward) set &= (loaded.get(from) as number) | use(from).touched;
    set |= dirty.get(offset) as number;
    if (graph.loopHeaders.has(offset)) for (const member of loopOf(offset, graph)) set |= use(member).touched;
    loaded.set(offset, set);
  }
  return new Map(
    blocks.map(({ offset }) => [
      offset,
      { loaded: loaded.get(offset) as RegisterSet, dirty: dirty.get(offset) as RegisterSet },
    ]),
  );
}

function dirtyAtStart(
  blocks: readonly RegionBlock[],
  before: ReadonlyMap<number, readonly number[]>,
  use: (offset: number) => RegisterUse,
): Map<number, RegisterSet> {
  const dirty = new Map<number, RegisterSet>(blocks.map(({ offset }) => [offset, 0]));
  for (let changed = true; changed; ) {
    changed = false;
    for (const { offset } of blocks) {
      let set = 0;
      for (const from of before.get(offset) as number[]) set |= (dirty.get(from) as number) | use(from).written;
      if (set === dirty.get(offset)) continue;
      dirty.set(offset, set);
      changed = true;
    }
  }
  return dirty;
}

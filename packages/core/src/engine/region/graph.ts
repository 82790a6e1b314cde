import type { Program } from '../../ir/types.ts';
import type { Demand } from './demand.ts';

/** What a region needs to know of an instruction shape. */
export interface ShapeCode {
  readonly program: Program;
  readonly demand: Demand;
}

/** A decoded instruction with all its operands; fields as in its record, 64-bit ones signed. */
export interface RegionInstruction {
  readonly code: ShapeCode;
  /** Offset in its page, bytes. */
  readonly offset: number;
  readonly lengthBytes: number;
  readonly imm: bigint;
  readonly disp: bigint;
  readonly scale: bigint;
  readonly reg: bigint;
  readonly rm: bigint;
  readonly base: bigint;
  readonly index: bigint;
  readonly segment: number;
  readonly thisOffset: bigint;
  readonly nextOffset: bigint;
}

/** Straight-line code; control enters at its start only. */
export interface RegionBlock {
  readonly offset: number;
  readonly instructions: readonly RegionInstruction[];
  /** Offset of a direct branch's target from the page's base; may lie outside of the page. */
  readonly taken: number | undefined;
  /** Where it goes on if it does not branch or jump. */
  readonly next: number | undefined;
  readonly repeats: boolean;
  /** Edges to blocks of the region, by their offset; all others leave it. */
  readonly successors: Set<number>;
}

/** Blocks with what structured code needs to know of them. */
export interface RegionGraph {
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, RegionBlock>;
  /** Number in reverse postorder. */
  readonly order: ReadonlyMap<number, number>;
  /** Blocks that a block dominates immediately, by reverse postorder. */
  readonly children: ReadonlyMap<number, readonly number[]>;
  /** Targets of edges backwards. */
  readonly loopHeaders: ReadonlySet<number>;
  /** Targets of more than one edge forwards. */
  readonly merges: ReadonlySet<number>;
}

/** Reads decoded instructions: undefined where there is none that a region could hold. */
export type ReadInstruction = (offset: number) => RegionInstruction | undefined;

const PAGE_SIZE_BYTES = 4096;

/** Find the blocks that can be reached from `entry` within its page, at most `limit` instructions. */
export function buildGraph(entry: number, read: ReadInstruction, limit: number): RegionGraph | undefined {
  const found = discover(entry, read, limit);
  if (!found.instructions.has(entry)) return undefined;
  const blocks = cutIntoBlocks(found);
  for (;;) {
    const graph = analyse(entry, blocks);
    if (graph) return graph;
  }
}

interface Discovered {
  readonly instructions: Map<number, RegionInstruction>;
  readonly leaders: Set<number>;
}

function discover(entry: number, read: ReadInstruction, limit: number): Discovered {
  const instructions = new Map<number, RegionInstruction>();
  const leaders = new Set([entry]);
  const queue = [entry];
  for (let start = queue.shift(); start !== undefined; start = queue.shift()) {
    for (let offset = start; !instructions.has(offset) && instructions.size < limit; ) {
      const instruction = read(offset);
      if (!instruction) break;
      instructions.set(offset, instruction);
      const { control } = instruction.code.demand;
      const next = offset + instruction.lengthBytes;
      if (control.branches && isFollowed(instruction)) {
        const target = Number(instruction.imm);
        leaders.add(target);
        queue.push(target);
      }
      if (control.repeats) leaders.add(offset).add(next);
      else if (control.branches || control.jumps) leaders.add(next);
      if (!control.fallsThrough) break;
      offset = next;
    }
  }
  return { instructions, leaders };
}

/** Branches within the page are followed, calls are not: what they lead to makes regions of its own. */
function isFollowed({ imm, code }: RegionInstruction): boolean {
  return imm >= 0n && imm < PAGE_SIZE_BYTES && !(code.demand.stores && !code.demand.control.fallsThrough);
}

function cutIntoBlocks({ instructions, leaders }: Discovered): Map<number, RegionBlock> {
  const blocks = new Map<number, RegionBlock>();
  for (const leader of leaders) {
    if (!instructions.has(leader)) continue;
    const list: RegionInstruction[] = [];
    let offset = leader;
    for (let at = instructions.get(leader); at; at = instructions.get(offset)) {
      list.push(at);
      offset = at.offset + at.lengthBytes;
      if (!at.code.demand.control.fallsThrough || leaders.has(offset)) break;
    }
    blocks.set(leader, makeBlock(leader, list, instructions));
  }
  return blocks;
}

function makeBlock(
  offset: number,
  instructions: RegionInstruction[],
  all: ReadonlyMap<number, RegionInstruction>,
): RegionBlock {
  const last = instructions[instructions.length - 1];
  const { control } = last.code.demand;
  const taken = control.branches ? Number(last.imm) : undefined;
  const next = control.fallsThrough ? last.offset + last.lengthBytes : undefined;
  const successors = new Set<number>();
  if (taken !== undefined && isFollowed(last) && all.has(taken)) successors.add(taken);
  if (next !== undefined && all.has(next)) successors.add(next);
  if (control.repeats) successors.add(offset);
  return { offset, instructions, taken, next, repeats: control.repeats, successors };
}

/** Orders the blocks; undefined after edges have been cut that make no structured loop. */
function analyse(entry: number, blocks: ReadonlyMap<number, RegionBlock>): RegionGraph | undefined {
  const postorder = walk(entry, blocks);
  const sequence = postorder.reverse();
  const order = new Map(sequence.map((offset, i) => [offset, i]));
  const predecessors = new Map<number, number[]>(sequence.map((offset) => [offset, []]));
  for (const from of sequence)
    for (const to of (blocks.get(from) as RegionBlock).successors) predecessors.get(to)?.push(from);
  const dominator = dominators(sequence, order, predecessors);
  const dominates = (a: number, b: number) => {
    for (let at = b; ; at = dominator.get(at) as number) {
      if (at === a) return true;
      if (at === entry) return false;
    }
  };
  let cut = false;
  const loopHeaders = new Set<number>();
  const merges = new Set<number>();
  for (const to of sequence) {
    let forward = 0;
    for (const from of predecessors.get(to) as number[]) {
      if ((order.get(from) as number) < (order.get(to) as number)) forward++;
      else if (dominates(to, from)) loopHeaders.add(to);
      else {
        (blocks.get(from) as RegionBlock).successors.delete(to);
        cut = true;
      }
    }
    if (forward > 1) merges.add(to);
  }
  if (cut) return undefined;
  const children = new Map<number, number[]>(sequence.map((offset) => [offset, []]));
  for (const offset of sequence) if (offset !== entry) children.get(dominator.get(offset) as number)?.push(offset);
  const reached = new Map(sequence.map((offset) => [offset, blocks.get(offset) as RegionBlock]));
  return { entry, blocks: reached, order, children, loopHeaders, merges };
}

function walk(entry: number, blocks: ReadonlyMap<number, RegionBlock>): number[] {
  const postorder: number[] = [];
  const seen = new Set<number>();
  const visit = (offset: number) => {
    seen.add(offset);
    for (const next of (blocks.get(offset) as RegionBlock).successors) if (!seen.has(next)) visit(next);
    postorder.push(offset);
  };
  visit(entry);
  return postorder;
}

/** Immediate dominators (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm"). */
function dominators(
  sequence: readonly number[],
  order: ReadonlyMap<number, number>,
  predecessors: ReadonlyMap<number, readonly number[]>,
): Map<number, number> {
  const dominator = new Map<number, number>([[sequence[0], sequence[0]]]);
  const rank = (offset: number) => order.get(offset) as number;
  const common = (a: number, b: number) => {
    while (a !== b) {
      while (rank(a) > rank(b)) a = dominator.get(a) as number;
      while (rank(b) > rank(a)) b = dominator.get(b) as number;
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const offset of sequence.slice(1)) {
      const known = (predecessors.get(offset) as number[]).filter((from) => dominator.has(from));
      const found = known.reduce(common);
      if (dominator.get(offset) === found) continue;
      dominator.set(offset, found);
      changed = true;
    }
  }
  return dominator;
}

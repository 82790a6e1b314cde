import { GPR } from '../../cpu/state.ts';
import type { FlagUse } from '../../ir/flag-use.ts';
import type { Program } from '../../ir/types.ts';
import { PAGE_SIZE_BYTES } from '../../memory/layout.ts';
import type { AddressField } from './address-fields.ts';
import type { Demand } from './demand.ts';

/** What a region needs to know of an instruction shape. */
export interface ShapeCode {
  readonly program: Program;
  readonly demand: Demand;
  readonly flags: FlagUse;
  /** The same without its effect on the arithmetic flags; undefined: it has none. */
  quiet(): ShapeCode | undefined;
}

/** A decoded instruction with all its operands; fields as in its record, 64-bit ones signed. */
export interface RegionInstruction {
  readonly code: ShapeCode;
  /** Where it is, in bytes from the base of the page that the region starts in. */
  readonly offset: number;
  /** The same of its page; `imm` of a branch, `thisOffset` and `nextOffset` count from there. */
  readonly pageOffset: number;
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
  /** What of `imm` and `disp` moves with the code. */
  readonly addresses: readonly AddressField[];
}

/** Straight-line code; control enters at its start only. An instruction that reaches into the next page has a block of its own. */
export interface RegionBlock {
  readonly offset: number;
  readonly instructions: readonly RegionInstruction[];
  /** Target of a direct branch. */
  readonly taken: number | undefined;
  /** Ends by a jump: where in the region it may lead, but by way of the dispatcher: return addresses of calls, or what a call has called before. */
  readonly likely: number[];
  /** Where it goes on if it does not branch or jump. */
  readonly next: number | undefined;
  readonly repeats: boolean;
  /** Edges to blocks of the region, by their offset; all others leave it. */
  readonly successors: Set<number>;
}

/** Offset of the block without instructions to which all indirect jumps lead that may go to places of the region. */
export const DISPATCHER = Number.MAX_SAFE_INTEGER;

/** Blocks with what structured code needs to know of them. */
export interface RegionGraph {
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, RegionBlock>;
  /** Number in reverse postorder. */
  readonly order: ReadonlyMap<number, number>;
  /** Blocks from which control comes to a block. */
  readonly predecessors: ReadonlyMap<number, readonly number[]>;
  /** Blocks that a block dominates immediately, by reverse postorder. */
  readonly children: ReadonlyMap<number, readonly number[]>;
  /** Targets of edges backwards. */
  readonly loopHeaders: ReadonlySet<number>;
  /** Targets of more than one edge forwards. */
  readonly merges: ReadonlySet<number>;
  /** There was more than the limit allows, or jumps may lead to more places than are known so far. */
  readonly mayBeLonger: boolean;
}

/** Decoded code; places are bytes from the base of the page that the region starts in. */
export interface RegionCodeSource {
  /** The instruction at a place: undefined where there is none that a region could hold. */
  read(offset: number): RegionInstruction | undefined;
  /** Whether a place in another page, or one that is called, is reached often enough to be worth following. */
  isHot(offset: number): boolean;
  /** Where the jump at a place, which goes where a register or memory says, has led to before, if that is known and near enough. */
  jumpTargets(offset: number): readonly number[];
  /** Where the call at a place, which goes where a register or memory says, led to before, if that is known and near enough. */
  calledFrom(offset: number): number | undefined;
  /** At most so many instructions. */
  readonly limit: number;
}

/** The page of a place. */
export const pageOf = (offset: number): number => offset & -PAGE_SIZE_BYTES;
/** The instruction reaches into the next page. */
export const reachesOver = ({ offset, pageOffset, lengthBytes }: RegionInstruction): boolean =>
  offset - pageOffset + lengthBytes > PAGE_SIZE_BYTES;
/** Return addresses to compare with; more of them cost more than they save. */
const MAX_RETURNS = 4;

/** Find the blocks that can be reached from `entry`. */
export function buildGraph(entry: number, source: RegionCodeSource): RegionGraph | undefined {
  let found = discover(entry, source);
  if (found.jumpTargets.size > 0 && !isClosed(found, source.limit))
    found = discover(entry, { ...source, jumpTargets: () => [] });
  const first = found.instructions.get(entry);
  // What leads into the region is its first page's: tier 0 looks at the second page of an instruction there.
  if (!first || reachesOver(first)) return undefined;
  const isCutShort = found.instructions.size >= source.limit;
  const mayBeLonger = isCutShort || [...found.instructions.values()].some(jumpsAnywhere);
  const blocks = cutIntoBlocks(found);
  linkReturns(found, blocks);
  addDispatcher(found, blocks);
  for (;;) {
    const graph = analyse(entry, blocks);
    if (graph) return { ...graph, mayBeLonger };
  }
}

interface Discovered {
  readonly instructions: Map<number, RegionInstruction>;
  readonly leaders: Set<number>;
  /** Instructions whose branch is followed. */
  readonly followed: Set<number>;
  readonly calls: { readonly target: number; readonly returnsTo: number }[];
  /** Where indirect calls that are followed lead. */
  readonly called: ReadonlyMap<number, number>;
  /** Places that indirect jumps of the region may lead to. */
  readonly jumpTargets: ReadonlySet<number>;
}

function discover(entry: number, source: RegionCodeSource): Discovered {
  const { read, isHot, limit } = source;
  const instructions = new Map<number, RegionInstruction>();
  const leaders = new Set([entry]);
  const followed = new Set<number>();
  const calls: Discovered['calls'] = [];
  const called = new Map<number, number>();
  const queue = [entry];
  const jumpTargets = new Set<number>();
  const followJump = (from: number) => {
    for (const target of source.jumpTargets(from)) {
      if (jumpTargets.has(target) || !isHot(target) || !read(target)) continue;
      jumpTargets.add(target);
      leaders.add(target);
      queue.push(target);
    }
  };
  const follow = (instruction: RegionInstruction, target: number, next: number): boolean => {
    const isCall = calling(instruction);
    const isNear = pageOf(target) === instruction.pageOffset;
    if ((isCall || !isNear) && !(isHot(target) && read(target))) return false;
    followed.add(instruction.offset);
    leaders.add(target);
    queue.push(target);
    if (isCall) {
      calls.push({ target, returnsTo: next });
      queue.push(next);
    }
    return true;
  };
  const followIndirectCall = (instruction: RegionInstruction, next: number) => {
    const target = source.calledFrom(instruction.offset);
    if (target !== undefined && follow(instruction, target, next)) called.set(instruction.offset, target);
  };
  for (let start = queue.shift(); start !== undefined; start = queue.shift()) {
    for (let offset = start; !instructions.has(offset) && instructions.size < limit; ) {
      const instruction = read(offset);
      if (!instruction) break;
      instructions.set(offset, instruction);
      if (reachesOver(instruction)) leaders.add(offset);
      const { control } = instruction.code.demand;
      const next = offset + instruction.lengthBytes;
      if (control.branches) follow(instruction, targetOf(instruction), next);
      if (callsAnywhere(instruction)) followIndirectCall(instruction, next);
      if (jumpsAnywhere(instruction)) followJump(offset);
      if (control.repeats) leaders.add(offset).add(next);
      else if (control.branches || control.jumps) leaders.add(next);
      if (!control.fallsThrough) break;
      if (pageOf(next) !== instruction.pageOffset) {
        leaders.add(next);
        if (isHot(next)) queue.push(next);
        break;
      }
      offset = next;
    }
  }
  return { instructions, leaders, followed, calls, called, jumpTargets };
}

const targetOf = ({ pageOffset, imm }: RegionInstruction): number => pageOffset + Number(imm);
/** Goes to another level or code segment, or leaves: what comes then is another region's. */
const changesLevel = ({ code }: RegionInstruction): boolean => code.demand.control.jumps && code.demand.control.leaves;
/** A branch or jump that pushes where it comes from. */
const calling = (instruction: RegionInstruction): boolean =>
  instruction.code.demand.stores && !instruction.code.demand.control.fallsThrough && !changesLevel(instruction);
const RSP = GPR[4].offset;
/** Takes the place to go on from the stack. */
function returning(instruction: RegionInstruction): boolean {
  const { demand } = instruction.code;
  if (changesLevel(instruction)) return false;
  const pops = demand.state.some(({ field, offset, write }) => field === undefined && offset === RSP && write);
  return demand.control.jumps && !demand.stores && pops;
}

/** Goes where a register or memory says, and leaves nothing behind that leads back. */
export const jumpsAnywhere = (instruction: RegionInstruction): boolean =>
  instruction.code.demand.control.jumps &&
  !instruction.code.demand.stores &&
  !returning(instruction) &&
  !changesLevel(instruction);

/** Calls what a register or memory says. */
export const callsAnywhere = (instruction: RegionInstruction): boolean =>
  instruction.code.demand.control.jumps && calling(instruction);

/**
 * All of an interpreter is here, with what it calls: then it goes round in the region. Where it often leaves, the way in and
 * out, with all registers of the loop, costs more than is saved (awk: 1.15 of the time).
 */
const isClosed = ({ instructions, followed }: Discovered, limit: number): boolean =>
  instructions.size < limit && [...instructions.values()].every((each) => !calling(each) || followed.has(each.offset));

/** Where indirect jumps of the region may lead to its blocks, they go through one block that finds out which. */
function addDispatcher({ jumpTargets }: Discovered, blocks: Map<number, RegionBlock>): void {
  const successors = new Set([...jumpTargets].filter((target) => blocks.has(target)));
  if (successors.size === 0) return;
  for (const { instructions, successors: after } of blocks.values())
    if (jumpsAnywhere(instructions[instructions.length - 1])) after.add(DISPATCHER);
  const nothing = { instructions: [], taken: undefined, likely: [], next: undefined, repeats: false };
  blocks.set(DISPATCHER, { offset: DISPATCHER, ...nothing, successors });
}

/** From each call, without going into those on the way: returns that are reached may lead back to it. */
function linkReturns({ calls, followed }: Discovered, blocks: Map<number, RegionBlock>): void {
  for (const { target, returnsTo } of calls) {
    if (!blocks.has(returnsTo)) continue;
    const seen = new Set<number>();
    const queue = [target];
    for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
      const block = blocks.get(at);
      if (!block || seen.has(at)) continue;
      seen.add(at);
      const last = block.instructions[block.instructions.length - 1];
      if (returning(last)) addReturn(block, returnsTo);
      else if (calling(last)) {
        if (followed.has(last.offset)) queue.push(last.offset + last.lengthBytes);
      } else queue.push(...block.successors);
    }
  }
}
function addReturn(block: RegionBlock, to: number): void {
  if (block.likely.includes(to) || block.likely.length >= MAX_RETURNS) return;
  block.likely.push(to);
  block.successors.add(to);
}

function cutIntoBlocks(found: Discovered): Map<number, RegionBlock> {
  const { instructions, leaders } = found;
  const blocks = new Map<number, RegionBlock>();
  for (const leader of leaders) {
    if (!instructions.has(leader)) continue;
    const list: RegionInstruction[] = [];
    let offset = leader;
    for (let at = instructions.get(leader); at; at = instructions.get(offset)) {
      list.push(at);
      offset = at.offset + at.lengthBytes;
      const goesOn = at.code.demand.control.fallsThrough && pageOf(offset) === at.pageOffset;
      if (!goesOn || leaders.has(offset)) break;
    }
    blocks.set(leader, makeBlock(leader, list, found));
  }
  return blocks;
}

function makeBlock(
  offset: number,
  instructions: RegionInstruction[],
  { instructions: all, followed, called }: Discovered,
): RegionBlock {
  const last = instructions[instructions.length - 1];
  const { control } = last.code.demand;
  const taken = control.branches ? targetOf(last) : undefined;
  const next = control.fallsThrough ? last.offset + last.lengthBytes : undefined;
  const successors = new Set<number>();
  if (taken !== undefined && followed.has(last.offset) && all.has(taken)) successors.add(taken);
  if (next !== undefined && all.has(next)) successors.add(next);
  if (control.repeats) successors.add(offset);
  const likely = [called.get(last.offset)].filter((target) => target !== undefined && all.has(target)) as number[];
  for (const target of likely) successors.add(target);
  return { offset, instructions, taken, likely, next, repeats: control.repeats, successors };
}

/** Orders the blocks; undefined after edges have been cut that make no structured loop. */
function analyse(
  entry: number,
  blocks: ReadonlyMap<number, RegionBlock>,
): Omit<RegionGraph, 'mayBeLonger'> | undefined {
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
  return { entry, blocks: reached, order, predecessors, children, loopHeaders, merges };
}

/** The blocks of the loop that a header heads: those from which it is reached again without passing it. */
export function loopOf(header: number, { order, predecessors }: RegionGraph): ReadonlySet<number> {
  const rank = (offset: number) => order.get(offset) as number;
  const members = new Set([header]);
  const queue = (predecessors.get(header) as number[]).filter((from) => rank(from) >= rank(header));
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    if (members.has(at)) continue;
    members.add(at);
    queue.push(...(predecessors.get(at) as number[]));
  }
  return members;
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

import { FC, FS, FZ, GPR, PAGE_BASE, XMM, ZERO } from '../../cpu/state.ts';
import type { AccessBytes, Block, Evaluated, Node, Value } from '../../ir/types.ts';
import { slotBytes } from '../program-emitter.ts';
import { NO_SEGMENT } from '../record.ts';
import type { RegionBlock, RegionGraph, RegionInstruction } from './graph.ts';

/** Accesses of memory that are so near to each other that they mostly lie in one page: they are translated together. */
export interface SharedTranslation {
  readonly write: boolean;
  /** What they access of memory, counted from what they have in common. */
  readonly first: bigint;
  readonly end: bigint;
}

/** One access among those. */
export interface TranslationUse {
  readonly shared: SharedTranslation;
  /** It translates; the others come after it, whatever way control takes to them. */
  readonly isFirst: boolean;
  /** Where it lies in what is translated. */
  readonly offsetBytes: number;
}

/** By instruction and node of its program. */
export type TranslationUses = ReadonlyMap<RegionInstruction, ReadonlyMap<Node, TranslationUse>>;

/** The more it is, the more often a page ends within. */
const MOST_BYTES = 512n;
const GPR_START = GPR[0].offset;
const GPR_END = GPR[15].offset + 8;
const XMM_START = XMM[0].offset;
const XMM_END = XMM[15].offset + 16;
const HARMLESS_SLOTS = new Set([FC, FS, FZ].map(({ offset }) => offset));
const LOW_HALF = 0xffff_ffffn;

/** What a number is counted from: 0 itself, the base of the region's first page, or something that is known by its number alone. */
const FROM_ZERO = 0;
const FROM_PAGE = 1;
const FIRST_UNKNOWN = 2;

/**
 * What is known of a value: its distance from something else. `whole`: all 64 bits; `extended`: the low half, above it 0; `low`: the low
 * half alone.
 */
interface Known {
  readonly from: number;
  readonly distance: bigint;
  readonly form: 'whole' | 'extended' | 'low';
}

/** A translation while it is found out what can share it. */
interface Growing extends SharedTranslation {
  readonly from: number;
  /** Addresses of 32 bits, and not the low half of others. */
  readonly wraps: boolean;
  first: bigint;
  end: bigint;
  readonly uses: { readonly instruction: RegionInstruction; readonly node: Node; readonly at: bigint }[];
}

/** What is known at a place of a region. */
interface State {
  /** By number of the general register. */
  readonly registers: Known[];
  /** Translations that have been made on the way there, and still hold. */
  open: readonly Growing[];
}

type NodeOf<K extends Node['kind']> = Extract<Node, { kind: K }>;

/**
 * Which accesses of a region share a translation: what they are addressed by is the same register, moved by constants perhaps, with
 * constant displacements. Known things pass from a block to those that only it leads to.
 *
 * A translation may be used for as long as a processor may keep it: until something drops it, or the manner of access changes. Both
 * happen outside of regions, or by what is seen here: calls of TypeScript, and changes of the state block beyond registers and flags.
 */
export function sharedTranslations(graph: RegionGraph): TranslationUses {
  return new Finder(graph).run();
}

class Finder {
  readonly #graph: RegionGraph;
  readonly #found: Growing[] = [];
  #unknowns = FIRST_UNKNOWN;
  /** Of the instruction that is being looked at, by value id. */
  #values: (Known | undefined)[] = [];
  #instruction!: RegionInstruction;

  constructor(graph: RegionGraph) {
    this.#graph = graph;
  }

  run(): TranslationUses {
    for (const block of this.#graph.blocks.values())
      if (!this.#hasOneWayIn(block.offset)) this.#block(block, { registers: GPR.map(() => this.#unknown()), open: [] });
    const uses = new Map<RegionInstruction, Map<Node, TranslationUse>>();
    for (const shared of this.#found) {
      if (shared.uses.length < 2) continue;
      shared.uses.forEach(({ instruction, node, at }, i) => {
        let ofInstruction = uses.get(instruction);
        if (!ofInstruction) uses.set(instruction, (ofInstruction = new Map()));
        ofInstruction.set(node, { shared, isFirst: i === 0, offsetBytes: Number(at - shared.first) });
      });
    }
    return uses;
  }

  #hasOneWayIn(offset: number): boolean {
    const { entry, merges, loopHeaders } = this.#graph;
    return offset !== entry && !merges.has(offset) && !loopHeaders.has(offset);
  }

  #block(block: RegionBlock, state: State): void {
    for (const instruction of block.instructions) {
      this.#instruction = instruction;
      this.#values = [];
      for (const node of instruction.code.program.body.nodes) this.#node(node, state);
    }
    for (const to of block.successors) {
      const next = this.#graph.blocks.get(to);
      if (next && this.#hasOneWayIn(to)) this.#block(next, { registers: [...state.registers], open: state.open });
    }
  }

  #unknown(): Known {
    return { from: this.#unknowns++, distance: 0n, form: 'whole' };
  }

  #node(node: Node, state: State): void {
    switch (node.kind) {
      case 'load':
      case 'loadForUpdate':
        this.#access(node, node.kind !== 'load', state);
        return;
      case 'store':
        this.#access(node, true, state);
        return;
      case 'setRegister':
      case 'setFixed':
      case 'setSlot':
        this.#set(node, this.#values[node.value.id], state);
        return;
      case 'when':
        this.#maybe(node.then, state);
        this.#maybe(node.otherwise, state);
        return;
      case 'helper':
        this.#forgetAll(state);
        return;
      default:
        if ('result' in node && node.result) this.#values[node.result.id] = this.#valueOf(node, state);
    }
  }

  /** TypeScript may change anything. */
  #forgetAll(state: State): void {
    state.registers.forEach((_, i) => {
      state.registers[i] = this.#unknown();
    });
    this.#forget(state);
  }
  #forget(state: State): void {
    state.open = [];
  }

  /** What happens in some cases only: what is set is not known any more, and what is accessed shares nothing. */
  #maybe({ nodes }: Block, state: State): void {
    for (const node of nodes)
      switch (node.kind) {
        case 'setRegister':
        case 'setFixed':
        case 'setSlot':
          this.#set(node, undefined, state);
          break;
        case 'when':
          this.#maybe(node.then, state);
          this.#maybe(node.otherwise, state);
          break;
        case 'helper':
          this.#forgetAll(state);
      }
  }

  // ---- values ----
  #valueOf(node: Node, state: State): Known | undefined {
    const instruction = this.#instruction;
    switch (node.kind) {
      case 'const':
        return typeof node.value === 'bigint' ? constant(node.value, 'whole') : constant(BigInt(node.value), 'low');
      case 'recordField':
        if (instruction.addresses.some(({ field }) => field === node.field)) return undefined;
        return constant(BigInt(instruction[node.field]), 'whole');
      case 'segmentBase':
        return instruction.segment === NO_SEGMENT ? constant(0n, 'whole') : undefined;
      case 'getSlot':
      case 'getRegister':
      case 'getFixed':
        return this.#get(placeOf(node, instruction), state);
      case 'pure':
        return node.result.condition === undefined ? this.#pure(node) : undefined;
      default:
        return undefined;
    }
  }

  #get({ offset, bytes }: StatePlace, { registers }: State): Known | undefined {
    if (offset === ZERO.offset) return constant(0n, bytes === 8 ? 'whole' : 'low');
    if (offset === PAGE_BASE.offset)
      return { from: FROM_PAGE, distance: BigInt(this.#instruction.pageOffset), form: 'whole' };
    const at = offset - GPR_START;
    if (offset < GPR_START || offset >= GPR_END || (at & 7) !== 0) return undefined;
    if (bytes === 8) return registers[at >> 3];
    return bytes === 4 ? { ...registers[at >> 3], form: 'low' } : undefined;
  }

  #pure({ op, args, immediates, result }: NodeOf<'pure'>): Known | undefined {
    const [a, b] = args.map(({ id }) => this.#values[id]);
    if (!a || (args.length > 1 && !b)) return undefined;
    if (args.length > 2) return undefined;
    if (FOLDED.test(op.name) && a.from === FROM_ZERO && (!b || b.from === FROM_ZERO)) {
      const evaluated = op.evaluate(
        args.map((arg, i) => evaluatedAs(arg, (i === 0 ? a : b) as Known)),
        immediates,
      );
      return constant(BigInt(evaluated as number | bigint), result.type === 'i64' ? 'whole' : 'low');
    }
    switch (op.name) {
      case 'i64.add':
      case 'i32.add':
        if (b?.from === FROM_ZERO) return moved(a, b.distance);
        return a.from === FROM_ZERO ? moved(b as Known, a.distance) : undefined;
      case 'i64.sub':
      case 'i32.sub':
        return b?.from === FROM_ZERO ? moved(a, -b.distance) : undefined;
      case 'i64.and':
        return b?.from === FROM_ZERO && b.distance === LOW_HALF ? { ...a, form: 'extended' } : undefined;
      case 'i64.extend_i32_u':
        return { ...a, form: 'extended' };
      case 'i32.wrap_i64':
        return { ...a, form: 'low' };
      default:
        return undefined;
    }
  }

  #set(node: NodeOf<'setRegister' | 'setFixed' | 'setSlot'>, value: Known | undefined, state: State): void {
    const { offset, bytes } = placeOf(node, this.#instruction);
    const at = offset - GPR_START;
    if (offset >= GPR_START && offset < GPR_END) {
      state.registers[at >> 3] = (bytes === 8 ? value : undefined) ?? this.#unknown();
      return;
    }
    if (!isHarmless(offset)) this.#forget(state);
  }

  // ---- accesses ----
  #access(node: NodeOf<'load' | 'loadForUpdate' | 'store'>, write: boolean, state: State): void {
    const address = this.#values[node.address.id];
    if (!address || address.form === 'low') return;
    const wraps = address.form === 'extended';
    const at = BigInt.asIntN(wraps ? 32 : 64, address.distance);
    const end = at + BigInt(node.bytes);
    const use = { instruction: this.#instruction, node, at };
    for (const shared of state.open) {
      if (shared.from !== address.from || shared.wraps !== wraps || (write && !shared.write)) continue;
      const all = { first: least(shared.first, at), end: -least(-shared.end, -end) };
      if (all.end - all.first > MOST_BYTES) continue;
      Object.assign(shared, all);
      shared.uses.push(use);
      return;
    }
    const shared: Growing = { write, wraps, first: at, end, from: address.from, uses: [use] };
    this.#found.push(shared);
    state.open = [...state.open, shared];
  }
}

/** Anything else of the state block: the bank of the TLB, the manner of access and more of that kind. */
const isHarmless = (offset: number): boolean =>
  (offset >= GPR_START && offset < GPR_END) || (offset >= XMM_START && offset < XMM_END) || HARMLESS_SLOTS.has(offset);

/** Addresses may lead elsewhere afterwards. */
export function endsTranslations(node: Node, instruction: RegionInstruction): boolean {
  switch (node.kind) {
    case 'helper':
      return true;
    case 'setRegister':
    case 'setFixed':
    case 'setSlot':
      return !isHarmless(placeOf(node, instruction).offset);
    case 'when':
      return [...node.then.nodes, ...node.otherwise.nodes].some((each) => endsTranslations(each, instruction));
    default:
      return false;
  }
}

/** Operations of which the result is known where the operands are. */
const FOLDED = /^i(32|64)\.(add|sub|and|or|xor|shl|wrap_i64|extend_i32_s|extend_i32_u)$/;
const evaluatedAs = ({ type }: Value, { distance }: Known): Evaluated =>
  type === 'i64' ? BigInt.asIntN(64, distance) : Number(BigInt.asIntN(32, distance));
const constant = (value: bigint, form: Known['form']): Known => ({ from: FROM_ZERO, distance: value, form });
/** What comes to nothing above the low half in one place may come to something there in another. */
const moved = ({ from, distance, form }: Known, by: bigint): Known => ({
  from,
  distance: distance + by,
  form: form === 'whole' ? 'whole' : 'low',
});
const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);

interface StatePlace {
  readonly offset: number;
  readonly bytes: AccessBytes;
}
export function placeOf(
  node: NodeOf<'getSlot' | 'getRegister' | 'getFixed' | 'setSlot' | 'setRegister' | 'setFixed'>,
  instruction: RegionInstruction,
): StatePlace {
  switch (node.kind) {
    case 'getSlot':
    case 'setSlot':
      return { offset: node.slot.offset, bytes: slotBytes(node.slot.type) };
    case 'getRegister':
    case 'setRegister':
      return { offset: Number(instruction[node.field]) + node.extra, bytes: node.bytes };
    default:
      return node;
  }
}

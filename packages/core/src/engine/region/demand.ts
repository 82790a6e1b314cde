import { FC, FS, FZ, type Slot } from '../../cpu/state.ts';
import type { Node, Program, RegisterField, Value } from '../../ir/types.ts';
import { slotBytes } from '../program-emitter.ts';

/** How an instruction passes control on, as far as its IR tells. */
export interface ControlUse {
  /** It can branch to its direct target, jump elsewhere, repeat itself. */
  readonly branches: boolean;
  readonly jumps: boolean;
  readonly repeats: boolean;
  /** It can go on to the next instruction. */
  readonly fallsThrough: boolean;
  /** It leaves to TypeScript, unless it ends before. */
  readonly leaves: boolean;
}

/** A part of the state block that an instruction reads or writes: at `offset`, or at what a field of its record says plus that. */
export interface StateUse {
  readonly field: RegisterField | undefined;
  readonly offset: number;
  readonly bytes: number;
  readonly write: boolean;
  /** It happens whenever the instruction gets to its end. */
  readonly certain: boolean;
}

/** What a compiled region asks of an instruction's IR: computed once for each program. */
export interface Demand {
  readonly state: readonly StateUse[];
  /** It calls TypeScript; it writes to guest memory. */
  readonly calls: boolean;
  readonly stores: boolean;
  readonly control: ControlUse;
  /** By value id: how often it is asked for. */
  readonly uses: Uint16Array;
  /** By value id: 1 if state must be read where the node stands, because it is changed before the last use. */
  readonly snapshot: Uint8Array;
  /** `when` nodes in which arithmetic flags are set; true: all of them are, and none is read before. */
  readonly flagWriters: ReadonlyMap<Node, boolean>;
  /** All arithmetic flags are set one by one whatever happens, and none is read. */
  readonly replacesFlags: boolean;
  readonly flagEffect: FlagEffect;
}
/**
 * What becomes of the arithmetic flags that were before an instruction: it does not touch them; overwrites all of them unread, whatever
 * happens, or if the condition of its only `when` with flags in it holds; or anything else.
 */
export type FlagEffect = 'none' | 'overwrites' | 'overwritesIf' | 'other';

const isFlag = (slot: Slot): boolean => slot === FZ || slot === FS || slot === FC;

export function demandOf(program: Program): Demand {
  return new Analysis(program).run();
}

class Analysis {
  readonly #program: Program;
  readonly #uses: Uint16Array;
  readonly #lastUse: Int32Array;
  readonly #flagWriters = new Map<Node, boolean>();
  /** Index in the body of the first node that changes registers or slots. */
  #firstChange = Number.POSITIVE_INFINITY;
  #changeIsBlock = false;
  #flagsRead = false;
  readonly #flagsSet = new Set<Slot>();
  #branches = false;
  #jumps = false;
  #repeats = false;
  #leaves = false;
  #calls = false;
  #stores = false;

  constructor(program: Program) {
    this.#program = program;
    this.#uses = new Uint16Array(program.valueCount);
    this.#lastUse = new Int32Array(program.valueCount).fill(-1);
  }

  run(): Demand {
    const { nodes } = this.#program.body;
    let ends = false;
    nodes.forEach((node, index) => {
      this.#effect(node, index, true);
      ends ||= node.kind === 'branch' || node.kind === 'jump' || node.kind === 'raise' || node.kind === 'exit';
    });
    const fromSource = nodes.some((node) => node.kind === 'flagSource');
    const replacesFlags = this.#flagsSet.size === 3 && !this.#flagsRead && !fromSource;
    return {
      state: stateUses(nodes),
      calls: this.#calls,
      stores: this.#stores,
      control: {
        branches: this.#branches,
        jumps: this.#jumps,
        repeats: this.#repeats,
        fallsThrough: !ends,
        leaves: this.#leaves,
      },
      uses: this.#uses,
      snapshot: this.#snapshots(nodes),
      flagWriters: this.#flagWriters,
      replacesFlags,
      flagEffect: this.#flagEffect(fromSource || replacesFlags),
    };
  }

  #flagEffect(setsAll: boolean): FlagEffect {
    // TypeScript may change what it likes.
    if (this.#calls || this.#flagsRead) return 'other';
    const writers = [...this.#flagWriters.values()];
    if (this.#flagsSet.size === 0 && writers.length === 0) return 'none';
    if (this.#repeats) return 'other';
    if (writers.length === 0) return setsAll ? 'overwrites' : 'other';
    return writers.length === 1 && writers[0] && this.#flagsSet.size === 0 ? 'overwritesIf' : 'other';
  }

  #snapshots(nodes: readonly Node[]): Uint8Array {
    const snapshot = new Uint8Array(this.#program.valueCount);
    const limit = this.#changeIsBlock ? this.#firstChange - 1 : this.#firstChange;
    const visit = (block: readonly Node[], inside: boolean) => {
      for (const node of block) {
        if (node.kind === 'when') {
          visit(node.then.nodes, true);
          visit(node.otherwise.nodes, true);
        } else if ('result' in node && node.result) {
          const readsFlag = node.kind === 'getSlot' && isFlag(node.slot);
          if (inside || readsFlag || this.#lastUse[node.result.id] > limit) snapshot[node.result.id] = 1;
        }
      }
    };
    visit(nodes, false);
    return snapshot;
  }

  #use(value: Value, at: number): void {
    const { id, node } = value;
    const first = this.#uses[id]++ === 0;
    if (!first) {
      this.#usedAgain(value, at);
      return;
    }
    this.#lastUse[id] = at;
    if (value.condition !== undefined || (node.kind === 'getSlot' && isFlag(node.slot))) this.#flagsRead = true;
    else if (node.kind === 'pure') for (const arg of node.args) this.#use(arg, at);
  }
  /** Operands are used as late as what is made of them; each counts once. */
  #usedAgain(value: Value, at: number): void {
    if (this.#lastUse[value.id] >= at) return;
    this.#lastUse[value.id] = at;
    if (value.condition === undefined && value.node.kind === 'pure')
      for (const arg of value.node.args) this.#usedAgain(arg, at);
  }

  #effect(node: Node, at: number, top: boolean): void {
    switch (node.kind) {
      case 'setSlot':
        this.#setSlot(node, at, top);
        return;
      case 'setRegister':
      case 'setFixed':
        this.#use(node.value, at);
        this.#change(at, top);
        return;
      case 'setVariable':
        this.#use(node.value, at);
        return;
      case 'flagSource':
        if (!top) return;
        if (node.source.a) this.#use(node.source.a, at);
        if (node.source.b) this.#use(node.source.b, at);
        this.#use(node.source.extended, at);
        return;
      case 'when':
        this.#when(node, at);
        return;
      case 'load':
      case 'loadForUpdate':
        this.#use(node.address, at);
        return;
      case 'store':
        this.#stores = true;
        this.#use(node.address, at);
        this.#use(node.value, at);
        return;
      case 'storeUpdate':
        this.#use(node.value, at);
        return;
      case 'reach':
        this.#use(node.bank, at);
        this.#use(node.address, at);
        return;
      case 'loadReached':
        this.#use(node.host, at);
        return;
      case 'storeReached':
        this.#stores = true;
        this.#use(node.host, at);
        this.#use(node.value, at);
        return;
      case 'copyReached':
      case 'fillReached':
        this.#stores = true;
        this.#use(node.to, at);
        this.#use(node.kind === 'copyReached' ? node.from : node.value, at);
        this.#use(node.sizeBytes, at);
        return;
      case 'spend':
        this.#use(node.instructions, at);
        return;
      default:
        this.#control(node, at, top);
    }
  }

  #control(node: Node, at: number, top: boolean): void {
    switch (node.kind) {
      case 'raise':
        if (node.errorCode) this.#use(node.errorCode, at);
        return;
      case 'jump':
        this.#use(node.target, at);
        this.#jumps = true;
        return;
      case 'branch':
        this.#branches = true;
        return;
      case 'repeat':
        this.#repeats = true;
        return;
      case 'exit':
        this.#leaves ||= top;
        return;
      case 'helper':
        this.#calls = true;
        for (const arg of node.args) this.#use(arg, at);
        this.#change(at, top);
    }
  }

  #setSlot(node: Extract<Node, { kind: 'setSlot' }>, at: number, top: boolean): void {
    if (isFlag(node.slot)) {
      if (top) this.#flagsSet.add(node.slot);
      if (top && node.fromSource) return;
      this.#use(node.value, at);
      return;
    }
    this.#use(node.value, at);
    this.#change(at, top);
  }

  #when(node: Extract<Node, { kind: 'when' }>, at: number): void {
    this.#use(node.condition, at);
    const inner = [...node.then.nodes, ...node.otherwise.nodes];
    const readBefore = this.#flagsRead;
    this.#flagsRead = false;
    for (const each of inner) this.#effect(each, at, false);
    const set = new Set(inner.flatMap((each) => (each.kind === 'setSlot' && isFlag(each.slot) ? [each.slot] : [])));
    if (set.size > 0 || inner.some((each) => this.#flagWriters.has(each)))
      this.#flagWriters.set(node, set.size === 3 && !this.#flagsRead && node.otherwise.nodes.length === 0);
    this.#flagsRead ||= readBefore;
  }

  #change(at: number, top: boolean): void {
    if (at >= this.#firstChange) return;
    this.#firstChange = at;
    this.#changeIsBlock = !top;
  }
}

function stateUses(nodes: readonly Node[], certain = true): StateUse[] {
  return nodes.flatMap((node): StateUse[] => {
    switch (node.kind) {
      case 'getRegister':
      case 'setRegister': {
        const write = node.kind === 'setRegister';
        return [{ field: node.field, offset: node.extra, bytes: node.bytes, write, certain }];
      }
      case 'getFixed':
      case 'setFixed': {
        const write = node.kind === 'setFixed';
        return [{ field: undefined, offset: node.offset, bytes: node.bytes, write, certain }];
      }
      case 'getSlot':
      case 'setSlot': {
        const { offset, type } = node.slot;
        const write = node.kind === 'setSlot';
        return [{ field: undefined, offset, bytes: slotBytes(type), write, certain }];
      }
      case 'when':
        return stateUses([...node.then.nodes, ...node.otherwise.nodes], false);
      default:
        return [];
    }
  });
}

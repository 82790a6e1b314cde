import type { LastPageSlots, SegmentBound, Slot, SlotType } from '../cpu/state.ts';
import type { AccessBytes, Block, Node, Program, UpdateHandle, Value, ValueType, Variable } from '../ir/types.ts';
import { TLB_INDEX_MASK, TLB_WRITE_OFFSET } from '../memory/layout.ts';
import type { Asm } from './asm.ts';
import { hasSeveralUpdates, signedLoadsOf } from './program-facts.ts';
import { Op } from './wasm.ts';

/** memory.copy and memory.fill of memory 0. */
const MEMORY_COPY = [0xfc, 0x0a, 0, 0];
const MEMORY_FILL = [0xfc, 0x0b, 0];
const LOADS: Record<AccessBytes, readonly number[]> = {
  1: [Op.i32Load8U],
  2: [Op.i32Load16U],
  4: [Op.i32Load],
  8: [Op.i64Load],
  16: [0xfd, 0x00],
};
/** The same with the sign of an 8- or 16-bit value. */
const SIGNED_LOADS: Partial<Record<AccessBytes, readonly number[]>> = { 1: [Op.i32Load8S], 2: [Op.i32Load16S] };
const STORES: Record<AccessBytes, readonly number[]> = {
  1: [Op.i32Store8],
  2: [Op.i32Store16],
  4: [Op.i32Store],
  8: [Op.i64Store],
  16: [0xfd, 0x0b],
};
/** Narrow stores of an i64 value. */
const STORES64: Partial<Record<AccessBytes, number>> = { 1: 0x3c, 2: 0x3d, 4: 0x3e };
const SLOT_BYTES = { i32: 4, i64: 8, v128: 16 } as const;
export const slotBytes = (type: SlotType): AccessBytes => SLOT_BYTES[type];

/** Ways to end an instruction. */
export type EndKind = 'jump' | 'branch' | 'repeat' | 'fault' | 'instruction';
/** How an access shares its translation with others. */
export interface Sharing {
  /** It translates for those that come after it. */
  readonly isFirst: boolean;
  /** Where it lies in what is translated, and how much that is. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Local (i32) with the host address of all of it, or 0: it is not within a page. */
  readonly local: number;
}
/** The page in which an access of a loop was last. */
export interface LastPage extends LastPageSlots {
  /** The access follows a pointer of the round before: it is as likely in another page as in the same. */
  readonly isFollowed: boolean;
}
/** An access of guest memory. */
interface Access {
  readonly bytes: AccessBytes;
  readonly write: boolean;
  readonly sharing?: Sharing | undefined;
  readonly lastPage?: LastPage | undefined;
}
/** A guest access on the host: a local with an address, and a distance from it. */
interface HostPlace {
  readonly local: number;
  readonly offsetBytes: number;
}
type NodeOf<K extends Node['kind']> = Extract<Node, { kind: K }>;
export type StateNode = NodeOf<'getSlot' | 'getRegister' | 'getFixed'>;
export type StateChange = NodeOf<'setSlot' | 'setRegister' | 'setFixed'>;

/**
 * Turns one instruction's IR into WebAssembly: order of evaluation, locals of values, blocks. Where registers, memory and
 * the ways out are is left to what extends it.
 */
export abstract class ProgramEmitter {
  protected readonly asm: Asm;
  readonly #program: Program;
  /** By value id: its local, and how often it will still be asked for. */
  readonly #locals: (number | undefined)[] = [];
  readonly #remaining: number[] = [];
  /** Values that have had a local. */
  readonly #kept: Value[] = [];
  readonly #variables = new Map<Variable, number>();
  /** Of each handle: where it is on the host, or its linear address if it is translated again to store. */
  readonly #handles = new Map<UpdateHandle, HostPlace>();
  readonly #reopens: boolean;
  /** Values that are loaded with their sign, as nothing but an extension by it is made of them. */
  readonly #signedLoads: ReadonlySet<Value>;
  /** Blocks of the instruction that the code being written is in. */
  protected depth = 0;

  /** `commits`: there may be writes that need a commit, for which there is one place: with several updates each one translates again to store. */
  constructor(program: Program, asm: Asm, commits: boolean) {
    this.#program = program;
    this.asm = asm;
    this.#reopens = commits && hasSeveralUpdates(program);
    this.#signedLoads = signedLoadsOf(program);
  }

  /** A free local of a type; `release` gives it back. */
  protected abstract allocate(type: ValueType): number;
  protected abstract release(type: ValueType, local: number): void;
  /** How often a value is asked for; 0: never. */
  protected abstract usesOf(value: Value): number;
  /** Push what a record says of the instruction (i64). */
  protected abstract recordField(field: NodeOf<'recordField'>['field']): void;
  protected abstract segmentBase(): void;
  protected abstract segmentBound(bound: SegmentBound): void;
  /** Push a register or slot. */
  protected abstract pushState(node: StateNode): void;
  protected abstract changeState(node: StateChange): void;
  /** Local with the TLB bank. */
  protected abstract tlb(): number;
  /** Code at the start of a TLB miss, and what it calls. */
  protected abstract beforeMiss(): void;
  /** Code after one, when the call has succeeded. */
  protected afterMiss(): void {}
  protected abstract missFunction(write: boolean): number;
  /** The function that was called for a miss answered 0: the instruction ends, so many blocks further in than {@link depth}. */
  protected abstract missFailed(blocks: number): void;
  /** What an access shares with others. */
  protected sharing(_node: Node): Sharing | undefined {
    return undefined;
  }
  /** Where an access looks before it looks at the TLB. */
  protected lastPage(_node: Node): LastPage | undefined {
    return undefined;
  }
  /** Push a slot of {@link lastPage}. */
  protected pushSlot(_slot: Slot): void {}
  /** Set one to what `push` pushes. */
  protected setSlot(_slot: Slot, _push: () => unknown): void {}
  /** Push how many more instructions there could be: see the node. */
  protected abstract spare(): void;
  /** Take from the budget what `push` pushes. */
  protected abstract spend(push: () => void): void;
  /** A guest store to a host address is done. */
  protected abstract stored(host: number): void;
  protected abstract raise(node: NodeOf<'raise'>): void;
  /** The instruction ends: the target of a jump is on the stack, the number of an exit in `exit`. */
  protected abstract end(kind: EndKind, exit?: number): void;
  /** Call out; the result, if asked for, stays on the stack. */
  protected abstract helper(node: NodeOf<'helper'>, withResult: boolean): void;
  /** A node that only some emitters make something of. */
  protected flagSource(_node: NodeOf<'flagSource'>): void {}

  run(): void {
    for (const variable of this.#program.variables) this.#variables.set(variable, this.allocate(variable.type));
    this.block(this.#program.body);
    for (const [variable, local] of this.#variables) this.release(variable.type, local);
    for (const { local } of this.#handles.values()) this.release(this.#reopens ? 'i64' : 'i32', local);
    for (const value of this.#kept) if (this.#remaining[value.id] > 0) this.release(value.type, this.#local(value));
  }

  protected block(block: Block): void {
    for (const node of block.nodes) this.node(node);
  }

  #local(value: Value): number {
    return this.#locals[value.id] as number;
  }

  /** Push a value: from its local, or by emitting the single-use pure node it stands for. */
  protected push(value: Value): void {
    const local = this.#locals[value.id];
    if (local === undefined) {
      this.compute(value.node);
      return;
    }
    this.asm.get(local);
    if (--this.#remaining[value.id] === 0) this.release(value.type, local);
  }

  /** Push the result of a node that has no effects. */
  protected compute(node: Node): void {
    const a = this.asm;
    switch (node.kind) {
      case 'const':
        if (typeof node.value === 'bigint') a.i64(node.value);
        else a.i32(node.value);
        return;
      case 'constVector':
        a.op(0xfd, 0x0c).out.bytes(node.bytes);
        return;
      case 'pure':
        for (const arg of node.args) this.push(arg);
        if (this.#signedLoads.has(node.args[0])) return;
        a.op(...node.op.wasm);
        a.out.bytes(node.immediates);
        return;
      case 'recordField':
        this.recordField(node.field);
        return;
      case 'segmentBase':
        this.segmentBase();
        return;
      case 'segmentBound':
        this.segmentBound(node.bound);
        return;
      case 'getSlot':
      case 'getRegister':
      case 'getFixed':
        this.pushState(node);
        return;
      case 'spare':
        this.spare();
        return;
      default:
        throw new Error(`${node.kind} has no value to push`);
    }
  }

  /** Pop the value on the stack into a local of its own. */
  protected keep(value: Value): void {
    const uses = this.usesOf(value);
    if (uses === 0) {
      this.asm.op(Op.drop);
      return;
    }
    const local = this.allocate(value.type);
    this.#locals[value.id] = local;
    this.#remaining[value.id] = uses;
    this.#kept.push(value);
    this.asm.set(local);
  }

  protected node(node: Node): void {
    switch (node.kind) {
      case 'const':
      case 'constVector':
      case 'recordField':
        return;
      case 'segmentBase':
      case 'segmentBound':
      case 'pure':
        if (this.usesOf(node.result) > 1) this.#computeAndKeep(node);
        return;
      case 'getSlot':
      case 'getRegister':
      case 'getFixed':
      case 'spare':
        if (this.usesOf(node.result) > 0) this.#computeAndKeep(node);
        return;
      case 'setSlot':
      case 'setRegister':
      case 'setFixed':
        this.changeState(node);
        return;
      case 'flagSource':
        this.flagSource(node);
        return;
      case 'getVariable':
        this.asm.get(this.#variables.get(node.variable) as number);
        this.keep(node.result);
        return;
      case 'setVariable':
        this.push(node.value);
        this.asm.set(this.#variables.get(node.variable) as number);
        return;
      case 'when':
        this.when(node);
        return;
      case 'load':
      case 'loadForUpdate':
      case 'store':
      case 'storeUpdate':
        this.#memory(node);
        return;
      case 'reach':
      case 'loadReached':
      case 'storeReached':
      case 'copyReached':
      case 'fillReached':
        this.#reached(node);
        return;
      case 'spend':
        this.spend(() => this.push(node.instructions));
        return;
      default:
        this.#control(node);
    }
  }

  #computeAndKeep(node: Node & { result: Value }): void {
    this.compute(node);
    this.keep(node.result);
  }

  protected when(node: NodeOf<'when'>): void {
    this.push(node.condition);
    this.asm.if();
    this.depth++;
    this.block(node.then);
    if (node.otherwise.nodes.length > 0) {
      this.asm.else();
      this.block(node.otherwise);
    }
    this.depth--;
    this.asm.end();
  }

  protected load(bytes: AccessBytes, offset: number, signed = false): void {
    const [first, ...rest] = (signed && SIGNED_LOADS[bytes]) || LOADS[bytes];
    this.asm
      .op(first, ...rest)
      .op(0)
      .out.u32(offset);
  }
  protected store(bytes: AccessBytes, type: ValueType, offset: number): void {
    const opcodes = type === 'i64' && bytes < 8 ? [STORES64[bytes] as number] : STORES[bytes];
    this.asm
      .op(...opcodes)
      .op(0)
      .out.u32(offset);
  }
  /** Set a slot of the state block at `base` in memory. */
  protected storeSlot(base: number, slot: Slot, push: () => unknown): void {
    this.asm.i32(0);
    push();
    this.store(slotBytes(slot.type), slot.type, base + slot.offset);
  }

  /**
   * Where a guest access is on the host: TLB hit inline (`gva ^ tag` is the offset in the page, `gva` plus the entry's distance
   * the host address), else a call; a fault ends the instruction.
   */
  #host(pushAddress: () => unknown, access: Access): HostPlace {
    const local = this.allocate('i32');
    const { sharing } = access;
    if (sharing && !sharing.isFirst) this.#hostFromShared(local, pushAddress, access, sharing);
    else this.#translate(local, pushAddress, access);
    return { local, offsetBytes: sharing?.offsetBytes ?? 0 };
  }
  #accessOf(node: NodeOf<'load' | 'loadForUpdate' | 'store'>): Access {
    const write = node.kind !== 'load';
    return { bytes: node.bytes, write, sharing: this.sharing(node), lastPage: this.lastPage(node) };
  }

  /** Into `host` what an access is `sharing.offsetBytes` from. */
  #translate(host: number, pushAddress: () => unknown, access: Access): void {
    const a = this.asm;
    const { sharing, lastPage } = access;
    const gva = this.allocate('i64');
    const offsetBytes = sharing?.offsetBytes ?? 0;
    const start = offsetBytes > 0 ? this.allocate('i64') : gva;
    pushAddress();
    a.tee(gva);
    // Where that goes below 0 it is not within a page either.
    if (offsetBytes > 0) a.i64(offsetBytes).op(Op.i64Sub).tee(start);
    if (lastPage) this.#lookAtLastPage(host, { gva, start }, access, lastPage);
    else this.#lookAtTlb(host, { gva, start }, access);
    a.set(host);
    this.release('i64', gva);
    if (start !== gva) this.release('i64', start);
  }

  /**
   * Pop `start`; push where that is on the host. The address is not what decides from where in memory that comes, as it is with the
   * TLB: the processor need not wait for it.
   */
  #lookAtLastPage(host: number, address: { gva: number; start: number }, access: Access, lastPage: LastPage): void {
    const a = this.asm;
    this.pushSlot(lastPage.gva);
    a.op(Op.i64Sub);
    this.pushSlot(lastPage.end);
    a.op(Op.i64GeU);
    if (lastPage.isFollowed) a.if('i32');
    else a.unlikelyIf('i32');
    a.get(address.start);
    this.#lookAtTlb(host, address, access);
    a.else().get(address.start).op(Op.i32WrapI64);
    this.pushSlot(lastPage.distance);
    a.op(Op.i32Add);
    if (access.sharing) a.tee(access.sharing.local);
    a.end();
  }

  /** Pop `start`; push where that is on the host. */
  #lookAtTlb(host: number, { gva, start }: { gva: number; start: number }, access: Access): void {
    const a = this.asm;
    const { sharing, lastPage } = access;
    const half = access.write ? TLB_WRITE_OFFSET : 0;
    const sizeBytes = sharing?.sizeBytes ?? access.bytes;
    a.i64(8).op(Op.i64ShrU, Op.i32WrapI64).i32(TLB_INDEX_MASK).op(Op.i32And).get(this.tlb()).op(Op.i32Add);
    a.tee(host).mem(Op.i64Load, half).get(start).op(Op.i64Xor);
    a.i64(4096 - sizeBytes)
      .op(Op.i64GtU)
      .unlikelyIf('i32');
    this.#miss(host, () => a.get(gva), access);
    if (sharing) this.#shareAfterMiss(host, gva, sharing);
    a.get(host).else();
    const pushDistance = () => a.get(host).mem(Op.i32Load, half + 8);
    if (lastPage) {
      this.setSlot(lastPage.gva, () => a.get(host).mem(Op.i64Load, half));
      this.setSlot(lastPage.distance, pushDistance);
      this.setSlot(lastPage.end, () => a.i64(4096 - sizeBytes + 1));
    }
    a.get(start).op(Op.i32WrapI64);
    pushDistance().op(Op.i32Add);
    if (sharing) a.tee(sharing.local);
    a.end();
  }

  /** Call for an access; into `host` where it is. */
  #miss(host: number, pushAddress: () => unknown, { bytes, write, lastPage }: Access): void {
    const a = this.asm;
    this.beforeMiss();
    pushAddress();
    a.i32(bytes).call(this.missFunction(write)).tee(host).op(Op.i32Eqz).unlikelyIf();
    this.missFailed(lastPage ? 3 : 2);
    a.end();
    this.afterMiss();
    // Of a sum V8 knows that nothing is above its 32 bits, of an answer it does not, and clears that before each access.
    a.get(host).get(this.tlb()).op(Op.i32Sub).get(this.tlb()).op(Op.i32Add).set(host);
  }

  /** All that shares the translation lies in the page, or nothing is to be had for the others: the address and all bits, or none. */
  #shareAfterMiss(host: number, gva: number, { offsetBytes, sizeBytes, local }: Sharing): void {
    const a = this.asm;
    a.get(host).i32(offsetBytes).op(Op.i32Sub).tee(host);
    a.i32(0).get(gva).op(Op.i32WrapI64).i32(4095).op(Op.i32And).i32(offsetBytes).op(Op.i32Sub);
    a.i32(4096 - sizeBytes)
      .op(Op.i32LeU, Op.i32Sub, Op.i32And)
      .set(local);
  }

  #hostFromShared(host: number, pushAddress: () => unknown, access: Access, { local, offsetBytes }: Sharing): void {
    const a = this.asm;
    a.get(local).tee(host).op(Op.i32Eqz).unlikelyIf();
    this.#miss(host, pushAddress, access);
    a.get(host).i32(offsetBytes).op(Op.i32Sub).set(host);
    a.end();
  }

  #memory(node: NodeOf<'load' | 'loadForUpdate' | 'store' | 'storeUpdate'>): void {
    switch (node.kind) {
      case 'load': {
        const host = this.#host(() => this.push(node.address), this.#accessOf(node));
        this.#loadAt(host, node.bytes, this.#signedLoads.has(node.result));
        this.release('i32', host.local);
        this.keep(node.result);
        return;
      }
      case 'loadForUpdate': {
        const host = this.#openForUpdate(node);
        this.#loadAt(host, node.bytes);
        if (this.#reopens) this.release('i32', host.local);
        this.keep(node.result);
        return;
      }
      case 'store': {
        const host = this.#host(() => this.push(node.address), this.#accessOf(node));
        this.#storeAt(host, node.bytes, node.value);
        this.release('i32', host.local);
        return;
      }
      case 'storeUpdate':
        this.#storeUpdate(node);
    }
  }
  #loadAt({ local, offsetBytes }: HostPlace, bytes: AccessBytes, signed = false): void {
    this.asm.get(local);
    this.load(bytes, offsetBytes, signed);
  }

  #reached(node: NodeOf<'reach' | 'loadReached' | 'storeReached' | 'copyReached' | 'fillReached'>): void {
    switch (node.kind) {
      case 'reach':
        this.#reach(node);
        return;
      case 'loadReached':
        this.push(node.host);
        this.load(node.bytes, node.offset);
        this.keep(node.result);
        return;
      case 'storeReached':
        this.push(node.host);
        this.push(node.value);
        this.store(node.bytes, node.value.type, node.offset);
        return;
      case 'copyReached':
        for (const each of [node.to, node.from, node.sizeBytes]) this.push(each);
        this.asm.op(...MEMORY_COPY);
        return;
      case 'fillReached':
        for (const each of [node.to, node.value, node.sizeBytes]) this.push(each);
        this.asm.op(...MEMORY_FILL);
    }
  }

  /** As {@link #host}, but a miss answers 0. */
  #reach({ bank, address, bytes, write, result }: NodeOf<'reach'>): void {
    const a = this.asm;
    const gva = this.allocate('i64');
    const entry = this.allocate('i32');
    const half = write ? TLB_WRITE_OFFSET : 0;
    this.push(address);
    a.tee(gva).i64(8).op(Op.i64ShrU, Op.i32WrapI64).i32(TLB_INDEX_MASK).op(Op.i32And);
    this.push(bank);
    a.op(Op.i32Add).tee(entry).mem(Op.i64Load, half).get(gva).op(Op.i64Xor);
    a.i64(4096 - bytes)
      .op(Op.i64GtU)
      .if('i32')
      .i32(0)
      .else();
    a.get(gva)
      .op(Op.i32WrapI64)
      .get(entry)
      .mem(Op.i32Load, half + 8)
      .op(Op.i32Add)
      .end();
    this.release('i64', gva);
    this.release('i32', entry);
    this.keep(result);
  }

  #openForUpdate(node: NodeOf<'loadForUpdate'>): HostPlace {
    if (!this.#reopens) {
      const host = this.#host(() => this.push(node.address), this.#accessOf(node));
      this.#handles.set(node.handle, host);
      return host;
    }
    const address = this.allocate('i64');
    this.#handles.set(node.handle, { local: address, offsetBytes: 0 });
    this.push(node.address);
    this.asm.set(address);
    return this.#host(() => this.asm.get(address), { bytes: node.bytes, write: true });
  }

  #storeUpdate(node: NodeOf<'storeUpdate'>): void {
    const place = this.#handles.get(node.handle) as HostPlace;
    if (!this.#reopens) {
      this.#storeAt(place, node.bytes, node.value);
      return;
    }
    const host = this.#host(() => this.asm.get(place.local), { bytes: node.bytes, write: true });
    this.#storeAt(host, node.bytes, node.value);
    this.release('i32', host.local);
  }

  #storeAt({ local, offsetBytes }: HostPlace, bytes: AccessBytes, value: Value): void {
    this.asm.get(local);
    this.push(value);
    this.store(bytes, value.type, offsetBytes);
    this.stored(local);
  }

  #control(node: NodeOf<'raise' | 'jump' | 'branch' | 'repeat' | 'exit' | 'helper'>): void {
    switch (node.kind) {
      case 'raise':
        this.raise(node);
        return;
      case 'jump':
        this.push(node.target);
        this.end('jump');
        return;
      case 'exit':
        this.end('instruction', node.exit);
        return;
      case 'helper': {
        const withResult = node.result !== undefined && this.usesOf(node.result) > 0;
        this.helper(node, withResult);
        if (withResult) this.keep(node.result as Value);
        return;
      }
      default:
        this.end(node.kind);
    }
  }
}

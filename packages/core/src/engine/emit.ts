import {
  ARG,
  EXIT_DETAIL,
  FAULT_ADDRESS,
  FAULT_ERROR_CODE,
  FAULT_VECTOR,
  FC,
  FS,
  FZ,
  RESULT,
  SEGMENT_BASE,
  SEGMENT_BOUNDS,
  type Slot,
} from '../cpu/state.ts';
import type {
  AccessBytes,
  Block,
  Node,
  Program,
  RecordValue,
  UpdateHandle,
  Value,
  ValueType,
  Variable,
} from '../ir/types.ts';
import { RECORD_BYTES, SCRATCH_LIMIT, TLB_WRITE_OFFSET } from '../memory/layout.ts';
import type { Asm } from './asm.ts';
import type { MemoryFunctions } from './memory-code.ts';
import { RecordField } from './record.ts';
import { Op } from './wasm.ts';

/** No #PF address, no error code: what a `raise` without one leaves in FAULT_ERROR_CODE. */
export const NO_ERROR_CODE = -1;

/** Where the code of a handler goes, and what is around it. */
export interface EmitTarget {
  readonly asm: Asm;
  /** Host address of the vCPU's state block. */
  readonly base: number;
  readonly functions: MemoryFunctions & { readonly helper: number };
  /** Locals that hold the record's address and the TLB bank. */
  readonly record: number;
  readonly tlb: number;
  /** A free local of a type; `release` gives it back. */
  allocate(type: ValueType): number;
  release(type: ValueType, local: number): void;
  /** Code for the ways to end, given how many blocks deep we are inside the handler. */
  end(kind: 'jump' | 'branch' | 'repeat' | 'fault' | 'instruction', depth: number): void;
  /** Number of a TypeScript helper. */
  helperNumber(name: string): number;
}

const LOADS: Record<AccessBytes, readonly number[]> = {
  1: [Op.i32Load8U],
  2: [Op.i32Load16U],
  4: [Op.i32Load],
  8: [Op.i64Load],
  16: [0xfd, 0x00],
};
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

/** Emit one instruction's IR into a handler. Falls through at the end if the instruction goes on to the next. */
export function emitProgram(program: Program, target: EmitTarget): void {
  new Emitter(program, target, { recordOffset: 0, flags: new Map() }).run();
}

/**
 * Emit two instructions that follow each other into one handler. The flags that the first one sets are handed
 * to the second in locals; they are stored all the same.
 */
export function emitPair(first: Program, second: Program, target: EmitTarget): void {
  const flags = new Map<Slot, number>();
  new Emitter(first, target, { recordOffset: 0, flags, keepFlags: true }).run();
  new Emitter(second, target, { recordOffset: RECORD_BYTES, flags }).run();
  for (const [slot, local] of flags) target.release(slot.type, local);
}

/** Where an emitter stands in a handler of several instructions. */
interface Place {
  /** Offset of the instruction's record from the record that the handler was entered with. */
  readonly recordOffset: number;
  /** Locals that hold arithmetic-flag slots as the instruction before left them. */
  readonly flags: Map<Slot, number>;
  /** Fill `flags` for the next instruction. */
  readonly keepFlags?: boolean;
}

class Emitter {
  readonly #program: Program;
  readonly #target: EmitTarget;
  readonly #asm: Asm;
  readonly #locals = new Map<Value, number>();
  readonly #remaining = new Map<Value, number>();
  readonly #variables = new Map<Variable, number>();
  /** Local of each handle: its host address, or its linear address if {@link #reopens}. */
  readonly #handles = new Map<UpdateHandle, number>();
  /** There is one place for a write that needs a commit: with several updates each one translates again to store. */
  readonly #reopens: boolean;
  readonly #place: Place;
  #depth = 0;

  constructor(program: Program, target: EmitTarget, place: Place) {
    this.#program = program;
    this.#target = target;
    this.#asm = target.asm;
    this.#place = place;
    this.#reopens = countUpdates(program.body) > 1;
  }

  run(): void {
    for (const variable of this.#program.variables) this.#variables.set(variable, this.#target.allocate(variable.type));
    this.#block(this.#program.body);
    for (const [variable, local] of this.#variables) this.#target.release(variable.type, local);
    for (const local of this.#handles.values()) this.#target.release(this.#reopens ? 'i64' : 'i32', local);
  }

  #block(block: Block): void {
    for (const node of block.nodes) this.#node(node);
  }

  /** Push a value: from its local, or by emitting the single-use pure node it stands for. */
  #push(value: Value): void {
    const local = this.#locals.get(value);
    if (local !== undefined) {
      this.#asm.get(local);
      const left = (this.#remaining.get(value) as number) - 1;
      this.#remaining.set(value, left);
      if (left === 0) this.#target.release(value.type, local);
      return;
    }
    this.#compute(value.node);
  }

  /** Push the result of a node that has no effects. */
  #compute(node: Node): void {
    const a = this.#asm;
    switch (node.kind) {
      case 'const':
        if (typeof node.value === 'bigint') a.i64(node.value);
        else a.i32(node.value);
        return;
      case 'constVector':
        a.op(0xfd, 0x0c).out.bytes(node.bytes);
        return;
      case 'pure':
        for (const arg of node.args) this.#push(arg);
        a.op(...node.op.wasm);
        a.out.bytes(node.immediates);
        return;
      case 'recordField':
        this.#recordField(node.field);
        return;
      case 'segmentBase':
        this.#field(Op.i32Load8U, 'segment').i32(3).op(Op.i32Shl);
        a.mem(Op.i64Load, this.#target.base + SEGMENT_BASE[0].offset);
        return;
      case 'segmentBound':
        this.#field(Op.i32Load8U, 'segment').i32(3).op(Op.i32Shl);
        a.mem(Op.i64Load, this.#target.base + SEGMENT_BOUNDS[node.bound][0].offset);
        return;
      default:
        throw new Error(`${node.kind} has no value to push`);
    }
  }

  #recordField(field: RecordValue): void {
    switch (field) {
      case 'imm':
        this.#field(Op.i64Load, 'imm');
        return;
      case 'disp':
        this.#field(Op.i64Load, 'disp');
        return;
      case 'scale':
      case 'segment':
        this.#field(Op.i64Load8U, field);
        return;
      case 'reg':
      case 'rm':
        this.#field(Op.i32Load16U, field).op(Op.i64ExtendI32U);
        return;
      case 'thisOffset':
        this.#field(Op.i32Load16U, 'pageOffset').op(Op.i64ExtendI32U);
        return;
      case 'nextOffset':
        this.#field(Op.i32Load16U, 'pageOffset');
        this.#field(Op.i32Load8U, 'length').op(Op.i32Add, Op.i64ExtendI32U);
    }
  }

  /** Push a field of this instruction's record. */
  #field(opcode: number, field: keyof typeof RecordField): Asm {
    return this.#asm.get(this.#target.record).mem(opcode, this.#place.recordOffset + RecordField[field]);
  }

  /** End the instruction, `inside` blocks deep in it; the record local then names this instruction's record. */
  #end(kind: Parameters<EmitTarget['end']>[0], inside = 0): void {
    const { record } = this.#target;
    if (this.#place.recordOffset > 0) this.#asm.get(record).i32(this.#place.recordOffset).op(Op.i32Add).set(record);
    this.#target.end(kind, this.#depth + inside);
  }

  /** Pop the value on the stack into a local of its own. */
  #keep(value: Value): void {
    if (value.uses === 0) {
      this.#asm.op(Op.drop);
      return;
    }
    const local = this.#target.allocate(value.type);
    this.#locals.set(value, local);
    this.#remaining.set(value, value.uses);
    this.#asm.set(local);
  }

  #node(node: Node): void {
    switch (node.kind) {
      case 'const':
      case 'constVector':
      case 'recordField':
        return;
      case 'segmentBase':
      case 'segmentBound':
      case 'pure':
        if (node.result.uses > 1) {
          this.#compute(node);
          this.#keep(node.result);
        }
        return;
      case 'getVariable':
        this.#asm.get(this.#variables.get(node.variable) as number);
        this.#keep(node.result);
        return;
      case 'setVariable':
        this.#push(node.value);
        this.#asm.set(this.#variables.get(node.variable) as number);
        return;
      case 'when':
        this.#when(node);
        return;
      case 'load':
      case 'loadForUpdate':
      case 'store':
      case 'storeUpdate':
        this.#memory(node);
        return;
      case 'raise':
      case 'jump':
      case 'branch':
      case 'repeat':
      case 'exit':
      case 'helper':
        this.#control(node);
        return;
      default:
        this.#state(node);
    }
  }

  #when(node: Extract<Node, { kind: 'when' }>): void {
    this.#push(node.condition);
    this.#asm.if();
    this.#depth++;
    this.#block(node.then);
    if (node.otherwise.nodes.length > 0) {
      this.#asm.else();
      this.#block(node.otherwise);
    }
    this.#depth--;
    this.#asm.end();
  }

  #load(bytes: AccessBytes, offset: number): void {
    const [first, ...rest] = LOADS[bytes];
    this.#asm
      .op(first, ...rest)
      .op(0)
      .out.u32(offset);
  }
  #store(bytes: AccessBytes, type: ValueType, offset: number): void {
    const opcodes = type === 'i64' && bytes < 8 ? [STORES64[bytes] as number] : STORES[bytes];
    this.#asm
      .op(...opcodes)
      .op(0)
      .out.u32(offset);
  }

  #state(node: Node): void {
    const { base } = this.#target;
    const a = this.#asm;
    const fieldAddress = (field: 'reg' | 'rm' | 'base' | 'index') => this.#field(Op.i32Load16U, field);
    switch (node.kind) {
      case 'getSlot':
        if (node.result.uses === 0) return;
        this.#getSlot(node.slot);
        this.#keep(node.result);
        return;
      case 'setSlot':
        this.#setSlot(node.slot, () => this.#push(node.value));
        return;
      case 'getRegister':
        if (node.result.uses === 0) return;
        fieldAddress(node.field);
        this.#load(node.bytes, base + node.extra);
        this.#keep(node.result);
        return;
      case 'setRegister':
        fieldAddress(node.field);
        this.#push(node.value);
        this.#store(node.bytes, node.value.type, base + node.extra);
        return;
      case 'getFixed':
        if (node.result.uses === 0) return;
        a.i32(0);
        this.#load(node.bytes, base + node.offset);
        this.#keep(node.result);
        return;
      case 'setFixed':
        a.i32(0);
        this.#push(node.value);
        this.#store(node.bytes, node.value.type, base + node.offset);
        return;
      default:
        throw new Error(`cannot emit ${node.kind}`);
    }
  }

  #getSlot(slot: Slot): void {
    const { flags, keepFlags } = this.#place;
    const local = keepFlags ? undefined : flags.get(slot);
    if (local !== undefined) {
      this.#asm.get(local);
      return;
    }
    this.#asm.i32(0);
    this.#load(SLOT_BYTES[slot.type], this.#target.base + slot.offset);
  }

  #setSlot(slot: Slot, push: () => void): void {
    this.#asm.i32(0);
    push();
    this.#rememberFlag(slot);
    this.#store(SLOT_BYTES[slot.type], slot.type, this.#target.base + slot.offset);
  }

  /** The value of a flag slot is on the stack: keep it for the next instruction, or forget what was kept. */
  #rememberFlag(slot: Slot): void {
    const { flags, keepFlags } = this.#place;
    if (slot !== FZ && slot !== FS && slot !== FC) return;
    const known = flags.get(slot);
    if (keepFlags && this.#depth === 0) {
      const local = known ?? this.#target.allocate(slot.type);
      flags.set(slot, local);
      this.#asm.tee(local);
    } else if (known !== undefined) {
      flags.delete(slot);
      this.#target.release(slot.type, known);
    }
  }

  /**
   * Push the host address of a guest access: TLB hit inline (`gva ^ tag` is the offset in the page), else
   * the slow path; a fault ends the instruction.
   */
  #host(pushAddress: () => unknown, bytes: AccessBytes, write: boolean): number {
    const { tlb, functions } = this.#target;
    const a = this.#asm;
    const gva = this.#target.allocate('i64');
    const x = this.#target.allocate('i64');
    const host = this.#target.allocate('i32');
    const half = write ? TLB_WRITE_OFFSET : 0;
    pushAddress();
    a.tee(gva).i64(8).op(Op.i64ShrU, Op.i32WrapI64).i32(0x7ff0).op(Op.i32And).get(tlb).op(Op.i32Add).tee(host);
    a.mem(Op.i64Load, half)
      .get(gva)
      .op(Op.i64Xor)
      .tee(x)
      .i64(4096 - bytes)
      .op(Op.i64GtU)
      .if('i32');
    a.get(gva)
      .i32(bytes)
      .call(write ? functions.slowWrite : functions.slowRead)
      .tee(host)
      .op(Op.i32Eqz)
      .if();
    this.#end('fault', 2);
    a.end().get(host).else();
    a.get(x)
      .op(Op.i32WrapI64)
      .get(host)
      .mem(Op.i32Load, half + 8)
      .op(Op.i32Add)
      .end();
    a.set(host);
    this.#target.release('i64', gva);
    this.#target.release('i64', x);
    return host;
  }

  #memory(node: Node): void {
    const a = this.#asm;
    switch (node.kind) {
      case 'load': {
        const host = this.#host(() => this.#push(node.address), node.bytes, false);
        a.get(host);
        this.#load(node.bytes, 0);
        this.#target.release('i32', host);
        this.#keep(node.result);
        return;
      }
      case 'loadForUpdate': {
        const host = this.#openForUpdate(node);
        a.get(host);
        this.#load(node.bytes, 0);
        if (this.#reopens) this.#target.release('i32', host);
        this.#keep(node.result);
        return;
      }
      case 'store': {
        const host = this.#host(() => this.#push(node.address), node.bytes, true);
        this.#storeAt(host, node.bytes, node.value);
        this.#target.release('i32', host);
        return;
      }
      case 'storeUpdate':
        this.#storeUpdate(node);
    }
  }

  #openForUpdate(node: Extract<Node, { kind: 'loadForUpdate' }>): number {
    if (!this.#reopens) {
      const host = this.#host(() => this.#push(node.address), node.bytes, true);
      this.#handles.set(node.handle, host);
      return host;
    }
    const address = this.#target.allocate('i64');
    this.#handles.set(node.handle, address);
    this.#push(node.address);
    this.#asm.set(address);
    return this.#host(() => this.#asm.get(address), node.bytes, true);
  }

  #storeUpdate(node: Extract<Node, { kind: 'storeUpdate' }>): void {
    const local = this.#handles.get(node.handle) as number;
    if (!this.#reopens) {
      this.#storeAt(local, node.bytes, node.value);
      return;
    }
    const host = this.#host(() => this.#asm.get(local), node.bytes, true);
    this.#storeAt(host, node.bytes, node.value);
    this.#target.release('i32', host);
  }

  #storeAt(host: number, bytes: AccessBytes, value: Value): void {
    const a = this.#asm.get(host);
    this.#push(value);
    this.#store(bytes, value.type, 0);
    a.get(host).i32(SCRATCH_LIMIT).op(Op.i32LtU).if().call(this.#target.functions.commit).end();
  }

  #control(node: Node): void {
    const a = this.#asm;
    switch (node.kind) {
      case 'raise':
        this.#setSlot(FAULT_VECTOR, () => a.i32(node.vector));
        this.#setSlot(FAULT_ERROR_CODE, () => (node.errorCode ? this.#push(node.errorCode) : a.i32(NO_ERROR_CODE)));
        this.#setSlot(FAULT_ADDRESS, () => a.i64(0));
        this.#end('fault');
        return;
      case 'jump':
        // The target's linear address travels on the stack.
        this.#push(node.target);
        this.#end('jump');
        return;
      case 'exit':
        this.#setSlot(EXIT_DETAIL, () => a.i32(node.exit));
        this.#end('instruction');
        return;
      case 'branch':
      case 'repeat':
        this.#end(node.kind);
        return;
      case 'helper':
        this.#helper(node);
    }
  }

  #helper(node: Extract<Node, { kind: 'helper' }>): void {
    const a = this.#asm;
    node.args.forEach((arg, i) => this.#setSlot(ARG[i], () => this.#push(arg)));
    a.i32(this.#target.helperNumber(node.helper)).call(this.#target.functions.helper);
    // The helper answers whether a fault is pending in the fault slots.
    if (node.mayFault) {
      a.if();
      this.#end('fault', 1);
      a.end();
    } else a.op(Op.drop);
    if (node.result && node.result.uses > 0) {
      a.i32(0).mem(Op.i64Load, this.#target.base + RESULT[0].offset);
      this.#keep(node.result);
    }
  }
}

function countUpdates(block: Block): number {
  let count = 0;
  for (const node of block.nodes) {
    if (node.kind === 'loadForUpdate') count++;
    else if (node.kind === 'when') count += countUpdates(node.then) + countUpdates(node.otherwise);
  }
  return count;
}

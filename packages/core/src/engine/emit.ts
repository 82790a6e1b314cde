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
  type SegmentBound,
  type Slot,
  TLB,
} from '../cpu/state.ts';
import type { Node, Program, RecordValue, Value, ValueType } from '../ir/types.ts';
import { RECORD_BYTES, SCRATCH_LIMIT } from '../memory/layout.ts';
import type { Asm } from './asm.ts';
import type { MemoryFunctions } from './memory-code.ts';
import { type EndKind, ProgramEmitter, type StateChange, type StateNode, slotBytes } from './program-emitter.ts';
import { RecordField } from './record.ts';
import { Op } from './wasm.ts';

/** No #PF address, no error code: what a `raise` without one leaves in FAULT_ERROR_CODE. */
export const NO_ERROR_CODE = -1;

/** Where the code of a handler goes, and what is around it. */
export interface EmitTarget {
  readonly asm: Asm;
  /** Host address of the vCPU's state block. */
  readonly base: number;
  readonly functions: Pick<MemoryFunctions, 'slowRead' | 'slowWrite' | 'commit'> & { readonly helper: number };
  /** Locals that hold the record's address and the TLB bank. */
  readonly record: number;
  readonly tlb: number;
  /** A free local of a type; `release` gives it back. */
  allocate(type: ValueType): number;
  release(type: ValueType, local: number): void;
  /** Code for the ways to end, given how many blocks deep we are inside the handler. */
  end(kind: EndKind, depth: number): void;
  /** Push how much of the budget an instruction leaves that is `recordOffset` from the record; take from it. */
  spare(recordOffset: number): void;
  spend(push: () => void): void;
  /** Number of a TypeScript helper. */
  helperNumber(name: string): number;
  /**
   * Code before and after a call that may lead to TypeScript: bring BUDGET up to date, and take over what has become of it,
   * the record being `recordOffset` from the local.
   */
  beforeOutside(recordOffset: number): void;
  afterOutside(recordOffset: number): void;
}

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

/** Tier 0: registers and all else that differs between instructions of a shape come from the record. */
class Emitter extends ProgramEmitter {
  readonly #target: EmitTarget;
  readonly #place: Place;

  constructor(program: Program, target: EmitTarget, place: Place) {
    super(program, target.asm, true);
    this.#target = target;
    this.#place = place;
  }

  protected allocate(type: ValueType): number {
    return this.#target.allocate(type);
  }
  protected release(type: ValueType, local: number): void {
    this.#target.release(type, local);
  }
  protected usesOf(value: Value): number {
    return value.uses;
  }

  protected segmentBase(): void {
    this.#field(Op.i32Load8U, 'segment').i32(3).op(Op.i32Shl);
    this.asm.mem(Op.i64Load, this.#target.base + SEGMENT_BASE[0].offset);
  }
  protected segmentBound(bound: SegmentBound): void {
    this.#field(Op.i32Load8U, 'segment').i32(3).op(Op.i32Shl);
    this.asm.mem(Op.i64Load, this.#target.base + SEGMENT_BOUNDS[bound][0].offset);
  }

  protected recordField(field: RecordValue): void {
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
    return this.asm.get(this.#target.record).mem(opcode, this.#place.recordOffset + RecordField[field]);
  }

  protected end(kind: EndKind, exit?: number): void {
    if (exit !== undefined) this.#setSlot(EXIT_DETAIL, () => this.asm.i32(exit));
    this.#end(kind);
  }

  /** End the instruction, `inside` blocks deep in it; the record local then names this instruction's record. */
  #end(kind: EndKind, inside = 0): void {
    const { record } = this.#target;
    if (this.#place.recordOffset > 0) this.asm.get(record).i32(this.#place.recordOffset).op(Op.i32Add).set(record);
    this.#target.end(kind, this.depth + inside);
  }

  protected pushState(node: StateNode): void {
    const { base } = this.#target;
    switch (node.kind) {
      case 'getSlot':
        this.#getSlot(node.slot);
        return;
      case 'getRegister':
        this.#field(Op.i32Load16U, node.field);
        this.load(node.bytes, base + node.extra);
        return;
      case 'getFixed':
        this.asm.i32(0);
        this.load(node.bytes, base + node.offset);
    }
  }

  protected changeState(node: StateChange): void {
    const { base } = this.#target;
    switch (node.kind) {
      case 'setSlot':
        this.#setSlot(node.slot, () => this.push(node.value));
        return;
      case 'setRegister':
        this.#field(Op.i32Load16U, node.field);
        this.push(node.value);
        this.store(node.bytes, node.value.type, base + node.extra);
        return;
      case 'setFixed':
        this.asm.i32(0);
        this.push(node.value);
        this.store(node.bytes, node.value.type, base + node.offset);
    }
  }

  #getSlot(slot: Slot): void {
    const { flags, keepFlags } = this.#place;
    const local = keepFlags ? undefined : flags.get(slot);
    if (local !== undefined) {
      this.asm.get(local);
      return;
    }
    this.asm.i32(0);
    this.load(slotBytes(slot.type), this.#target.base + slot.offset);
  }

  #setSlot(slot: Slot, push: () => void): void {
    this.storeSlot(this.#target.base, slot, () => {
      push();
      this.#rememberFlag(slot);
      if (slot === TLB) this.asm.tee(this.#target.tlb);
    });
  }

  /** The value of a flag slot is on the stack: keep it for the next instruction, or forget what was kept. */
  #rememberFlag(slot: Slot): void {
    const { flags, keepFlags } = this.#place;
    if (slot !== FZ && slot !== FS && slot !== FC) return;
    const known = flags.get(slot);
    if (keepFlags && this.depth === 0) {
      const local = known ?? this.#target.allocate(slot.type);
      flags.set(slot, local);
      this.asm.tee(local);
    } else if (known !== undefined) {
      flags.delete(slot);
      this.#target.release(slot.type, known);
    }
  }

  protected spare(): void {
    this.#target.spare(this.#place.recordOffset);
  }
  protected spend(push: () => void): void {
    this.#target.spend(push);
  }
  protected tlb(): number {
    return this.#target.tlb;
  }
  protected beforeMiss(): void {
    this.#target.beforeOutside(this.#place.recordOffset);
  }
  protected override afterMiss(): void {
    this.#target.afterOutside(this.#place.recordOffset);
  }
  protected missFunction(write: boolean): number {
    const { slowRead, slowWrite } = this.#target.functions;
    return write ? slowWrite : slowRead;
  }
  protected missFailed(blocks: number): void {
    this.#end('fault', blocks);
  }

  protected stored(host: number): void {
    this.asm.get(host).i32(SCRATCH_LIMIT).op(Op.i32LtU).unlikelyIf();
    this.#target.beforeOutside(this.#place.recordOffset);
    this.asm.call(this.#target.functions.commit);
    this.#target.afterOutside(this.#place.recordOffset);
    this.asm.end();
  }

  protected raise(node: Extract<Node, { kind: 'raise' }>): void {
    const a = this.asm;
    this.#setSlot(FAULT_VECTOR, () => a.i32(node.vector));
    this.#setSlot(FAULT_ERROR_CODE, () => (node.errorCode ? this.push(node.errorCode) : a.i32(NO_ERROR_CODE)));
    this.#setSlot(FAULT_ADDRESS, () => a.i64(0));
    this.#end('fault');
  }

  protected helper(node: Extract<Node, { kind: 'helper' }>, withResult: boolean): void {
    const a = this.asm;
    node.args.forEach((arg, i) => this.#setSlot(ARG[i], () => this.push(arg)));
    this.#target.beforeOutside(this.#place.recordOffset);
    a.i32(this.#target.helperNumber(node.helper)).call(this.#target.functions.helper);
    this.#target.afterOutside(this.#place.recordOffset);
    // The helper answers whether a fault is pending in the fault slots.
    if (node.mayFault) {
      a.if();
      this.#end('fault', 1);
      a.end();
    } else a.op(Op.drop);
    a.load(this.#target.base, TLB).set(this.#target.tlb);
    if (withResult) a.load(this.#target.base, RESULT[0]);
  }
}

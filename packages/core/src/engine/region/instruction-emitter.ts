import {
  ARG,
  BUDGET,
  FAULT_ADDRESS,
  FAULT_ERROR_CODE,
  FAULT_VECTOR,
  FC,
  FS,
  FZ,
  GPR,
  PAGE_BASE,
  RESULT,
  SEGMENT_BASE,
  SEGMENT_BOUNDS,
  type SegmentBound,
  type Slot,
  TLB,
  XMM,
} from '../../cpu/state.ts';
import { integerOps } from '../../ir/ops.ts';
import type { AccessBytes, Node, PureOp, RecordValue, Value, ValueType } from '../../ir/types.ts';
import type { Asm } from '../asm.ts';
import { NO_ERROR_CODE } from '../emit.ts';
import { RESUME_VECTOR } from '../exit-code.ts';
import type { LocalPool } from '../local-pool.ts';
import {
  type EndKind,
  type LastPage,
  ProgramEmitter,
  type Sharing,
  type StateChange,
  type StateNode,
  slotBytes,
} from '../program-emitter.ts';
import { NO_SEGMENT } from '../record.ts';
import { Op } from '../wasm.ts';
import type { AddressField } from './address-fields.ts';
import { type FlagValue, registerValue } from './carried-flags.ts';
import { Constants } from './constants.ts';
import type { RegionFlags } from './flags.ts';
import type { RegionInstruction } from './graph.ts';
import type { RegisterSet } from './registers.ts';

const GPR_START = GPR[0].offset;
const GPR_END = GPR[15].offset + 8;
const XMM_START = XMM[0].offset;
const XMM_END = XMM[15].offset + 16;

const simd = (code: number) => [0xfd, ...(code < 0x80 ? [code] : [(code & 0x7f) | 0x80, code >> 7])];
/** Lanes of a vector by size: read (zero-extended) and replace. */
const EXTRACT: Partial<Record<AccessBytes, readonly number[]>> = {
  1: simd(0x16),
  2: simd(0x19),
  4: simd(0x1b),
  8: simd(0x1d),
};
const REPLACE: Partial<Record<AccessBytes, readonly number[]>> = {
  1: simd(0x17),
  2: simd(0x1a),
  4: simd(0x1c),
  8: simd(0x1e),
};

/** The function that an instruction becomes part of. */
export interface InstructionPlace {
  readonly asm: Asm;
  readonly pool: LocalPool;
  readonly flags: RegionFlags;
  /** Host address of the vCPU's state block. */
  readonly base: number;
  readonly local: { readonly tlb: number; readonly pageBase: number; readonly budget: number };
  readonly functions: { readonly regionRead: number; readonly regionWrite: number; readonly helper: number };
  /** Blocks of WebAssembly around the place where code is being written; the offset of the block that a branch there leads to. */
  readonly labels: (number | undefined)[];
  /** Local that holds a register. */
  gpr(register: number): number;
  xmm(register: number): number;
  /** All registers that are in use at an instruction, between their locals and the state block. */
  loadRegisters(instruction: RegionInstruction): void;
  storeRegisters(instruction: RegionInstruction): void;
  /** Push how far the code has moved since it was compiled, in bytes (i64). */
  pushSlide(): void;
  helperNumber(name: string): number;
  /** Instructions of its block that are not done before this one is. */
  notExecuted(instruction: RegionInstruction): number;
  /** How an access of an instruction shares its translation. */
  sharing(instruction: RegionInstruction, node: Node): Sharing | undefined;
  /** Where an access of an instruction looks first. */
  lastPage(instruction: RegionInstruction, node: Node): LastPage | undefined;
  /** The way an instruction ends other than by going on to the next. */
  end(kind: EndKind, instruction: RegionInstruction): void;
  /** Leave with an exception at an instruction, or to have tier 0 do it; `inside` more blocks deep than `labels` says. */
  leaveAt(instruction: RegionInstruction, inside: number): void;
}

/** One instruction of a region: general and vector registers are locals, all of the record is constant. */
export class InstructionEmitter extends ProgramEmitter {
  readonly #instruction: RegionInstruction;
  readonly #region: InstructionPlace;
  readonly #constants: Constants;
  /** The result that the flags tell of. */
  #flagResult: Extended | undefined;
  /** What explicit flags have ZF from. */
  #zeroFrom: Value | undefined;
  /** Registers that have been written already. */
  #written: RegisterSet = 0;

  constructor(instruction: RegionInstruction, region: InstructionPlace) {
    // Regions write to plain memory only.
    super(instruction.code.program, region.asm, false);
    this.#instruction = instruction;
    this.#region = region;
    this.#constants = new Constants(instruction);
  }

  protected allocate(type: ValueType): number {
    return this.#region.pool.allocate(type);
  }
  protected release(type: ValueType, local: number): void {
    this.#region.pool.release(type, local);
  }
  protected usesOf(value: Value): number {
    return this.#instruction.code.demand.uses[value.id];
  }

  protected override compute(node: Node): void {
    const result = 'result' in node ? (node.result as Value | undefined) : undefined;
    if (result && node.kind !== 'const' && node.kind !== 'constVector') {
      if (result.condition !== undefined) {
        this.#region.flags.pushCondition(result.condition);
        return;
      }
      const constant = this.#constants.of(result);
      if (constant !== undefined) {
        if (typeof constant === 'bigint') this.asm.i64(constant);
        else this.asm.i32(constant as number);
        return;
      }
      if (node.kind === 'pure' && this.#withoutNeutral(node.op, node.args)) return;
    }
    super.compute(node);
  }

  /** Push `x` for `x op 0` where 0 changes nothing. */
  #withoutNeutral(op: PureOp, args: readonly Value[]): boolean {
    if (args.length !== 2) return false;
    const zero = zeroOf(op);
    if (zero === 'counts') return false;
    const isZero = (value: Value) => {
      const constant = this.#constants.of(value);
      return constant === 0n || constant === 0;
    };
    if (isZero(args[1])) this.push(args[0]);
    else if (zero === 'neutral' && isZero(args[0])) this.push(args[1]);
    else return false;
    return true;
  }

  protected override node(node: Node): void {
    const { demand } = this.#instruction.code;
    switch (node.kind) {
      case 'pure':
        if (node.result.condition !== undefined) {
          if (demand.uses[node.result.id] === 0) return;
          this.compute(node);
          this.keep(node.result);
          return;
        }
        if (this.usesOf(node.result) > 1 && this.#constants.of(node.result) !== undefined) return;
        break;
      case 'segmentBase':
        if (this.#instruction.segment === NO_SEGMENT) return;
        break;
      case 'getSlot':
      case 'getRegister':
      case 'getFixed':
        if (!demand.snapshot[node.result.id]) return;
        break;
      case 'setSlot':
        if (this.depth === 0 && node.fromSource) return;
    }
    super.node(node);
  }

  protected override flagSource({ source }: Extract<Node, { kind: 'flagSource' }>): void {
    if (this.depth > 0) return;
    const operand = (value: Value | undefined) => () => {
      if (!value) return;
      this.push(value);
      if (value.type === 'i32') this.asm.op(Op.i64ExtendI32U);
    };
    this.#region.flags.setFrom(
      source,
      { a: operand(source.a), b: operand(source.b), extended: () => this.push(source.extended) },
      { a: this.#flagValue(source.a), b: this.#flagValue(source.b), result: this.#tested(source.extended) },
    );
    this.#flagResult = signExtended(source.extended);
  }
  /** The register that TEST, AND or OR of it with itself tells of. */
  #tested(result: Value): FlagValue | undefined {
    const { node } = signExtended(result).value;
    if (node.kind !== 'pure' || !MASKS.has(node.op)) return undefined;
    const [left, right] = node.args.map((arg) => this.#flagValue(arg));
    return left === right ? left : undefined;
  }
  /** Where an operand can be had again. */
  #flagValue(value: Value | undefined): FlagValue | undefined {
    if (!value) return undefined;
    const { node } = value;
    if (node.kind === 'getRegister' || node.kind === 'getFixed') {
      const offset = node.kind === 'getFixed' ? node.offset : Number(this.#instruction[node.field]) + node.extra;
      if (offset < GPR_START || offset >= GPR_END) return undefined;
      const register = (offset - GPR_START) >> 3;
      return this.#written & (1 << register) ? undefined : registerValue(register, (offset & 7) * 8, node.bytes);
    }
    const constant = this.#constants.of(value);
    if (constant === undefined) return undefined;
    return this.#region.flags.constant(BigInt.asUintN(value.type === 'i32' ? 32 : 64, BigInt(constant as number)));
  }

  protected override when(node: Extract<Node, { kind: 'when' }>): void {
    const { flags, labels } = this.#region;
    const writesFlags = this.#instruction.code.demand.flagWriters.get(node);
    const constant = this.#constants.of(node.condition);
    if (constant !== undefined) {
      if (writesFlags === true && constant) flags.replaceAll();
      else if (writesFlags !== undefined) flags.makeExplicit();
      // Flags in here are set one by one.
      this.depth++;
      this.block(constant ? node.then : node.otherwise);
      this.depth--;
      return;
    }
    if (writesFlags !== undefined) flags.makeExplicit();
    labels.push(undefined);
    super.when(node);
    labels.pop();
    // Whether they tell of it depends.
    if (writesFlags !== undefined) this.#flagResult = undefined;
  }

  // ---- registers and slots ----
  protected recordField(field: RecordValue): void {
    const address = this.#address(field);
    this.asm.i64(BigInt(this.#instruction[field]));
    if (!address) return;
    this.#region.pushSlide();
    this.asm.op(address.direction > 0 ? Op.i64Add : Op.i64Sub);
  }
  #address(field: RecordValue): AddressField | undefined {
    return this.#instruction.addresses.find((address) => address.field === field);
  }
  protected segmentBase(): void {
    this.asm.load(this.#region.base, SEGMENT_BASE[this.#instruction.segment]);
  }
  protected segmentBound(bound: SegmentBound): void {
    this.asm.load(this.#region.base, SEGMENT_BOUNDS[bound][this.#instruction.segment]);
  }

  protected pushState(node: StateNode): void {
    switch (node.kind) {
      case 'getSlot':
        if (isFlag(node.slot)) this.#region.flags.pushSlot(node.slot);
        else this.#get(node.slot.offset, slotBytes(node.slot.type));
        return;
      case 'getRegister':
        this.#get(Number(this.#instruction[node.field]) + node.extra, node.bytes);
        return;
      case 'getFixed':
        this.#get(node.offset, node.bytes);
    }
  }

  #get(offset: number, bytes: AccessBytes): void {
    const a = this.asm;
    if (offset >= GPR_START && offset < GPR_END) this.#getGeneral((offset - GPR_START) >> 3, offset & 7, bytes);
    else if (offset >= XMM_START && offset < XMM_END) {
      const within = (offset - XMM_START) & 15;
      a.get(this.#region.xmm((offset - XMM_START) >> 4));
      if (bytes < 16) a.op(...(EXTRACT[bytes] as number[])).out.byte(within / bytes);
    } else if (offset === PAGE_BASE.offset && bytes === 8) {
      a.get(this.#region.local.pageBase);
      const { pageOffset } = this.#instruction;
      if (pageOffset !== 0) a.i64(pageOffset).op(Op.i64Add);
    } else {
      a.i32(0);
      this.load(bytes, this.#region.base + offset);
    }
  }
  #getGeneral(register: number, within: number, bytes: AccessBytes): void {
    const a = this.asm.get(this.#region.gpr(register));
    if (bytes === 8) return;
    if (within >= 4) a.i64(within * 8).op(Op.i64ShrU, Op.i32WrapI64);
    else {
      a.op(Op.i32WrapI64);
      if (within > 0) a.i32(within * 8).op(Op.i32ShrU);
    }
    if (bytes < 4) a.i32(bytes === 1 ? 0xff : 0xffff).op(Op.i32And);
  }

  protected changeState(node: StateChange): void {
    switch (node.kind) {
      case 'setSlot':
        if (isFlag(node.slot)) this.#setFlag(node.slot, node.value);
        else this.#set(node.slot.offset, slotBytes(node.slot.type), node.value);
        return;
      case 'setRegister':
        this.#set(Number(this.#instruction[node.field]) + node.extra, node.bytes, node.value);
        return;
      case 'setFixed':
        this.#set(node.offset, node.bytes, node.value);
    }
  }

  #setFlag(slot: Slot, value: Value): void {
    const { flags } = this.#region;
    if (flags.known.kind !== 'explicit') {
      if (this.#instruction.code.demand.replacesFlags && this.depth === 0) flags.replaceAll();
      else flags.makeExplicit();
    }
    flags.setSlot(slot, () => this.push(value));
    // Explicit flags tell of a result if ZF and SF come from the same.
    if (slot === FZ) [this.#zeroFrom, this.#flagResult] = [value, undefined];
    else if (slot === FS) this.#flagResult = value === this.#zeroFrom ? signExtended(value) : undefined;
  }

  #set(offset: number, bytes: AccessBytes, value: Value): void {
    const a = this.asm;
    if (offset >= GPR_START && offset < GPR_END) {
      this.#setGeneral((offset - GPR_START) >> 3, offset & 7, bytes, value);
    } else if (offset >= XMM_START && offset < XMM_END) {
      const local = this.#region.xmm((offset - XMM_START) >> 4);
      if (bytes < 16) a.get(local);
      this.push(value);
      if (bytes < 8 && value.type === 'i64') a.op(Op.i32WrapI64);
      if (bytes < 16) a.op(...(REPLACE[bytes] as number[])).out.byte(((offset - XMM_START) & 15) / bytes);
      a.set(local);
    } else {
      a.i32(0);
      this.push(value);
      if (offset === TLB.offset) a.tee(this.#region.local.tlb);
      this.store(bytes, value.type, this.#region.base + offset);
    }
  }
  #setGeneral(register: number, within: number, bytes: AccessBytes, value: Value): void {
    this.#writeGeneral(register, within, bytes, value);
    const { flags } = this.#region;
    flags.registerWritten(register);
    this.#written |= 1 << register;
    const result = this.#flagResult;
    if (this.depth > 0 || !result || withoutZeros(value) !== result.value || bytes < result.bytes) return;
    flags.resultIsIn(registerValue(register, within * 8, result.bytes));
  }
  #writeGeneral(register: number, within: number, bytes: AccessBytes, value: Value): void {
    const a = this.asm;
    const local = this.#region.gpr(register);
    if (bytes === 8) {
      this.push(value);
      a.set(local);
      return;
    }
    const mask = ((1n << BigInt(bytes * 8)) - 1n) << BigInt(within * 8);
    a.get(local).i64(~mask).op(Op.i64And);
    this.push(value);
    if (value.type === 'i32') a.op(Op.i64ExtendI32U);
    if (within > 0) a.i64(within * 8).op(Op.i64Shl);
    if (value.type === 'i64' || !fits(value, bytes)) a.i64(mask).op(Op.i64And);
    a.op(Op.i64Or).set(local);
  }

  // ---- memory ----
  protected override sharing(node: Node): Sharing | undefined {
    return this.#region.sharing(this.#instruction, node);
  }
  protected override lastPage(node: Node): LastPage | undefined {
    return this.#region.lastPage(this.#instruction, node);
  }
  protected override pushSlot(slot: Slot): void {
    this.asm.load(this.#region.base, slot);
  }
  protected override setSlot(slot: Slot, push: () => unknown): void {
    this.asm.store(this.#region.base, slot, push);
  }
  protected spare(): void {
    this.asm.get(this.#region.local.budget);
    // Those of its block have been taken from it already.
    const others = this.#region.notExecuted(this.#instruction) - 1;
    if (others > 0) this.asm.i32(others).op(Op.i32Add);
  }
  protected spend(push: () => void): void {
    const { budget } = this.#region.local;
    this.asm.get(budget);
    push();
    this.asm.op(Op.i32Sub).set(budget);
  }
  protected tlb(): number {
    return this.#region.local.tlb;
  }
  protected beforeMiss(): void {}
  protected missFunction(write: boolean): number {
    const { regionRead, regionWrite } = this.#region.functions;
    return write ? regionWrite : regionRead;
  }
  protected missFailed(blocks: number): void {
    this.#region.leaveAt(this.#instruction, blocks);
  }
  /** Regions write to plain guest memory only. */
  protected stored(): void {}

  // ---- control ----
  protected end(kind: EndKind): void {
    if (kind !== 'instruction') {
      this.#region.end(kind, this.#instruction);
      return;
    }
    // Tier 0 does it, and leaves.
    this.asm.store(this.#region.base, FAULT_VECTOR, (a) => a.i32(RESUME_VECTOR));
    this.#region.leaveAt(this.#instruction, 0);
  }

  protected raise(node: Extract<Node, { kind: 'raise' }>): void {
    const a = this.asm;
    const { base } = this.#region;
    a.store(base, FAULT_VECTOR, () => a.i32(node.vector));
    a.store(base, FAULT_ERROR_CODE, () => (node.errorCode ? this.push(node.errorCode) : a.i32(NO_ERROR_CODE)));
    a.store(base, FAULT_ADDRESS, () => a.i64(0));
    this.#region.leaveAt(this.#instruction, 0);
  }

  /** TypeScript finds all of the state in its place, and what it changes is taken over. */
  protected helper(node: Extract<Node, { kind: 'helper' }>, withResult: boolean): void {
    const a = this.asm;
    const region = this.#region;
    node.args.forEach((arg, i) => a.store(region.base, ARG[i], () => this.push(arg)));
    region.storeRegisters(this.#instruction);
    a.store(region.base, BUDGET, () =>
      a.get(region.local.budget).i32(region.notExecuted(this.#instruction)).op(Op.i32Add),
    );
    a.i32(region.helperNumber(node.helper)).call(region.functions.helper);
    if (node.mayFault) {
      a.if();
      region.leaveAt(this.#instruction, 1);
      a.end();
    } else a.op(Op.drop);
    region.loadRegisters(this.#instruction);
    region.flags.registersChanged();
    a.load(region.base, TLB).set(region.local.tlb);
    if (withResult) a.load(region.base, RESULT[0]);
  }
}

/** What 0 is to an operation: nothing on both sides, nothing on the right, or an operand as any other. */
type Zero = 'neutral' | 'neutralRight' | 'counts';
const zeros = new Map<PureOp, Zero>();
function zeroOf(op: PureOp): Zero {
  let zero = zeros.get(op);
  if (zero === undefined) {
    zero = 'counts';
    if (/^i(32|64)\.(sub|shl|shr_u|shr_s|rotl|rotr)$/.test(op.name)) zero = 'neutralRight';
    if (/^i(32|64)\.(add|or|xor)$/.test(op.name)) zero = 'neutral';
    zeros.set(op, zero);
  }
  return zero;
}
const { convert } = integerOps;
const MASKS = new Set<PureOp>([integerOps.i32.and, integerOps.i32.or, integerOps.i64.and, integerOps.i64.or]);
/** A value, and how many of its bytes are those of what it is part of, sign-extended. */
interface Extended {
  readonly value: Value;
  readonly bytes: AccessBytes;
}
const SIGN_EXTENSIONS = new Map<PureOp, AccessBytes>([
  [convert.extend_s, 4],
  [integerOps.i32.extend16_s, 2],
  [integerOps.i32.extend8_s, 1],
]);
function signExtended(value: Value): Extended {
  let bytes: AccessBytes = value.type === 'i64' ? 8 : 4;
  for (let at = value; ; ) {
    const { node } = at;
    const narrowed = node.kind === 'pure' ? SIGN_EXTENSIONS.get(node.op) : undefined;
    if (node.kind !== 'pure' || narrowed === undefined) return { value: at, bytes };
    bytes = narrowed;
    at = node.args[0];
  }
}
/** Whether an i32 is known to have nothing above so many bytes. */
function fits({ condition, node }: Value, bytes: AccessBytes): boolean {
  if (bytes >= 4 || condition !== undefined) return true;
  if (READS.has(node.kind)) return (node as { bytes: AccessBytes }).bytes <= bytes;
  if (node.kind !== 'pure') return false;
  if (node.op === integerOps.i32.shr_u) return fits(node.args[0], bytes);
  return node.op === integerOps.i32.and && node.args.some((arg) => fits(arg, bytes) || isWithin(arg, bytes));
}
const READS = new Set<Node['kind']>(['load', 'loadForUpdate', 'loadReached', 'getRegister', 'getFixed']);
const isWithin = ({ node }: Value, bytes: AccessBytes): boolean =>
  node.kind === 'const' && typeof node.value === 'number' && node.value >>> (bytes * 8) === 0;
const withoutZeros = (value: Value): Value =>
  value.node.kind === 'pure' && value.node.op === convert.extend_u ? value.node.args[0] : value;

const isFlag = (slot: Slot): boolean => slot === FZ || slot === FS || slot === FC;

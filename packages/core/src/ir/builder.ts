import type { DirectCode, DirectKind } from '@polyvisor/plugin-api';
import { FC, FS, FZ, type SegmentBound, type Slot } from '../cpu/state.ts';
import { integerOps } from './ops.ts';
import type {
  AccessBytes,
  Block,
  FlagSource,
  Node,
  Program,
  PureOp,
  RegisterField,
  UpdateHandle,
  Value,
  ValueType,
  Variable,
} from './types.ts';

/** What plug-ins build where an instruction would leave with this exit. */
export type DirectPrograms = ReadonlyMap<DirectKind, (code: DirectCode) => void>;
const NO_PROGRAMS: DirectPrograms = new Map();

/** Builds the IR of one instruction. Semantics call it; they never execute anything themselves. */
export class Builder {
  readonly program: Program & { variables: Variable[]; valueCount: number } = {
    body: { nodes: [] },
    variables: [],
    valueCount: 0,
  };
  #block: Block = this.program.body;
  #nextId = 0;
  readonly #quiet: boolean;
  #fromSource = false;

  /** Code that a plug-in has built for an instruction, by its exit. */
  readonly directCode: DirectPrograms;
  /** Some of that is in the program. */
  hasDirectCode = false;

  /** `quietFlags`: leave the arithmetic flags alone; for instructions whose flags nobody will see. */
  constructor(options: { quietFlags?: boolean; directCode?: DirectPrograms } = {}) {
    this.#quiet = options.quietFlags ?? false;
    this.directCode = options.directCode ?? NO_PROGRAMS;
  }

  #value(type: ValueType, node: Node): Value {
    const value: Value = { type, node, uses: 0, id: this.program.valueCount++ };
    (node as { result?: Value }).result = value;
    this.#block.nodes.push(node);
    return value;
  }
  #use<T extends Value | undefined>(value: T): T {
    if (value !== undefined) value.uses++;
    return value;
  }
  #effect(node: Node): void {
    this.#block.nodes.push(node);
  }

  // ---- values ----
  i32(value: number): Value {
    return this.#value('i32', { kind: 'const', value: value | 0 } as Node);
  }
  i64(value: bigint | number): Value {
    return this.#value('i64', { kind: 'const', value: BigInt.asIntN(64, BigInt(value)) } as Node);
  }
  v128(bytes: Uint8Array): Value {
    return this.#value('v128', { kind: 'constVector', bytes } as Node);
  }
  /** A constant of the same type as `like`. */
  constant(like: Value | ValueType, value: number | bigint): Value {
    return (typeof like === 'string' ? like : like.type) === 'i64' ? this.i64(value) : this.i32(Number(value));
  }
  /** Apply a pure operation. */
  pure(op: PureOp, ...args: Value[]): Value {
    return this.pureWith(op, [], ...args);
  }
  /** Apply a pure operation that has immediates (lane, shuffle mask). */
  pureWith(op: PureOp, immediates: readonly number[], ...args: Value[]): Value {
    if (args.length !== op.params.length) throw new Error(`${op.name} takes ${op.params.length} arguments`);
    args.forEach((arg, i) => {
      if (arg.type !== op.params[i]) throw new Error(`${op.name}: argument ${i} is ${arg.type}, not ${op.params[i]}`);
      this.#use(arg);
    });
    return this.#value(op.result, { kind: 'pure', op, args, immediates } as unknown as Node);
  }
  #integer(name: keyof typeof integerOps.i32, ...args: Value[]): Value {
    const table = args[0].type === 'i64' ? integerOps.i64 : integerOps.i32;
    return this.pure(table[name], ...args);
  }
  add(a: Value, b: Value): Value {
    return this.#integer('add', a, b);
  }
  sub(a: Value, b: Value): Value {
    return this.#integer('sub', a, b);
  }
  mul(a: Value, b: Value): Value {
    return this.#integer('mul', a, b);
  }
  /** The divisor must be known not to be 0, and not MIN / −1: check first. */
  divS(a: Value, b: Value): Value {
    return this.#integer('div_s', a, b);
  }
  divU(a: Value, b: Value): Value {
    return this.#integer('div_u', a, b);
  }
  remS(a: Value, b: Value): Value {
    return this.#integer('rem_s', a, b);
  }
  remU(a: Value, b: Value): Value {
    return this.#integer('rem_u', a, b);
  }
  and(a: Value, b: Value): Value {
    return this.#integer('and', a, b);
  }
  or(a: Value, b: Value): Value {
    return this.#integer('or', a, b);
  }
  xor(a: Value, b: Value): Value {
    return this.#integer('xor', a, b);
  }
  not(a: Value): Value {
    return this.xor(a, this.constant(a, -1));
  }
  neg(a: Value): Value {
    return this.sub(this.constant(a, 0), a);
  }
  /** Shift counts have the type of the shifted value and are taken modulo its width. */
  shl(a: Value, b: Value): Value {
    return this.#integer('shl', a, b);
  }
  shrU(a: Value, b: Value): Value {
    return this.#integer('shr_u', a, b);
  }
  shrS(a: Value, b: Value): Value {
    return this.#integer('shr_s', a, b);
  }
  rotl(a: Value, b: Value): Value {
    return this.#integer('rotl', a, b);
  }
  rotr(a: Value, b: Value): Value {
    return this.#integer('rotr', a, b);
  }
  clz(a: Value): Value {
    return this.#integer('clz', a);
  }
  ctz(a: Value): Value {
    return this.#integer('ctz', a);
  }
  popcnt(a: Value): Value {
    return this.#integer('popcnt', a);
  }
  /** Comparisons answer i32 0 or 1. */
  eqz(a: Value): Value {
    return this.#integer('eqz', a);
  }
  eq(a: Value, b: Value): Value {
    return this.#integer('eq', a, b);
  }
  ne(a: Value, b: Value): Value {
    return this.#integer('ne', a, b);
  }
  ltS(a: Value, b: Value): Value {
    return this.#integer('lt_s', a, b);
  }
  ltU(a: Value, b: Value): Value {
    return this.#integer('lt_u', a, b);
  }
  gtS(a: Value, b: Value): Value {
    return this.#integer('gt_s', a, b);
  }
  gtU(a: Value, b: Value): Value {
    return this.#integer('gt_u', a, b);
  }
  leS(a: Value, b: Value): Value {
    return this.#integer('le_s', a, b);
  }
  leU(a: Value, b: Value): Value {
    return this.#integer('le_u', a, b);
  }
  geS(a: Value, b: Value): Value {
    return this.#integer('ge_s', a, b);
  }
  geU(a: Value, b: Value): Value {
    return this.#integer('ge_u', a, b);
  }
  extend8S(a: Value): Value {
    return this.#integer('extend8_s', a);
  }
  extend16S(a: Value): Value {
    return this.#integer('extend16_s', a);
  }
  extend32S(a: Value): Value {
    return this.pure(integerOps.convert.extend32_s, a);
  }
  /** i64 → i32. */
  wrap(a: Value): Value {
    return a.type === 'i32' ? a : this.pure(integerOps.convert.wrap, a);
  }
  /** i32 → i64. */
  extendU(a: Value): Value {
    return a.type === 'i64' ? a : this.pure(integerOps.convert.extend_u, a);
  }
  extendS(a: Value): Value {
    return a.type === 'i64' ? a : this.pure(integerOps.convert.extend_s, a);
  }
  /** `condition` (i32) ? a : b, both evaluated. */
  select(condition: Value, a: Value, b: Value): Value {
    if (a.type !== b.type) throw new Error(`select of ${a.type} and ${b.type}`);
    return this.pure(integerOps.select[a.type as 'i32' | 'i64' | 'f32' | 'f64' | 'v128'], a, b, condition);
  }

  // ---- state ----
  get(slot: Slot): Value {
    return this.#value(slot.type, { kind: 'getSlot', slot } as Node);
  }
  set(slot: Slot, value: Value): void {
    if (value.type !== slot.type) throw new Error(`slot ${slot.name} is ${slot.type}, not ${value.type}`);
    if (this.#quiet && (slot === FZ || slot === FS || slot === FC)) return;
    this.#effect({ kind: 'setSlot', slot, value: this.#use(value), fromSource: this.#fromSource });
  }
  /** Set all arithmetic flags by `set`, and say what they come from, for code that computes them only when asked. */
  setFlagsFrom(source: FlagSource, set: () => void): void {
    if (!this.#quiet) this.#effect({ kind: 'flagSource', source });
    this.#fromSource = true;
    set();
    this.#fromSource = false;
  }
  /** Say that a value is a condition code of the present flags. */
  asCondition(code: number, value: Value): Value {
    value.condition = code;
    return value;
  }
  getRegister(field: RegisterField, bytes: AccessBytes, extra = 0): Value {
    return this.#value(typeForBytes(bytes), { kind: 'getRegister', field, bytes, extra } as Node);
  }
  /** Stores the low `bytes` of `value`; nothing is extended. */
  setRegister(field: RegisterField, bytes: AccessBytes, value: Value, extra = 0): void {
    this.#effect({ kind: 'setRegister', field, bytes, extra, value: this.#use(value) });
  }
  getFixed(offset: number, bytes: AccessBytes): Value {
    return this.#value(typeForBytes(bytes), { kind: 'getFixed', offset, bytes } as Node);
  }
  setFixed(offset: number, bytes: AccessBytes, value: Value): void {
    this.#effect({ kind: 'setFixed', offset, bytes, value: this.#use(value) });
  }
  /** Immediate, sign-extended to 64 bits as the encoding says. */
  immediate(): Value {
    return this.#value('i64', { kind: 'recordField', field: 'imm' } as Node);
  }
  displacement(): Value {
    return this.#value('i64', { kind: 'recordField', field: 'disp' } as Node);
  }
  scale(): Value {
    return this.#value('i64', { kind: 'recordField', field: 'scale' } as Node);
  }
  /** Where the register that the record names lies in the state block, bytes (i64). */
  registerOffset(field: 'reg' | 'rm'): Value {
    return this.#value('i64', { kind: 'recordField', field } as Node);
  }
  segmentBase(): Value {
    return this.#value('i64', { kind: 'segmentBase' } as Node);
  }
  /** A bound of the segment that the record names (i64). */
  segmentBound(bound: SegmentBound): Value {
    return this.#value('i64', { kind: 'segmentBound', bound } as Node);
  }
  /** Index of the segment register that the record names (i64). */
  segmentIndex(): Value {
    return this.#value('i64', { kind: 'recordField', field: 'segment' } as Node);
  }
  /** Offset from the page's base of the next / this instruction (i64): add PAGE_BASE for the linear address. */
  nextOffset(): Value {
    return this.#value('i64', { kind: 'recordField', field: 'nextOffset' } as Node);
  }
  thisOffset(): Value {
    return this.#value('i64', { kind: 'recordField', field: 'thisOffset' } as Node);
  }

  // ---- memory, by linear address (i64) ----
  load(address: Value, bytes: AccessBytes): Value {
    return this.#value(typeForBytes(bytes), { kind: 'load', address: this.#use(address), bytes } as Node);
  }
  store(address: Value, bytes: AccessBytes, value: Value): void {
    this.#effect({ kind: 'store', address: this.#use(address), bytes, value: this.#use(value) });
  }
  /** Read what {@link storeUpdate} will overwrite; every fault of the write is raised here. */
  loadForUpdate(address: Value, bytes: AccessBytes): { value: Value; handle: UpdateHandle } {
    const handle = { id: this.#nextId++ };
    const value = this.#value(typeForBytes(bytes), {
      kind: 'loadForUpdate',
      address: this.#use(address),
      bytes,
      handle,
    } as Node);
    return { value, handle };
  }
  storeUpdate(handle: UpdateHandle, bytes: AccessBytes, value: Value): void {
    this.#effect({ kind: 'storeUpdate', handle, bytes, value: this.#use(value) });
  }

  /** See the nodes' own description: places that need no walk, and cannot fault. */
  reach(bank: Value, address: Value, bytes: number, access: 'read' | 'write'): Value {
    const write = access === 'write';
    return this.#value('i32', {
      kind: 'reach',
      bank: this.#use(bank),
      address: this.#use(address),
      bytes,
      write,
    } as Node);
  }
  loadReached(host: Value, offset: number, bytes: AccessBytes): Value {
    return this.#value(typeForBytes(bytes), { kind: 'loadReached', host: this.#use(host), offset, bytes } as Node);
  }
  storeReached(host: Value, offset: number, bytes: AccessBytes, value: Value): void {
    this.#effect({ kind: 'storeReached', host: this.#use(host), offset, bytes, value: this.#use(value) });
  }

  copyReached(to: Value, from: Value, sizeBytes: Value): void {
    this.#effect({ kind: 'copyReached', to: this.#use(to), from: this.#use(from), sizeBytes: this.#use(sizeBytes) });
  }
  fillReached(to: Value, value: Value, sizeBytes: Value): void {
    this.#effect({ kind: 'fillReached', to: this.#use(to), value: this.#use(value), sizeBytes: this.#use(sizeBytes) });
  }

  // ---- the budget ----
  spare(): Value {
    return this.#value('i32', { kind: 'spare' } as Node);
  }
  spend(instructions: Value): void {
    this.#effect({ kind: 'spend', instructions: this.#use(instructions) });
  }

  // ---- variables and control ----
  variable(initial: Value): Variable {
    const variable = { type: initial.type, id: this.#nextId++ };
    this.program.variables.push(variable);
    this.assign(variable, initial);
    return variable;
  }
  assign(variable: Variable, value: Value): void {
    this.#effect({ kind: 'setVariable', variable, value: this.#use(value) });
  }
  current(variable: Variable): Value {
    return this.#value(variable.type, { kind: 'getVariable', variable } as Node);
  }
  /** Run `then` (or `otherwise`) only if `condition` (i32) is not 0. Values made inside must not be used outside. */
  when(condition: Value, then: () => void, otherwise?: () => void): void {
    const node = {
      kind: 'when' as const,
      condition: this.#use(condition),
      then: { nodes: [] },
      otherwise: { nodes: [] },
    };
    this.#effect(node);
    this.#inside(node.then, then);
    if (otherwise) this.#inside(node.otherwise, otherwise);
  }
  #inside(block: Block, fill: () => void): void {
    const outer = this.#block;
    this.#block = block;
    fill();
    this.#block = outer;
  }
  raise(vector: number, errorCode?: Value): void {
    this.#effect({ kind: 'raise', vector, errorCode: this.#use(errorCode) });
  }
  raiseIf(condition: Value, vector: number, errorCode?: number): void {
    this.when(condition, () => this.raise(vector, errorCode === undefined ? undefined : this.i32(errorCode)));
  }
  jump(target: Value): void {
    this.#effect({ kind: 'jump', target: this.#use(target) });
  }
  branch(): void {
    this.#effect({ kind: 'branch' });
  }
  repeat(): void {
    this.#effect({ kind: 'repeat' });
  }
  exit(exit: number): void {
    this.#effect({ kind: 'exit', exit });
  }
  helper(name: string, args: readonly Value[], options: { result?: 'i32' | 'i64'; mayFault?: boolean } = {}): Value {
    const widened = args.map((arg) => this.#use(this.extendU(arg)));
    const node = {
      kind: 'helper' as const,
      helper: name,
      args: widened,
      mayFault: options.mayFault ?? false,
      result: undefined,
    };
    if (options.result === undefined) {
      this.#effect(node);
      return this.i32(0);
    }
    const result = this.#value('i64', node as unknown as Node);
    return options.result === 'i32' ? this.wrap(result) : result;
  }
}

/** Loads of 1, 2 and 4 bytes give i32, of 8 i64, of 16 v128. */
export function typeForBytes(bytes: AccessBytes): ValueType {
  return bytes === 16 ? 'v128' : bytes === 8 ? 'i64' : 'i32';
}

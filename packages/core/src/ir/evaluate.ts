import { ARG, RESULT, SEGMENT_BASE, SEGMENT_BOUNDS } from '../cpu/state.ts';
import type {
  AccessBytes,
  Block,
  Evaluated,
  Node,
  Program,
  RegisterField,
  UpdateHandle,
  Value,
  Variable,
} from './types.ts';

/** A fault that a memory access of the evaluated instruction raises. */
export interface EvaluatedFault {
  readonly vector: number;
  readonly errorCode: number;
  readonly address: bigint;
}

/** What the evaluator needs of a machine. Addresses are linear, as unsigned 64-bit bigints. */
export interface EvaluationMemory {
  load(address: bigint, bytes: number): Uint8Array | EvaluatedFault;
  /** The fault that a write would raise, without writing. */
  checkWrite(address: bigint, bytes: number): EvaluatedFault | undefined;
  store(address: bigint, bytes: Uint8Array): EvaluatedFault | undefined;
}

/** The decoded record's fields as the IR sees them; register fields are byte offsets in the state block. */
export interface EvaluationRecord {
  readonly reg: number;
  readonly rm: number;
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly segment: number;
  readonly disp: bigint;
  readonly imm: bigint;
  readonly thisOffset: number;
  readonly nextOffset: number;
}

/** How an instruction ended. */
export type EvaluationOutcome =
  | { readonly kind: 'next' }
  | { readonly kind: 'jump'; readonly target: bigint }
  | { readonly kind: 'branch' }
  | { readonly kind: 'repeat' }
  | { readonly kind: 'exit'; readonly exit: number }
  | {
      readonly kind: 'fault';
      readonly vector: number;
      readonly errorCode: number | undefined;
      readonly address: bigint | undefined;
    };

export interface EvaluationContext {
  readonly state: DataView;
  /** Offset of the vCPU's state block in `state`. */
  readonly base: number;
  readonly memory: EvaluationMemory;
  readonly record: EvaluationRecord;
  helper(name: string, state: DataView, base: number): number;
}

const NEXT: EvaluationOutcome = { kind: 'next' };

/** The reference: carries out one instruction's IR step by step, in plain TypeScript. */
export function evaluate(program: Program, context: EvaluationContext): EvaluationOutcome {
  return new Evaluation(context).run(program.body) ?? NEXT;
}

class Evaluation {
  readonly #context: EvaluationContext;
  readonly #values = new Map<Value, Evaluated>();
  readonly #variables = new Map<Variable, Evaluated>();
  readonly #updates = new Map<UpdateHandle, bigint>();

  constructor(context: EvaluationContext) {
    this.#context = context;
  }

  run(block: Block): EvaluationOutcome | undefined {
    for (const node of block.nodes) {
      const outcome = this.#step(node);
      if (outcome) return outcome;
    }
    return undefined;
  }

  #get<T extends Evaluated>(value: Value): T {
    const found = this.#values.get(value);
    if (found === undefined) throw new Error('IR value used before it was made');
    return found as T;
  }

  #readState(offset: number, bytes: AccessBytes): Evaluated {
    const { state, base } = this.#context;
    const at = base + offset;
    return decode(new Uint8Array(state.buffer, state.byteOffset + at, bytes), bytes);
  }
  #writeState(offset: number, bytes: AccessBytes, value: Evaluated): void {
    const { state, base } = this.#context;
    new Uint8Array(state.buffer, state.byteOffset + base + offset, bytes).set(encode(value, bytes));
  }
  #field(field: RegisterField): number {
    return this.#context.record[field];
  }

  /** Carry out one node; an outcome ends the instruction. */
  #step(node: Node): EvaluationOutcome | undefined {
    switch (node.kind) {
      case 'const':
        this.#values.set(node.result, node.value);
        return;
      case 'constVector':
        this.#values.set(node.result, node.bytes);
        return;
      case 'pure':
        this.#values.set(
          node.result,
          node.op.evaluate(
            node.args.map((arg) => this.#get(arg)),
            node.immediates,
          ),
        );
        return;
      case 'getVariable':
        this.#values.set(node.result, this.#variables.get(node.variable) as Evaluated);
        return;
      case 'setVariable':
        this.#variables.set(node.variable, this.#get(node.value));
        return;
      case 'flagSource':
        return;
      case 'when':
        return this.run(this.#get<number>(node.condition) !== 0 ? node.then : node.otherwise);
      case 'getSlot':
      case 'setSlot':
      case 'getRegister':
      case 'setRegister':
      case 'getFixed':
      case 'setFixed':
      case 'recordField':
      case 'segmentBase':
      case 'segmentBound':
        this.#stepState(node);
        return;
      case 'load':
      case 'loadForUpdate':
      case 'storeUpdate':
      case 'store':
        return this.#stepMemory(node);
      case 'reach':
        // There is no TLB here: nothing is at hand.
        this.#values.set(node.result, 0);
        return;
      case 'spare':
        this.#values.set(node.result, 0);
        return;
      default:
        return this.#stepControl(node);
    }
  }

  #stepState(node: Node): void {
    const bytesOfSlot = { i32: 4, i64: 8, v128: 16 } as const;
    switch (node.kind) {
      case 'getSlot':
        this.#values.set(node.result, this.#readState(node.slot.offset, bytesOfSlot[node.slot.type]));
        return;
      case 'setSlot':
        this.#writeState(node.slot.offset, bytesOfSlot[node.slot.type], this.#get(node.value));
        return;
      case 'getRegister':
        this.#values.set(node.result, this.#readState(this.#field(node.field) + node.extra, node.bytes));
        return;
      case 'setRegister':
        this.#writeState(this.#field(node.field) + node.extra, node.bytes, this.#get(node.value));
        return;
      case 'getFixed':
        this.#values.set(node.result, this.#readState(node.offset, node.bytes));
        return;
      case 'setFixed':
        this.#writeState(node.offset, node.bytes, this.#get(node.value));
        return;
      case 'segmentBase': {
        const { segment } = this.#context.record;
        this.#values.set(node.result, segment < 0 ? 0n : this.#readState(SEGMENT_BASE[segment].offset, 8));
        return;
      }
      case 'segmentBound':
        this.#values.set(
          node.result,
          this.#readState(SEGMENT_BOUNDS[node.bound][this.#context.record.segment].offset, 8),
        );
        return;
      case 'recordField':
        this.#values.set(node.result, BigInt.asIntN(64, BigInt(this.#context.record[node.field])));
    }
  }

  #stepMemory(node: Node): EvaluationOutcome | undefined {
    const { memory } = this.#context;
    switch (node.kind) {
      case 'load':
      case 'loadForUpdate': {
        const address = BigInt.asUintN(64, this.#get<bigint>(node.address));
        const fault = node.kind === 'loadForUpdate' ? memory.checkWrite(address, node.bytes) : undefined;
        if (fault) return toOutcome(fault);
        const bytes = memory.load(address, node.bytes);
        if (!(bytes instanceof Uint8Array)) return toOutcome(bytes);
        this.#values.set(node.result, decode(bytes, node.bytes));
        if (node.kind === 'loadForUpdate') this.#updates.set(node.handle, address);
        return;
      }
      case 'store': {
        const fault = memory.store(
          BigInt.asUintN(64, this.#get<bigint>(node.address)),
          encode(this.#get(node.value), node.bytes),
        );
        return fault && toOutcome(fault);
      }
      case 'storeUpdate':
        memory.store(this.#updates.get(node.handle) as bigint, encode(this.#get(node.value), node.bytes));
    }
    return;
  }

  #stepControl(node: Node): EvaluationOutcome | undefined {
    switch (node.kind) {
      case 'raise':
        return {
          kind: 'fault',
          vector: node.vector,
          errorCode: node.errorCode && this.#get<number>(node.errorCode),
          address: undefined,
        };
      case 'jump':
        return { kind: 'jump', target: BigInt.asUintN(64, this.#get<bigint>(node.target)) };
      case 'branch':
        return { kind: 'branch' };
      case 'repeat':
        return { kind: 'repeat' };
      case 'exit':
        return { kind: 'exit', exit: node.exit };
      case 'helper': {
        node.args.forEach((arg, i) => this.#writeState(ARG[i].offset, 8, this.#get(arg)));
        const vector = this.#context.helper(node.helper, this.#context.state, this.#context.base);
        if (vector >= 0) return { kind: 'fault', vector, errorCode: undefined, address: undefined };
        if (node.result) this.#values.set(node.result, this.#readState(RESULT[0].offset, 8));
        return;
      }
      default:
        throw new Error(`cannot evaluate ${node.kind}`);
    }
  }
}

function toOutcome(fault: EvaluatedFault): EvaluationOutcome {
  return { kind: 'fault', vector: fault.vector, errorCode: fault.errorCode, address: fault.address };
}

/** Bytes → value: 1, 2, 4 bytes zero-extended to i32, 8 to i64, 16 to v128. */
function decode(bytes: Uint8Array, size: AccessBytes): Evaluated {
  if (size === 16) return bytes.slice();
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  if (size === 8) return view.getBigInt64(0, true);
  if (size === 4) return view.getInt32(0, true);
  return size === 2 ? view.getUint16(0, true) : view.getUint8(0);
}

function encode(value: Evaluated, size: AccessBytes): Uint8Array {
  if (value instanceof Uint8Array) return value;
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  if (typeof value === 'bigint') view.setBigInt64(0, value, true);
  else view.setInt32(0, value, true);
  return bytes.subarray(0, size);
}

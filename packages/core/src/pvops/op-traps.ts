import type { OpAnswer, OpContext, TypescriptOp, Vcpu } from '@polyvisor/plugin-api';
import type { Machine } from '../machine/index.ts';
import { GATE_BYTES, GateOffset } from './code.ts';
import type { Implementation } from './module.ts';
import type { PlannedOp } from './plan.ts';

type MachineVcpu = Machine['vcpus'][number];
type Continuation = Extract<OpAnswer, { previous: unknown }>['previous'];

const RAX = 0;
const RSP = 4;
/** Encoding numbers of the registers that take integer arguments: System V AMD64 ABI, 3.2.3; regparm(3). */
const ARGUMENTS_64 = [7, 6, 2, 1, 8, 9] as const;
const ARGUMENTS_32 = [0, 2, 1] as const;
/** Calls that wait for the previous implementation to return; one that never does must not be kept for ever. */
const MOST_WAITING = 4096;

/** What is called when the guest traps into an operation; `undefined`: nothing of TypeScript's. */
export function trapOf(planned: PlannedOp<Implementation>): TypescriptOp | undefined {
  if (planned.state === 'unwanted') {
    return ({ slot }) => {
      throw new Error(`${slot} is unwanted, and has been called`);
    };
  }
  if (planned.state !== 'own' || typeof planned.implementation === 'bigint') return undefined;
  return typeof planned.implementation === 'function' ? planned.implementation : planned.implementation.trap;
}

export interface Gates {
  /** Guest-virtual address of the first slot's gate block; the others follow. */
  readonly first: bigint;
  /** Slots in the order of their gate blocks. */
  readonly names: readonly string[];
}

/** Calls of the guest's kernel that operations in TypeScript carry out. */
export class OpTraps {
  readonly #gates: Gates;
  readonly #lowBase: number;
  readonly #highBase: number;
  readonly #ops: (TypescriptOp | undefined)[];
  readonly #contexts: Context[];
  /** By stack pointer: a task has but one call that waits there. */
  readonly #waiting = new Map<bigint, Continuation>();
  /** Host time that each slot's operations have taken since it was asked last; only while there is a clock. */
  readonly #spentNs: number[];
  #nowNs: (() => number) | undefined;
  readonly #failed: (slot: string, error: unknown) => void;

  constructor(
    machine: Machine,
    gates: Gates,
    member: OpContext['member'],
    failed: (slot: string, error: unknown) => void,
  ) {
    this.#gates = gates;
    this.#lowBase = Number(gates.first & 0xffffffffn);
    this.#highBase = Number(gates.first >> 32n) | 0;
    this.#ops = gates.names.map(() => undefined);
    this.#spentNs = gates.names.map(() => 0);
    this.#contexts = gates.names.map((slot) => new Context(slot, machine, member));
    this.#failed = failed;
  }

  /** `data`: guest-physical address of the operation's own memory. */
  set(slot: string, op: TypescriptOp | undefined, data?: number): void {
    const index = this.#gates.names.indexOf(slot);
    this.#ops[index] = op;
    this.#contexts[index].memoryAt = data;
  }

  /** Measure what operations take from now on, or no longer. */
  measure(nowNs: (() => number) | undefined): void {
    this.#nowNs = nowNs;
    this.#spentNs.fill(0);
  }
  /** An operation that takes the time of what has the slot instead of it: between call and return, by the clock that is set. */
  timing(slot: string): TypescriptOp {
    const index = this.#gates.names.indexOf(slot);
    return () => {
      const startNs = this.#nowNs?.();
      const previous = () => {
        if (startNs !== undefined && this.#nowNs) this.#spentNs[index] += this.#nowNs() - startNs;
        return undefined;
      };
      return { previous };
    };
  }
  /** Host time spent since the last time, in ns, by slot; slots without any are left out. */
  takeSpentNs(): ReadonlyMap<string, number> {
    const spent = this.#gates.names.map((name, i) => [name, this.#spentNs[i]] as const);
    this.#spentNs.fill(0);
    return new Map(spent.filter(([, ns]) => ns > 0));
  }

  /** A VMCALL. False: not one of ours. */
  take(vcpu: MachineVcpu): boolean {
    const [low, high] = vcpu.ripHalves;
    const offset = (low >>> 0) - this.#lowBase;
    if (high !== this.#highBase || offset < 0 || offset >= this.#gates.names.length * GATE_BYTES) return false;
    const index = Math.floor(offset / GATE_BYTES);
    const place = offset % GATE_BYTES;
    if (place !== GateOffset.trap && place !== GateOffset.after) return false;
    const startNs = this.#nowNs?.() ?? 0;
    if (place === GateOffset.trap) this.#enter(vcpu, index);
    else this.#afterPrevious(vcpu, index);
    if (this.#nowNs) this.#spentNs[index] += this.#nowNs() - startNs;
    return true;
  }

  #enter(vcpu: MachineVcpu, index: number): void {
    const op = this.#ops[index];
    const kept = vcpu.gpr.slice();
    try {
      // Without one: it has been taken out while a call was on its way.
      this.#goTo(vcpu, index, op ? this.#follow(vcpu, op(this.#contexts[index].for(vcpu))) : GateOffset.previous);
    } catch (error) {
      vcpu.gpr.set(kept);
      this.#goTo(vcpu, index, GateOffset.previous);
      this.#failed(this.#gates.names[index], error);
    }
  }

  /** Does what an operation has answered; where in the gate block the guest goes on. */
  // biome-ignore lint/suspicious/noConfusingVoidType: what an operation may answer
  #follow(vcpu: MachineVcpu, answer: OpAnswer | void): number {
    if (answer === 'previous' || answer === 'native') return GateOffset[answer];
    if (typeof answer === 'object') {
      if (typeof answer.previous !== 'function') throw new TypeError('it has answered an object without `previous`');
      if (this.#waiting.size >= MOST_WAITING) this.#waiting.delete(this.#waiting.keys().next().value as bigint);
      this.#waiting.set(vcpu.gpr[RSP], answer.previous);
      return GateOffset.call;
    }
    if (answer !== undefined) vcpu.gpr[RAX] = answer;
    return GateOffset.done;
  }

  #afterPrevious(vcpu: MachineVcpu, index: number): void {
    const sp = vcpu.gpr[RSP];
    const then = this.#waiting.get(sp);
    this.#waiting.delete(sp);
    const result = vcpu.gpr[RAX];
    try {
      vcpu.gpr[RAX] = then?.(result, this.#contexts[index].for(vcpu)) ?? result;
    } catch (error) {
      vcpu.gpr[RAX] = result;
      this.#failed(this.#gates.names[index], error);
    }
    this.#goTo(vcpu, index, GateOffset.after + 3);
  }

  #goTo(vcpu: MachineVcpu, index: number, offset: number): void {
    vcpu.setRip(this.#lowBase + index * GATE_BYTES + offset, this.#highBase);
  }
}

/** One for each slot, used again for each call. */
class Context implements OpContext {
  readonly slot: string;
  readonly memory: OpContext['memory'];
  readonly machine: OpContext['machine'];
  readonly member: OpContext['member'];
  memoryAt: number | undefined;
  #vcpu: MachineVcpu | undefined;

  constructor(slot: string, machine: Machine, member: OpContext['member']) {
    this.slot = slot;
    this.member = member;
    this.memory = machine.memory;
    this.machine = machine;
  }
  for(vcpu: MachineVcpu): this {
    this.#vcpu = vcpu;
    return this;
  }
  get vcpu(): Vcpu {
    return this.#vcpu as MachineVcpu;
  }
  get data(): number {
    if (this.memoryAt === undefined) throw new RangeError(`the operation in ${this.slot} has no memory of its own`);
    return this.memoryAt;
  }
  arg(index: number): bigint {
    const vcpu = this.#vcpu as MachineVcpu;
    const wide = vcpu.engine.mode === 'long64';
    const registers = wide ? ARGUMENTS_64 : ARGUMENTS_32;
    if (index >= 0 && index < registers.length) return vcpu.gpr[registers[index]];
    // Behind the return address.
    const at = vcpu.gpr[RSP] + BigInt((index - registers.length + 1) * (wide ? 8 : 4));
    const found = vcpu.read(at, wide ? 8 : 4, { as: 'supervisor' });
    if (!(index >= 0) || !found.ok) throw new RangeError(`${this.slot} has no argument ${index}`);
    const view = new DataView(found.bytes.buffer);
    return wide ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
  }
}

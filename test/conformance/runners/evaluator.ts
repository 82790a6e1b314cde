import { PAGE_BASE, STATE_SIZE_BYTES } from '../../../packages/core/src/cpu/state.ts';
import { Builder } from '../../../packages/core/src/ir/builder.ts';
import {
  type EvaluationContext,
  type EvaluationOutcome,
  type EvaluationRecord,
  evaluate,
} from '../../../packages/core/src/ir/evaluate.ts';
import type { Program } from '../../../packages/core/src/ir/types.ts';
import { decode } from '../../../packages/core/src/isa/decoder.ts';
import { evaluationRecord } from '../../../packages/core/src/isa/evaluation-record.ts';
import { helpers } from '../../../packages/core/src/isa/helpers/index.ts';
import { INSTRUCTION_EXITS } from '../../../packages/core/src/isa/instruction-exit.ts';
import { reachesStackSegment } from '../../../packages/core/src/isa/stack-fault.ts';
import type { DecodedInstruction, InstructionShape } from '../../../packages/core/src/isa/types.ts';
import { type CaseMode, codeMode, type ExpandedCase, type Outcome } from '../case.ts';
import { type CaseRunner, MAX_STEPS, type RunResult } from '../runner.ts';
import { FlatMemory } from './flat-memory.ts';
import { StateBlock } from './state-block.ts';

const UNDEFINED_OPCODE = 6;
const STACK_FAULT = 12;
const GENERAL_PROTECTION = 13;
const BREAKPOINT = 3;

interface Fault {
  readonly vector: number;
  readonly errorCode: number | undefined;
  readonly address: bigint | undefined;
}

/** The reference: each instruction's IR carried out step by step. */
export class EvaluatorRunner implements CaseRunner {
  readonly name = 'evaluator';
  readonly #view = new DataView(new ArrayBuffer(STATE_SIZE_BYTES));
  readonly #state = new StateBlock(this.#view, 0);
  readonly #memory = new FlatMemory();
  readonly #programs = new Map<InstructionShape, Program>();
  #mode: CaseMode = 'long64';

  run({ input, image, patches }: ExpandedCase): RunResult {
    this.#mode = input.mode;
    this.#state.enterUserMode(input.mode);
    this.#state.load(image);
    this.#memory.begin(patches);
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const result = this.#step();
      if (result) return result;
    }
    return { kind: 'left', reason: `still running after ${MAX_STEPS} steps` };
  }

  #ended(fault: Fault): RunResult {
    const outcome: Outcome = {
      vector: fault.vector,
      errorCode: fault.errorCode ?? 0,
      cr2: fault.vector === 14 ? (fault.address ?? 0n) : 0n,
      image: this.#state.read(),
      changes: this.#memory.changes(),
    };
    return { kind: 'ran', outcome };
  }

  /** One instruction; a result when the case is over. */
  #step(): RunResult | undefined {
    const rip = this.#state.rip;
    const fetched = this.#decode(rip);
    if (!('shape' in fetched)) return this.#ended(fetched);
    const record = this.#record(rip, fetched);
    const context: EvaluationContext = {
      state: this.#view,
      base: 0,
      memory: this.#memory,
      record,
      helper: (name, state, base) => this.#helper(name, state, base),
    };
    const after = rip + BigInt(fetched.lengthBytes);
    return this.#finish(evaluate(this.#programOf(fetched.shape), context), record, after, fetched);
  }

  #helper(name: string, state: DataView, base: number): number {
    const helper = helpers[name];
    if (!helper) throw new Error(`no helper named ${name}`);
    return helper(state, base);
  }

  #decode(rip: bigint): DecodedInstruction | Fault {
    let fetchFault: Fault | undefined;
    const result = decode((offset) => {
      const at = BigInt.asUintN(64, rip + BigInt(offset));
      fetchFault = this.#memory.check(at, 1, 'fetch');
      return fetchFault ? -1 : this.#memory.byteAt(at);
    }, codeMode(this.#mode));
    if (result.ok) return result.instruction;
    if (result.reason === 'fetch') return fetchFault as Fault;
    const vector = result.reason === 'undefined' ? UNDEFINED_OPCODE : GENERAL_PROTECTION;
    return { vector, errorCode: 0, address: undefined };
  }

  #record(rip: bigint, decoded: DecodedInstruction): EvaluationRecord {
    this.#view.setBigUint64(PAGE_BASE.offset, rip & ~0xfffn, true);
    return evaluationRecord(rip, decoded);
  }

  #programOf(shape: InstructionShape): Program {
    let program = this.#programs.get(shape);
    if (!program) {
      const builder = new Builder();
      shape.encoding.semantics(builder, shape);
      program = builder.program;
      this.#programs.set(shape, program);
    }
    return program;
  }

  #finish(
    outcome: EvaluationOutcome,
    record: EvaluationRecord,
    after: bigint,
    decoded: DecodedInstruction,
  ): RunResult | undefined {
    switch (outcome.kind) {
      case 'next':
        this.#goTo(after);
        return undefined;
      case 'jump':
        this.#goTo(outcome.target);
        return undefined;
      case 'branch':
        this.#goTo(this.#view.getBigUint64(PAGE_BASE.offset, true) + record.imm);
        return undefined;
      case 'repeat':
        return undefined;
      case 'fault':
        return this.#ended(this.#stackFault(outcome, decoded) ?? outcome);
      case 'exit':
        return this.#left(INSTRUCTION_EXITS[outcome.exit], after);
    }
  }

  /** As the engine tells #SS from #GP for an address that is not canonical. */
  #stackFault({ vector, errorCode, address }: Fault, decoded: DecodedInstruction): Fault | undefined {
    if (vector !== GENERAL_PROTECTION || !address || this.#mode !== 'long64') return undefined;
    const slot = (offset: number) => this.#view.getBigUint64(offset, true);
    return reachesStackSegment(decoded, address, slot) ? { vector: STACK_FAULT, errorCode, address } : undefined;
  }

  #goTo(target: bigint): void {
    this.#state.rip = this.#mode === 'long64' ? target : BigInt.asUintN(32, target);
  }

  #left(name: (typeof INSTRUCTION_EXITS)[number], after: bigint): RunResult {
    if (name === 'int3') {
      this.#state.rip = after - 1n;
      return this.#ended({ vector: BREAKPOINT, errorCode: 0, address: undefined });
    }
    if (name === 'undefined') return this.#ended({ vector: UNDEFINED_OPCODE, errorCode: 0, address: undefined });
    return { kind: 'left', reason: name };
  }
}

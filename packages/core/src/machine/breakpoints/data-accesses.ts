import { PAGE_BASE, STATE_SIZE_BYTES } from '../../cpu/state.ts';
import { Builder } from '../../ir/builder.ts';
import { type EvaluationMemory, evaluate } from '../../ir/evaluate.ts';
import type { Program } from '../../ir/types.ts';
import { decode } from '../../isa/decoder.ts';
import { evaluationRecord } from '../../isa/evaluation-record.ts';
import { helpers } from '../../isa/helpers/index.ts';
import type { DecodedInstruction, InstructionShape } from '../../isa/types.ts';
import type { MachineVcpu } from '../vcpu.ts';
import type { DataAccess } from './debug-registers.ts';

const CS = 1;
const LONGEST_INSTRUCTION_BYTES = 15;

/**
 * What memory the instruction at RIP is about to reach: its IR, carried out by the evaluator on a copy of the state and
 * without a write. Where that meets a fault, the instruction will too. NOT SEEN: what instructions reach that TypeScript
 * carries out (isa/instruction-exit.ts), and the machine's own accesses, to descriptor tables and stacks of exceptions.
 */
export class DataAccesses {
  readonly #copy = new DataView(new ArrayBuffer(STATE_SIZE_BYTES));
  readonly #programs = new Map<InstructionShape, Program>();

  ofNextInstruction(vcpu: MachineVcpu): readonly DataAccess[] {
    const linear = BigInt.asUintN(64, vcpu.rip + vcpu.segment(CS).base);
    const decoded = decodeAt(vcpu, linear);
    if (!decoded) return [];
    const { engine } = vcpu;
    new Uint8Array(this.#copy.buffer).set(engine.memory.bytes.subarray(engine.base, engine.base + STATE_SIZE_BYTES));
    this.#copy.setBigUint64(PAGE_BASE.offset, linear & ~0xfffn, true);
    const accesses: DataAccess[] = [];
    evaluate(this.#programOf(decoded.shape), {
      state: this.#copy,
      base: 0,
      memory: recordInto(accesses, vcpu),
      record: evaluationRecord(linear, decoded),
      helper: (name, state, base) => helpers[name]?.(state, base) ?? -1,
    });
    return accesses;
  }

  #programOf(shape: InstructionShape): Program {
    let program = this.#programs.get(shape);
    if (!program) {
      const builder = new Builder();
      shape.encoding.semantics(builder, shape);
      this.#programs.set(shape, (program = builder.program));
    }
    return program;
  }
}

function decodeAt(vcpu: MachineVcpu, linear: bigint): DecodedInstruction | undefined {
  const inPage = 4096 - Number(linear & 0xfffn);
  const sizes = [LONGEST_INSTRUCTION_BYTES, Math.min(inPage, LONGEST_INSTRUCTION_BYTES)];
  const code = sizes.map((size) => vcpu.read(linear, size)).find((read) => read.ok);
  if (!code?.ok) return undefined;
  const { bytes } = code;
  const result = decode((offset) => (offset < bytes.length ? bytes[offset] : -1), vcpu.engine.mode);
  return result.ok ? result.instruction : undefined;
}

/** Loads see memory, devices as zeros; stores are noted and go nowhere. */
function recordInto(accesses: DataAccess[], vcpu: MachineVcpu): EvaluationMemory {
  return {
    load: (address, sizeBytes) => {
      accesses.push({ address, sizeBytes, write: false });
      const read = vcpu.read(address, sizeBytes);
      return read.ok ? read.bytes : new Uint8Array(sizeBytes);
    },
    checkWrite: () => undefined,
    store: (address, bytes) => {
      accesses.push({ address, sizeBytes: bytes.length, write: true });
      return undefined;
    },
  };
}

import {
  CPL,
  CR0,
  EFLAGS_SYSTEM,
  GPR,
  PAGE_BASE,
  SEGMENT_LIMIT,
  SEGMENT_READ_END,
  SEGMENT_SELECTOR,
  SEGMENT_WRITE_END,
  type Slot,
  STATE_SIZE_BYTES,
} from '../../cpu/state.ts';
import { Builder } from '../../ir/builder.ts';
import { type EvaluationMemory, type EvaluationOutcome, evaluate } from '../../ir/evaluate.ts';
import { decode } from '../decoder.ts';
import { helpers } from '../helpers/index.ts';
import type { CpuMode } from '../modes.ts';
import type { DecodedInstruction } from '../types.ts';

const PAGE_FAULT = 14;
export const CODE_ADDRESS = 0x1000n;

/** A vCPU's state block and 64 KiB of memory, on which single instructions are evaluated. For tests. */
export class TestCpu {
  readonly mode: CpuMode;
  readonly state = new DataView(new ArrayBuffer(STATE_SIZE_BYTES));
  readonly memory = new DataView(new ArrayBuffer(0x10000));
  /** Addresses from here on fault when written. */
  writableEnd = 0x10000n;

  constructor(mode: CpuMode) {
    this.mode = mode;
    this.set(CPL, 3);
    this.set(CR0, 1);
    this.set(EFLAGS_SYSTEM, 0x202);
    this.set(PAGE_BASE, CODE_ADDRESS);
    for (const selector of SEGMENT_SELECTOR) this.set(selector, 0x2b);
    for (const slot of SEGMENT_LIMIT) this.set(slot, 0xffffffff);
    for (const slot of [...SEGMENT_READ_END, ...SEGMENT_WRITE_END]) this.set(slot, 1n << 32n);
  }

  get(slot: Slot): bigint {
    if (slot.type === 'i32') return BigInt(this.state.getUint32(slot.offset, true));
    return this.state.getBigUint64(slot.offset, true);
  }
  set(slot: Slot, value: bigint | number): void {
    if (slot.type === 'i32') this.state.setUint32(slot.offset, Number(value), true);
    else this.state.setBigUint64(slot.offset, BigInt.asUintN(64, BigInt(value)), true);
  }
  gpr(index: number): bigint {
    return this.get(GPR[index]);
  }

  /** Evaluate one instruction at the start of the code page. */
  run(hex: string): EvaluationOutcome {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    const result = decode((offset) => (offset < bytes.length ? bytes[offset] : -1), this.mode);
    if (!result.ok) throw new Error(`${hex}: ${result.reason}`);
    const { instruction } = result;
    const builder = new Builder();
    instruction.shape.encoding.semantics(builder, instruction.shape);
    return evaluate(builder.program, {
      state: this.state,
      base: 0,
      memory: this.#accessor(),
      record: toRecord(instruction),
      helper: (name, state, base) => helpers[name](state, base),
    });
  }

  #accessor(): EvaluationMemory {
    const whole = new Uint8Array(this.memory.buffer);
    const fault = (address: bigint, errorCode: number) => ({ vector: PAGE_FAULT, errorCode, address });
    const unwritable = (address: bigint, bytes: number) => address + BigInt(bytes) > this.writableEnd;
    return {
      load: (address, bytes) =>
        address + BigInt(bytes) > BigInt(whole.length)
          ? fault(address, 4)
          : whole.slice(Number(address), Number(address) + bytes),
      checkWrite: (address, bytes) => (unwritable(address, bytes) ? fault(address, 6) : undefined),
      store: (address, bytes) => {
        if (unwritable(address, bytes.length)) return fault(address, 6);
        whole.set(bytes, Number(address));
        return undefined;
      },
    };
  }
}

const wide = (low: number, high: number) => (BigInt(high) << 32n) | BigInt(low >>> 0);

function toRecord(instruction: DecodedInstruction) {
  const { reg, rm, base, index, scale, segment, lengthBytes } = instruction;
  const disp = wide(instruction.dispLow, instruction.dispHigh) + BigInt(instruction.ripRelative ? lengthBytes : 0);
  // A record of a direct branch holds the target's offset from the page's base.
  const isBranch = instruction.shape.operands.some(({ kind }) => kind === 'rel');
  const imm = wide(instruction.immLow, instruction.immHigh) + BigInt(isBranch ? lengthBytes : 0);
  return { reg, rm, base, index, scale, segment, disp, imm, thisOffset: 0, nextOffset: lengthBytes };
}

import {
  CR4,
  EFLAGS_SYSTEM,
  FC,
  FPU_TRAP,
  FS,
  FZ,
  GPR,
  MXCSR,
  PAGE_BASE,
  STATE_SIZE_BYTES,
  X87,
  X87_CONTROL,
  X87_STATUS,
  X87_TAG,
  XMM,
} from '../../packages/core/src/cpu/state.ts';
import { Builder } from '../../packages/core/src/ir/builder.ts';
import { type EvaluationMemory, type EvaluationOutcome, evaluate } from '../../packages/core/src/ir/evaluate.ts';
import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';
import { sseHelpers } from '../../packages/core/src/isa/helpers/sse.ts';
import { x87Helpers } from '../../packages/core/src/isa/helpers/x87.ts';
import { buildShape, variantKey } from '../../packages/core/src/isa/shape.ts';
import type { FpuState } from './host-fpu.ts';

/** How an encoding is used: registers reg = 0 and rm = 1 (0 for general registers), or memory at RDI. */
export interface RowUse {
  row: EncodingRow;
  memory: boolean;
  wide: boolean;
  /** x87 stack index. */
  st: number;
  immediate: number;
}

const PREFIX_BYTES = [[], [0x66], [0xf3], [0xf2]] as const;
export const MEMORY_ADDRESS = 0x10000n;

const usesGeneralRm = (row: EncodingRow) => row.operandCodes.some(({ letter }) => letter === 'E');
const hasImmediate = (row: EncodingRow) => row.operandCodes.some(({ letter }) => letter === 'I');

/** The instruction's bytes. */
export function assemble({ row, memory, wide, st, immediate }: RowUse): number[] {
  const isX87 = row.map === 0 && row.opcode >= 0xd8 && row.opcode <= 0xdf;
  const rm = memory ? 7 : isX87 ? st : usesGeneralRm(row) ? 0 : 1;
  const modrm = row.exactModrm ?? (memory ? 0 : 0xc0) | ((row.digit ?? 0) << 3) | rm;
  return [
    ...PREFIX_BYTES[row.prefix ?? 0],
    ...(wide ? [0x48] : []),
    ...(row.map === 1 ? [0x0f] : []),
    row.opcode,
    ...(row.hasModrm ? [modrm] : []),
    ...(hasImmediate(row) ? [immediate] : []),
  ];
}

function loadState(view: DataView, input: FpuState): void {
  const image = new DataView(input.image.buffer, input.image.byteOffset, 512);
  view.setInt32(X87_CONTROL.offset, image.getUint16(0, true), true);
  view.setInt32(X87_STATUS.offset, image.getUint16(2, true), true);
  view.setInt32(X87_TAG.offset, image.getUint8(4), true);
  view.setInt32(MXCSR.offset, image.getInt32(24, true), true);
  const top = (image.getUint16(2, true) >> 11) & 7;
  const bytes = new Uint8Array(view.buffer);
  for (let i = 0; i < 8; i++) bytes.set(input.image.subarray(32 + i * 16, 42 + i * 16), X87[(top + i) & 7].offset);
  for (let i = 0; i < 16; i++) bytes.set(input.image.subarray(160 + i * 16, 176 + i * 16), XMM[i].offset);
  view.setBigUint64(GPR[0].offset, BigInt.asUintN(64, input.rax), true);
  view.setBigUint64(GPR[7].offset, MEMORY_ADDRESS, true);
  view.setBigUint64(CR4.offset, 0x600n, true);
  view.setInt32(EFLAGS_SYSTEM.offset, 2, true);
  view.setBigUint64(PAGE_BASE.offset, 0x400000n, true);
  // CF PF AF ZF SF OF all clear.
  view.setInt32(FC.offset, 0, true);
  view.setBigInt64(FZ.offset, 1n, true);
  view.setBigInt64(FS.offset, 1n, true);
}

function saveState(view: DataView, memory: Uint8Array): FpuState {
  const bytes = new Uint8Array(view.buffer);
  const image = new Uint8Array(512);
  const out = new DataView(image.buffer);
  const status = view.getInt32(X87_STATUS.offset, true);
  out.setUint16(0, view.getInt32(X87_CONTROL.offset, true), true);
  out.setUint16(2, status, true);
  out.setUint8(4, view.getInt32(X87_TAG.offset, true));
  out.setInt32(24, view.getInt32(MXCSR.offset, true), true);
  for (let i = 0; i < 8; i++) {
    const at = X87[((status >> 11) + i) & 7].offset;
    image.set(bytes.subarray(at, at + 10), 32 + i * 16);
  }
  for (let i = 0; i < 16; i++) image.set(bytes.subarray(XMM[i].offset, XMM[i].offset + 16), 160 + i * 16);
  return { rax: view.getBigUint64(GPR[0].offset, true), memory, image };
}

/** CF, PF, AF, ZF, SF and OF out of the lazy flags: cpu/state.ts. */
function arithmeticFlags(view: DataView): number {
  const fc = view.getInt32(FC.offset, true);
  const fs = view.getBigInt64(FS.offset, true);
  let parity = Number(fs & 0xffn);
  parity ^= parity >> 4;
  const evenParity = ((0x9669 >> (parity & 15)) & 1) === 1;
  return (
    (fc < 0 ? 1 : 0) |
    (evenParity ? 4 : 0) |
    (fc & 8 ? 16 : 0) |
    (view.getBigInt64(FZ.offset, true) === 0n ? 64 : 0) |
    (fs < 0n ? 128 : 0) |
    ((fc ^ (fc << 1)) < 0 ? 2048 : 0)
  );
}

function flatMemory(memory: Uint8Array): EvaluationMemory {
  const at = (address: bigint) => Number(address - MEMORY_ADDRESS);
  return {
    load: (address, bytes) => memory.slice(at(address), at(address) + bytes),
    checkWrite: () => undefined,
    store: (address, bytes) => {
      memory.set(bytes, at(address));
      return undefined;
    },
  };
}

/** Carry the instruction out on the IR evaluator; `trap` is the FPU_TRAP slot (cpu/fpu-trap.ts). */
export function evaluateRow(
  use: RowUse,
  input: FpuState,
  trap = 0,
): { state: FpuState; flags: number; outcome: EvaluationOutcome } {
  const view = new DataView(new ArrayBuffer(STATE_SIZE_BYTES));
  loadState(view, input);
  view.setInt32(FPU_TRAP.offset, trap, true);
  const { row } = use;
  const shape = buildShape(row, variantKey(0, use.wide ? 3 : 2, 2, use.memory ? 1 : 0, 0, 0, -1, use.st));
  const builder = new Builder();
  row.semantics(builder, shape);
  const memory = input.memory.slice();
  const general = usesGeneralRm(row);
  const helpers = { ...sseHelpers, ...x87Helpers };
  const outcome = evaluate(builder.program, {
    state: view,
    base: 0,
    memory: flatMemory(memory),
    record: {
      reg: row.operandCodes.some(({ letter }) => letter === 'G') ? GPR[0].offset : XMM[0].offset,
      rm: general ? GPR[0].offset : XMM[1].offset,
      base: GPR[7].offset,
      index: 0,
      scale: 0,
      segment: -1,
      disp: 0n,
      imm: BigInt(use.immediate),
      thisOffset: 0,
      nextOffset: 4,
    },
    helper: (name, state, base) => {
      const helper = helpers[name];
      if (!helper) throw new Error(`no helper ${name}`);
      return helper(state, base);
    },
  });
  return { state: saveState(view, memory), flags: arithmeticFlags(view), outcome };
}

import {
  CR0,
  EFLAGS_SYSTEM,
  GPR,
  PAGE_BASE,
  SEGMENT_BASE,
  SEGMENT_BOUNDS,
  SEGMENT_FLOOR,
  SEGMENT_LIMIT,
} from '../cpu/state.ts';
import type { Builder } from '../ir/builder.ts';
import type { AccessBytes, Value } from '../ir/types.ts';
import { Flag } from './flags.ts';
import { isSegmented, modeFacts } from './modes.ts';
import type { InstructionShape, OperandShape, Width } from './types.ts';

const SEGMENT_CS = 1;
const SEGMENT_SS = 2;
const SEGMENT_FS = 4;
const UNDEFINED_OPCODE = 6;
const STACK_FAULT = 12;
const GENERAL_PROTECTION = 13;
const CR0_PE = 1;

export const RSP_OFFSET = GPR[4].offset;

export const bytesOf = (width: Width): AccessBytes => (width >> 3) as AccessBytes;

/** Effective address (i64) of a memory operand without its segment's base: what LEA answers before truncation. */
export function effectiveAddress(b: Builder, shape: InstructionShape, operand: OperandShape): Value {
  if (operand.kind !== 'mem') throw new Error(`${shape.key}: not a memory operand`);
  let address = b.add(b.getRegister('base', 8), b.displacement());
  if (operand.addressing !== 'base') address = b.add(b.shl(b.getRegister('index', 8), b.scale()), address);
  return truncateAddress(b, shape, address);
}

/** Cut an address to the instruction's address size. */
export function truncateAddress(b: Builder, shape: InstructionShape, address: Value): Value {
  if (shape.addressWidth === 64) return address;
  return b.and(address, b.i64(shape.addressWidth === 32 ? 0xffffffffn : 0xffffn));
}

/** What is done at an address: segment limits and rights are checked for it. `none`: nothing (LEA, INVLPG). */
export type Access = 'read' | 'write' | 'none';

/**
 * Linear address (i64) of `bytes` bytes at a memory operand. Outside 64-bit mode it wraps at 4 GiB, and #GP(0) or #SS(0)
 * is raised for what the segment does not allow (SDM vol. 3A, 5.3 and 5.4).
 */
export function linearAddress(
  b: Builder,
  shape: InstructionShape,
  operand: OperandShape,
  access: Access,
  bytes: number,
): Value {
  return addSegment(b, shape, operand, effectiveAddress(b, shape, operand), access, bytes);
}

/** The same `extra` (i64) bytes beyond a memory operand, the offset wrapped to the address size. */
export function linearAddressPlus(
  b: Builder,
  shape: InstructionShape,
  operand: OperandShape,
  extra: Value,
  access: Access,
  bytes: number,
): Value {
  const offset = truncateAddress(b, shape, b.add(effectiveAddress(b, shape, operand), extra));
  return addSegment(b, shape, operand, offset, access, bytes);
}

function addSegment(
  b: Builder,
  shape: InstructionShape,
  operand: OperandShape,
  offset: Value,
  access: Access,
  bytes: number,
): Value {
  if (operand.kind !== 'mem' || operand.addressing === 'base') return offset;
  if (operand.addressing === 'full') return shape.mode === 'long64' ? b.add(b.segmentBase(), offset) : offset;
  if (access !== 'none') {
    const outside = isOutside(b, offset, bytes, b.segmentBound('floor'), b.segmentBound(access));
    b.when(outside, () => {
      b.when(
        b.eq(b.segmentIndex(), b.i64(SEGMENT_SS)),
        () => b.raise(STACK_FAULT, b.i32(0)),
        () => b.raise(GENERAL_PROTECTION, b.i32(0)),
      );
    });
  }
  return wrapLinear(b, shape, b.add(b.segmentBase(), offset));
}

/** Whether `bytes` bytes at `offset` (i64, below 2^32) do not lie between the bounds of a segment. */
function isOutside(b: Builder, offset: Value, bytes: number, floor: Value, end: Value): Value {
  return b.or(b.ltU(offset, floor), b.gtU(b.add(offset, b.i64(bytes)), end));
}

function wrapLinear(b: Builder, shape: InstructionShape, linear: Value): Value {
  return shape.mode === 'long64' ? linear : b.and(linear, b.i64(0xffffffffn));
}

/** Linear address of `offset` in a segment named by the instruction itself (string operations, stack), checked. */
export function segmentAddress(
  b: Builder,
  shape: InstructionShape,
  segment: number,
  offset: Value,
  access: Exclude<Access, 'none'>,
  bytes: number,
): Value {
  if (shape.mode === 'long64') return segment < SEGMENT_FS ? offset : b.add(b.get(SEGMENT_BASE[segment]), offset);
  if (shape.mode === 'flat32' && segment < SEGMENT_FS && segment !== SEGMENT_CS) return offset;
  const bounds = [SEGMENT_FLOOR, SEGMENT_BOUNDS[access]].map((slots) => b.get(slots[segment]));
  const outside = isOutside(b, offset, bytes, bounds[0], bounds[1]);
  b.raiseIf(outside, segment === SEGMENT_SS ? STACK_FAULT : GENERAL_PROTECTION, 0);
  return wrapLinear(b, shape, b.add(b.get(SEGMENT_BASE[segment]), offset));
}

/**
 * #GP(0) at a near branch that would leave the code segment or, in 64-bit mode, whose target is not canonical (SDM vol. 2A, JMP;
 * AMD APM vol. 3, JMP). `target` is an offset in the segment (i64).
 */
export function checkBranchTarget(b: Builder, shape: InstructionShape, target: Value): void {
  if (shape.mode === 'long64') {
    const canonical = b.shrS(b.shl(target, b.i64(16)), b.i64(16));
    b.raiseIf(b.ne(target, canonical), GENERAL_PROTECTION, 0);
  } else if (isSegmented(shape.mode)) {
    b.raiseIf(b.gtU(target, b.extendU(b.get(SEGMENT_LIMIT[SEGMENT_CS]))), GENERAL_PROTECTION, 0);
  }
}

/** #UD in real-address and virtual-8086 mode, which have no descriptors: SLDT, STR, ARPL. */
export function requireProtectedMode(b: Builder, shape: InstructionShape): void {
  if (shape.mode === 'long64') return;
  const enabled = b.and(b.wrap(b.get(CR0)), b.i32(CR0_PE));
  b.raiseIf(b.or(b.eqz(enabled), b.and(b.get(EFLAGS_SYSTEM), b.i32(Flag.VM))), UNDEFINED_OPCODE);
}

/**
 * Read an operand: i32 (zero-extended) for 8, 16 and 32 bits, i64 for 64; XMM and 16-byte memory as v128.
 * Immediates arrive sign-extended and cut to the operand's type.
 */
export function read(b: Builder, shape: InstructionShape, operand: OperandShape): Value {
  switch (operand.kind) {
    case 'gpr':
      return b.getRegister(operand.field, bytesOf(operand.width));
    case 'fixedGpr':
      return b.getFixed(operand.offset, bytesOf(operand.width));
    case 'xmm':
      return b.getRegister(operand.field, 16);
    case 'mem':
      return b.load(linearAddress(b, shape, operand, 'read', operand.sizeBytes), operand.sizeBytes as AccessBytes);
    case 'imm':
      return operand.width === 64 ? b.immediate() : b.wrap(b.immediate());
    case 'static':
      return b.i32(operand.value);
    default:
      throw new Error(`${shape.key}: cannot read a ${operand.kind} operand`);
  }
}

/** Write an operand; a 32-bit general register is zero-extended to 64 bits, 8 and 16 bits leave the rest alone. */
export function write(b: Builder, shape: InstructionShape, operand: OperandShape, value: Value): void {
  switch (operand.kind) {
    case 'gpr':
      if (operand.width === 32) b.setRegister(operand.field, 8, b.extendU(value));
      else b.setRegister(operand.field, bytesOf(operand.width), value);
      return;
    case 'fixedGpr':
      if (operand.width === 32) b.setFixed(operand.offset, 8, b.extendU(value));
      else b.setFixed(operand.offset, bytesOf(operand.width), value);
      return;
    case 'xmm':
      b.setRegister(operand.field, 16, value);
      return;
    case 'mem':
      b.store(linearAddress(b, shape, operand, 'write', operand.sizeBytes), operand.sizeBytes as AccessBytes, value);
      return;
    default:
      throw new Error(`${shape.key}: cannot write a ${operand.kind} operand`);
  }
}

/** An operand that is read and then written. All faults of a memory operand are raised by the read. */
export function update(
  b: Builder,
  shape: InstructionShape,
  operand: OperandShape,
): { value: Value; write(value: Value): void } {
  if (operand.kind !== 'mem') {
    return { value: read(b, shape, operand), write: (value) => write(b, shape, operand, value) };
  }
  const bytes = operand.sizeBytes as AccessBytes;
  const { value, handle } = b.loadForUpdate(linearAddress(b, shape, operand, 'write', bytes), bytes);
  return { value, write: (result) => b.storeUpdate(handle, bytes, result) };
}

/** RIP after this instruction (i64, CS base taken off). */
export function nextRip(b: Builder, shape: InstructionShape): Value {
  return lessCsBase(b, shape, b.add(b.get(PAGE_BASE), b.nextOffset()));
}
/** RIP of this instruction. */
export function thisRip(b: Builder, shape: InstructionShape): Value {
  return lessCsBase(b, shape, b.add(b.get(PAGE_BASE), b.thisOffset()));
}
/** A linear address of code as an offset in the code segment. */
export function lessCsBase(b: Builder, shape: InstructionShape, linear: Value): Value {
  if (shape.mode === 'long64') return linear;
  const offset = shape.mode === 'flat32' ? linear : b.sub(linear, b.get(SEGMENT_BASE[SEGMENT_CS]));
  return b.and(offset, b.i64(0xffffffffn));
}

/** Width of the stack pointer: by SS.B outside 64-bit mode. */
export const stackWidth = (shape: InstructionShape): Width => modeFacts(shape.mode).stackBits;

function stackPointer(b: Builder, shape: InstructionShape): Value {
  return b.extendU(b.getFixed(RSP_OFFSET, bytesOf(stackWidth(shape))));
}
export function setStackPointer(b: Builder, shape: InstructionShape, value: Value): void {
  const width = stackWidth(shape);
  if (width === 64) b.setFixed(RSP_OFFSET, 8, value);
  else if (width === 32) b.setFixed(RSP_OFFSET, 8, b.and(value, b.i64(0xffffffffn)));
  else b.setFixed(RSP_OFFSET, 2, b.wrap(value));
}
/** Stack pointer plus `deltaBytes`, wrapped to the stack's width. */
export function stackPointerPlus(b: Builder, shape: InstructionShape, deltaBytes: number): Value {
  const moved = b.add(stackPointer(b, shape), b.i64(deltaBytes));
  const width = stackWidth(shape);
  return width === 64 ? moved : b.and(moved, b.i64(width === 32 ? 0xffffffffn : 0xffffn));
}
/** Push: the store may fault, RSP changes after it. */
export function push(b: Builder, shape: InstructionShape, value: Value, bytes: AccessBytes): void {
  const pointer = stackPointerPlus(b, shape, -bytes);
  b.store(segmentAddress(b, shape, SEGMENT_SS, pointer, 'write', bytes), bytes, value);
  setStackPointer(b, shape, pointer);
}
/** What is on top of the stack; the caller moves RSP by {@link drop} when nothing can fault any more. */
export function peek(b: Builder, shape: InstructionShape, bytes: AccessBytes, offsetBytes = 0): Value {
  const pointer = stackPointerPlus(b, shape, offsetBytes);
  return b.load(segmentAddress(b, shape, SEGMENT_SS, pointer, 'read', bytes), bytes);
}
export function drop(b: Builder, shape: InstructionShape, bytes: number): void {
  setStackPointer(b, shape, stackPointerPlus(b, shape, bytes));
}

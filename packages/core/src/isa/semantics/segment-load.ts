/** MOV and POP to a data segment register without an exit, for the segments that kernels load all the time. */
import { ARG, CPL, CR0, DIRECT, Direct, EFLAGS_SYSTEM } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value, Variable } from '../../ir/types.ts';
import { descriptorBase, descriptorLevel, descriptorRights, isInGdt, isWideData, readGdt } from '../descriptor-code.ts';
import { Flag } from '../flags.ts';
import { RIGHTS_UNUSABLE } from '../flat-segments.ts';
import { exitNumber } from '../instruction-exit.ts';
import { bytesOf, drop, peek, read } from '../operands.ts';
import { endOf4GiB, isFlatData, setSegmentSlots } from '../segment-slots.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { leaveWith, staticValue } from './system.ts';

const CS = 1;
const SS = 2;
/** FS and GS: whatever they hold, code is decoded the same (isa/modes.ts). */
const FIRST_FREE = 4;
const CR0_PE = 1;

/** MOV to a segment register. */
export const loadSegment: Semantics = (b, shape) => {
  const index = staticValue(shape, 0);
  const selector = b.variable(b.and(read(b, shape, shape.operands[1]), b.i32(0xffff)));
  const leave = () => leaveWith(b, 'loadSegment', b.i32(index), b.current(selector));
  // The registers are one row, which goes on behind the instruction.
  if (isNeverDirect(index)) b.when(b.i32(1), leave);
  else loadDirectly(b, shape, index, selector, leave);
};

/** POP of a segment register. Where it leaves, the stack has not been read. */
export const popSegment: Semantics = (b, shape) => {
  const index = staticValue(shape, 0);
  const leave = () => {
    b.set(ARG[0], b.i64(index));
    b.set(ARG[1], b.i64(shape.operandWidth));
    b.exit(exitNumber('popSegment'));
  };
  if (isNeverDirect(index)) {
    leave();
    return;
  }
  b.when(b.eqz(mayBeDirect(b)), leave);
  // A selector is read as a word, whatever the operand size moves the pointer by (SDM vol. 2B, POP).
  const selector = b.variable(b.and(peek(b, shape, 2), b.i32(0xffff)));
  loadDirectly(b, shape, index, selector, leave);
  drop(b, shape, bytesOf(shape.operandWidth));
};

/** SS holds interrupts off for an instruction, CS raises #UD, and there are no more than six. */
const isNeverDirect = (index: number): boolean => index === CS || index === SS || index > 5;

/** i32 0 or not: selectors name descriptors, and nobody wants to see it. */
function mayBeDirect(b: Builder): Value {
  const isProtected = b.and(b.wrap(b.get(CR0)), b.i32(CR0_PE));
  const isVirtual = b.ne(b.and(b.get(EFLAGS_SYSTEM), b.i32(Flag.VM)), b.i32(0));
  const isDirect = b.ne(b.and(b.get(DIRECT), b.i32(Direct.SEGMENT)), b.i32(0));
  return b.and(b.and(isProtected, b.eqz(isVirtual)), isDirect);
}

/** Load what the selector names if that is a segment of 4 GiB for data that can be written, or null; else `leave`. */
function loadDirectly(b: Builder, shape: InstructionShape, index: number, selector: Variable, leave: () => void): void {
  const chosen = () => b.current(selector);
  const found = b.variable(b.i64(0));
  const canBeNull = index >= FIRST_FREE || shape.mode === 'long64';
  const isNull = () => b.eqz(b.and(chosen(), b.i32(0xfffc)));
  b.when(b.and(mayBeDirect(b), isInGdt(b, chosen())), () => b.assign(found, readGdt(b, chosen())));
  const isAllowed = b.and(isWideData(b, b.current(found)), isWithinLevel(b, b.current(found), chosen()));
  const isDirect = b.and(isAllowed, keepsMode(b, shape, index, b.current(found)));
  b.when(b.eqz(canBeNull ? b.or(isDirect, b.and(mayBeDirect(b), isNull())) : isDirect), leave);
  const orNull = (value: Value, none: Value) => (canBeNull ? b.select(isNull(), none, value) : value);
  const isThere = () => (canBeNull ? b.eqz(isNull()) : b.i32(1));
  setSegmentSlots(b, index, {
    selector: chosen(),
    base: b.extendU(descriptorBase(b, b.current(found))),
    limit: orNull(b.i32(-1), b.i32(0)),
    rights: orNull(descriptorRights(b, b.current(found)), b.i32(RIGHTS_UNUSABLE)),
    ...{ readEnd: endOf4GiB(b, isThere()), writeEnd: endOf4GiB(b, isThere()) },
  });
}

/** i32 0 or 1: DPL is not below CPL, nor below the selector's RPL. */
function isWithinLevel(b: Builder, descriptor: Value, selector: Value): Value {
  const dpl = () => descriptorLevel(b, descriptor);
  return b.and(b.leU(b.get(CPL), dpl()), b.leU(b.and(selector, b.i32(3)), dpl()));
}

/** i32 0 or 1: code is decoded as before with this wide segment in DS or ES: those decide between flat32 and seg32. */
function keepsMode(b: Builder, { mode }: InstructionShape, index: number, descriptor: Value): Value {
  if (index >= FIRST_FREE || (mode !== 'flat32' && mode !== 'seg32')) return b.i32(1);
  const becomesFlat = b.eqz(descriptorBase(b, descriptor));
  return mode === 'flat32' ? becomesFlat : b.or(isFlatData(b, index), b.eqz(becomesFlat));
}

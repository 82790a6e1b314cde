/** Near jumps, calls, returns and loops (SDM vol. 2). Far transfers are exits: system.ts. */
import { GPR, PAGE_BASE } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { condition, getZF } from '../flags.ts';
import { isSegmented } from '../modes.ts';
import {
  bytesOf,
  checkBranchTarget,
  drop,
  lessCsBase,
  nextRip,
  peek,
  push,
  read,
  setStackPointer,
  stackPointerPlus,
} from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';

/** Offset of a direct branch's target in the code segment; its record holds the offset from the page's base. */
function branchTarget(b: Builder, shape: InstructionShape): Value {
  const target = lessCsBase(b, shape, b.add(b.get(PAGE_BASE), b.immediate()));
  return shape.operandWidth === 16 ? b.and(target, b.i64(0xffff)) : target;
}
/** The checks of a direct branch, before anything changes. */
function checkBranch(b: Builder, shape: InstructionShape): void {
  if (isSegmented(shape.mode)) checkBranchTarget(b, shape, branchTarget(b, shape));
}
/** Take the direct branch. With a 16-bit operand size the target is cut to 16 bits, which `branch` does not do. */
function takeBranch(b: Builder, shape: InstructionShape): void {
  if (shape.operandWidth !== 16) b.branch();
  else b.jump(branchTarget(b, shape));
}
function checkAndTakeBranch(b: Builder, shape: InstructionShape): void {
  checkBranch(b, shape);
  takeBranch(b, shape);
}

export const jumpRelative: Semantics = checkAndTakeBranch;

export function jumpOnCondition(code: number): Semantics {
  return (b, shape) => b.when(condition(b, code), () => checkAndTakeBranch(b, shape));
}

/** JCXZ, JECXZ, JRCXZ: the address size says which. */
export const jumpIfCountZero: Semantics = (b, shape) => {
  b.when(b.eqz(b.getFixed(GPR[1].offset, bytesOf(shape.addressWidth))), () => checkAndTakeBranch(b, shape));
};

/** LOOP, LOOPE, LOOPNE: count in CX, ECX or RCX by address size; flags stay. */
export function loop(kind: 'always' | 'equal' | 'notEqual'): Semantics {
  return (b, shape) => {
    const width = shape.addressWidth;
    const old = b.getFixed(GPR[1].offset, bytesOf(width));
    const count = b.sub(old, b.constant(old, 1));
    const left = width === 16 ? b.and(count, b.i32(0xffff)) : count;
    const taken = b.ne(left, b.constant(old, 0));
    const zero = kind === 'always' ? undefined : getZF(b);
    const all = zero === undefined ? taken : b.and(taken, kind === 'equal' ? zero : b.eqz(zero));
    if (isSegmented(shape.mode)) b.when(all, () => checkBranch(b, shape));
    if (width === 32) b.setFixed(GPR[1].offset, 8, b.extendU(left));
    else b.setFixed(GPR[1].offset, bytesOf(width), left);
    b.when(all, () => takeBranch(b, shape));
  };
}

function pushReturnAddress(b: Builder, shape: InstructionShape): void {
  const rip = nextRip(b, shape);
  push(b, shape, shape.operandWidth === 64 ? rip : b.wrap(rip), bytesOf(shape.operandWidth));
}

export const callRelative: Semantics = (b, shape) => {
  checkBranch(b, shape);
  pushReturnAddress(b, shape);
  takeBranch(b, shape);
};

export const jumpIndirect: Semantics = (b, shape) => {
  const target = b.extendU(read(b, shape, shape.operands[0]));
  checkBranchTarget(b, shape, target);
  b.jump(target);
};

export const callIndirect: Semantics = (b, shape) => {
  const target: Value = b.extendU(read(b, shape, shape.operands[0]));
  checkBranchTarget(b, shape, target);
  pushReturnAddress(b, shape);
  b.jump(target);
};

export const returnNear: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  const target = b.extendU(peek(b, shape, bytes));
  checkBranchTarget(b, shape, target);
  drop(b, shape, bytes);
  b.jump(target);
};

/** RET imm16. */
export const returnAndRelease: Semantics = (b, shape) => {
  const bytes = bytesOf(shape.operandWidth);
  const target = b.extendU(peek(b, shape, bytes));
  checkBranchTarget(b, shape, target);
  const released = b.and(b.immediate(), b.i64(0xffff));
  setStackPointer(b, shape, b.add(stackPointerPlus(b, shape, bytes), released));
  b.jump(target);
};

/** LAHF, SAHF, single-flag instructions, PUSHF, POPF (SDM vol. 2). */
import { ARG, CPL, DIRECT, Direct, EFLAGS_SYSTEM, GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import { Flag, getCF, getOF, packArithmeticFlags, packFlags, setCF, setOF, unpackArithmeticFlags } from '../flags.ts';
import { exitNumber } from '../instruction-exit.ts';
import { isSegmented } from '../modes.ts';
import { bytesOf, drop, peek, push } from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { letsInterruptIn } from './levels.ts';

const GENERAL_PROTECTION = 13;
const VM_BIT = 17;
const AH_OFFSET = GPR[0].offset + 1;

export const loadFlagsIntoAh: Semantics = (b) => {
  b.setFixed(AH_OFFSET, 1, b.or(b.and(packArithmeticFlags(b), b.i32(0xd5)), b.i32(2)));
};

/** SAHF: OF stays. */
export const storeAhIntoFlags: Semantics = (b) => {
  const overflow = getOF(b);
  unpackArithmeticFlags(b, b.and(b.getFixed(AH_OFFSET, 1), b.i32(0xd5)));
  setOF(b, overflow);
};

/** SALC: AL = FF if CF is set, else 0. Not in Intel's tables; all processors do it. */
export const setAlOnCarry: Semantics = (b) => {
  b.setFixed(GPR[0].offset, 1, b.neg(getCF(b)));
};

export function changeCarry(change: 'clear' | 'set' | 'complement'): Semantics {
  return (b) => {
    if (change === 'complement') setCF(b, b.xor(getCF(b), b.i32(1)));
    else setCF(b, b.i32(change === 'set' ? 1 : 0));
  };
}

export function setDirection(direction: 0 | 1): Semantics {
  return (b) => {
    const others = b.and(b.get(EFLAGS_SYSTEM), b.i32(~Flag.DF));
    b.set(EFLAGS_SYSTEM, direction ? b.or(others, b.i32(Flag.DF)) : others);
  };
}

/** In virtual-8086 mode PUSHF and POPF need IOPL 3: #GP(0) (SDM vol. 3B, 20.2.7; CR4.VME is not there). */
function checkVirtual8086(b: Builder, shape: InstructionShape): void {
  if (!isSegmented(shape.mode)) return;
  const system = b.get(EFLAGS_SYSTEM);
  const lacksIopl = b.ne(b.and(system, b.i32(Flag.IOPL)), b.i32(Flag.IOPL));
  b.raiseIf(b.and(b.shrU(system, b.i32(VM_BIT)), lacksIopl), GENERAL_PROTECTION, 0);
}

/** PUSHF: VM and RF are pushed as 0. It leaves where the machine keeps IF elsewhere. */
export const pushFlags: Semantics = (b, shape) => {
  checkVirtual8086(b, shape);
  b.when(b.and(b.get(DIRECT), b.i32(Direct.IF_ELSEWHERE)), () => {
    b.set(ARG[0], b.i64(shape.operandWidth));
    b.exit(exitNumber('pushf'));
  });
  const image = b.and(packFlags(b), b.i32(~(Flag.RF | Flag.VM)));
  const bytes = bytesOf(shape.operandWidth);
  push(b, shape, bytes === 8 ? b.extendU(image) : image, bytes);
};

/** What POPF may change here, without TypeScript; TF only to 0. */
const PLAIN_FLAGS = Flag.DF | Flag.NT | Flag.AC | Flag.ID | Flag.TF;

/**
 * POPF. It leaves through an exit when it would set TF or change IOPL, at CPL 0 AC, on which the way to access memory
 * depends, or IF where that is not {@link Direct}, and always where the machine keeps IF elsewhere; an IF or IOPL that the CPL keeps it
 * from changing stays silently (SDM vol. 2B, POPF, table 4-15).
 */
export const popFlags: Semantics = (b, shape) => {
  checkVirtual8086(b, shape);
  const bytes = bytesOf(shape.operandWidth);
  const image = b.wrap(peek(b, shape, bytes));
  const system = b.get(EFLAGS_SYSTEM);
  const cpl = b.get(CPL);
  const iopl = b.and(b.shrU(system, b.i32(12)), b.i32(3));
  const withinIopl = b.select(b.leU(cpl, iopl), b.i32(Flag.IF), b.i32(0));
  const isDirect = b.and(b.ne(b.and(b.get(DIRECT), b.i32(Direct.POPF)), b.i32(0)), b.eqz(letsInterruptIn(b, image)));
  const directly = b.select(isDirect, withinIopl, b.i32(0));
  const sensitive = b.select(cpl, withinIopl, b.i32(Flag.IF | Flag.IOPL | Flag.AC));
  const changes = b.and(b.xor(image, system), b.and(sensitive, b.not(directly)));
  const isElsewhere = b.and(b.get(DIRECT), b.i32(Direct.IF_ELSEWHERE));
  const delicate = b.or(b.or(changes, b.and(image, b.i32(Flag.TF))), isElsewhere);
  b.when(delicate, () => {
    b.set(ARG[0], b.i64(shape.operandWidth));
    b.exit(exitNumber('popf'));
  });
  const plain = bytes === 2 ? PLAIN_FLAGS & 0xffff : PLAIN_FLAGS;
  const taken = b.or(directly, b.i32(plain));
  const kept = b.and(system, b.and(b.not(taken), b.i32(~Flag.RF)));
  b.set(EFLAGS_SYSTEM, b.or(kept, b.and(image, taken)));
  unpackArithmeticFlags(b, image);
  drop(b, shape, bytes);
};

/** SYSENTER, from any level to CPL 0, and SYSEXIT back out to CPL 3, of 32-bit code outside of long mode, without an exit (AMD APM vol. 3). */
import {
  CPL,
  CR0,
  DIRECT,
  Direct,
  EFER,
  EFLAGS_SYSTEM,
  GPR,
  SYSENTER_CS,
  SYSENTER_EIP,
  SYSENTER_ESP,
} from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { Flag } from '../flags.ts';
import { loadFlatSegments } from '../segment-slots.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { runPluginCode } from './direct.ts';
import { isFlatOrSegmented32, keepsMode } from './legacy-return.ts';
import { changeLevel, isLevelKnown, RARE_FLAGS } from './levels.ts';
import { leaveWith } from './system.ts';

const RCX = GPR[1].offset;
const RDX = GPR[2].offset;
const RSP = GPR[4].offset;
const CR0_PE = 1;
const EFER_LMA = 1 << 10;

const selectorBase = (b: Builder): Value => b.and(b.wrap(b.get(SYSENTER_CS)), b.i32(0xfffc));

/** Both are there, and nothing about this change of level is rare. */
function isPlain(b: Builder, shape: InstructionShape, bit: number, level: 'kernel' | 'user'): Value {
  const conditions = [
    b.and(b.get(DIRECT), b.i32(bit)),
    b.and(b.wrap(b.get(CR0)), b.i32(CR0_PE)),
    b.eqz(b.and(b.wrap(b.get(EFER)), b.i32(EFER_LMA))),
    selectorBase(b),
    b.eqz(b.and(b.get(EFLAGS_SYSTEM), b.i32(RARE_FLAGS))),
    isLevelKnown(b, level),
    ...keepsMode(b, shape),
  ];
  return conditions.reduce((sum, each) => b.and(sum, b.ne(each, b.i32(0))), b.i32(1));
}

export const fastEnter: Semantics = (b, shape) => {
  if (isFlatOrSegmented32(shape)) {
    b.when(isPlain(b, shape, Direct.SYSENTER, 'kernel'), () => {
      b.set(EFLAGS_SYSTEM, b.and(b.get(EFLAGS_SYSTEM), b.i32(~(Flag.VM | Flag.IF | Flag.RF))));
      const code = selectorBase(b);
      loadFlatSegments(b, { code, stack: b.add(code, b.i32(8)) }, 'CODE32', 0);
      b.setFixed(RSP, 8, b.extendU(b.wrap(b.get(SYSENTER_ESP))));
      b.set(CPL, b.i32(0));
      changeLevel(b, 'kernel');
      b.jump(b.extendU(b.wrap(b.get(SYSENTER_EIP))));
    });
  }
  if (shape.mode === 'flat32') runPluginCode(b, shape, 'sysenter');
  leaveWith(b, 'sysenter');
};

export const fastExit: Semantics = (b, shape) => {
  if (isFlatOrSegmented32(shape)) {
    const isAllowed = b.and(isPlain(b, shape, Direct.SYSEXIT, 'user'), b.eqz(b.get(CPL)));
    b.when(isAllowed, () => {
      const atCpl3 = (offset: number) => b.or(b.add(selectorBase(b), b.i32(offset)), b.i32(3));
      loadFlatSegments(b, { code: atCpl3(16), stack: atCpl3(24) }, 'CODE32', 3);
      b.setFixed(RSP, 8, b.extendU(b.getFixed(RCX, 4)));
      b.set(CPL, b.i32(3));
      changeLevel(b, 'user');
      b.jump(b.extendU(b.getFixed(RDX, 4)));
    });
  }
  leaveWith(b, 'sysexit', b.i32(shape.operandWidth));
};

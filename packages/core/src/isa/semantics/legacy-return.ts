/** IRETD outside 64-bit mode without an exit: between flat segments, to the same level or out to CPL 3. */
import { CPL, CR0, EFLAGS_SYSTEM, GPR } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { isFlatCode32, isFlatData32, isInGdt, readGdt } from '../descriptor-code.ts';
import { ARITHMETIC_FLAGS, Flag, unpackArithmeticFlags } from '../flags.ts';
import { peek, setStackPointer, stackPointerPlus } from '../operands.ts';
import { isFlatData, isWholeFrom0, loadCode32, loadStack32 } from '../segment-slots.ts';
import type { InstructionShape } from '../types.ts';
import { changeLevel, isLevelKnown, letsInterruptIn, RARE_FLAGS, staysAtCpl3 } from './levels.ts';

const CS = 1;
const SS = 2;
const RSP = GPR[4].offset;
const DATA_SEGMENTS = [0, 3, 4, 5] as const;
const CR0_PE = 1;
const Frame = { EIP: 0, CS: 4, EFLAGS: 8, ESP: 12, SS: 16, SIZE_AT_SAME_LEVEL: 12 } as const;
const IOPL_BIT = 12;

const all = (b: Builder, ...conditions: readonly Value[]): Value => conditions.reduce((sum, each) => b.and(sum, each));
const isSet = (b: Builder, value: Value): Value => b.ne(value, b.i32(0));

/** Whether the mode is one of 32-bit code on a 32-bit stack. */
export const isFlatOrSegmented32 = ({ mode }: InstructionShape): boolean => mode === 'flat32' || mode === 'seg32';

/** Conditions with which 32-bit code stays what it is decoded as when CS and SS become flat, or others that are. */
export const keepsMode = (b: Builder, { mode }: InstructionShape): readonly Value[] =>
  mode === 'seg32' ? [isWholeFrom0(b, CS), isFlatData(b, SS)] : [];

/** Jumps if it can do all of it; else nothing has changed. The caller has seen that it may. */
export function returnIn32(b: Builder, shape: InstructionShape): void {
  const conditions = [
    isSet(b, b.and(b.wrap(b.get(CR0)), b.i32(CR0_PE))),
    b.eqz(b.and(b.get(EFLAGS_SYSTEM), b.i32(RARE_FLAGS))),
    b.ltU(b.get(CPL), b.i32(3)),
    isLevelKnown(b, 'user'),
    isLevelKnown(b, 'kernel'),
    ...keepsMode(b, shape),
  ];
  b.when(all(b, ...conditions), () => returnByFrame(b, shape));
}

function returnByFrame(b: Builder, shape: InstructionShape): void {
  const word = (offset: number) => b.variable(peek(b, shape, 4, offset));
  const [eip, cs, flags] = [word(Frame.EIP), word(Frame.CS), word(Frame.EFLAGS)];
  const selector = () => b.and(b.current(cs), b.i32(0xffff));
  const image = () => b.current(flags);
  const isPlain = b.and(b.eqz(b.and(image(), b.i32(RARE_FLAGS))), b.eqz(letsInterruptIn(b, image())));
  const finish = (code: Value) => {
    loadCode32(b, selector(), code);
    setFlags(b, image());
    b.jump(b.extendU(b.current(eip)));
  };
  b.when(b.and(isPlain, isInGdt(b, selector())), () => {
    const code = b.variable(readGdt(b, selector()));
    const rpl = () => b.and(selector(), b.i32(3));
    b.when(isFlatCode32(b, b.current(code), rpl()), () => {
      b.when(b.eq(rpl(), b.get(CPL)), () => {
        setStackPointer(b, shape, stackPointerPlus(b, shape, Frame.SIZE_AT_SAME_LEVEL));
        finish(b.current(code));
      });
      const nothingToDrop = DATA_SEGMENTS.map((index) => staysAtCpl3(b, index));
      b.when(all(b, b.eq(rpl(), b.i32(3)), ...nothingToDrop), () => {
        const [esp, ss] = [word(Frame.ESP), word(Frame.SS)];
        const outer = () => b.and(b.current(ss), b.i32(0xffff));
        b.when(all(b, b.eq(b.and(outer(), b.i32(3)), b.i32(3)), isInGdt(b, outer())), () => {
          const stack = b.variable(readGdt(b, outer()));
          b.when(isFlatData32(b, b.current(stack), b.i32(3)), () => {
            loadStack32(b, outer(), b.current(stack));
            b.setFixed(RSP, 8, b.extendU(b.current(esp)));
            setFlags(b, image());
            loadCode32(b, selector(), b.current(code));
            b.set(CPL, b.i32(3));
            changeLevel(b, 'user');
            b.jump(b.extendU(b.current(eip)));
          });
        });
      });
    });
  });
}

/** What this level may change (SDM vol. 2A, IRET): IF at or above IOPL, IOPL at CPL 0. */
function setFlags(b: Builder, image: Value): void {
  const old = b.get(EFLAGS_SYSTEM);
  const iopl = b.and(b.shrU(old, b.i32(IOPL_BIT)), b.i32(3));
  const interrupts = b.select(b.leU(b.get(CPL), iopl), b.i32(Flag.IF), b.i32(0));
  const privilege = b.select(b.get(CPL), b.i32(0), b.i32(Flag.IOPL));
  const changed = b.or(b.or(interrupts, privilege), b.i32(Flag.DF | Flag.ID));
  const kept = b.and(old, b.and(b.not(changed), b.i32(~(ARITHMETIC_FLAGS | Flag.RF))));
  b.set(EFLAGS_SYSTEM, b.or(b.or(kept, b.and(image, changed)), b.i32(2)));
  unpackArithmeticFlags(b, image);
}

/**
 * System instructions that a kernel executes all the time, carried out without an exit where DIRECT allows it
 * (cpu/state.ts). What is rare stays with TypeScript, exceptions among it: there is no second copy of such rules here.
 * Each of them ends in the exit that it would be otherwise.
 */
import type { DirectKind } from '@polyvisor/plugin-api';
import {
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  DIRECT,
  Direct,
  EFER,
  EFLAGS_SYSTEM,
  FMASK,
  GDTR_BASE,
  GPR,
  INTERRUPT_WAITS,
  KERNEL_GS_BASE,
  LSTAR,
  SEGMENT_BASE,
  SEGMENT_SELECTOR,
  STAR,
  TSC_AUX,
} from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { isInGdt } from '../descriptor-code.ts';
import { BuilderCode } from '../direct-code.ts';
import { ARITHMETIC_FLAGS, Flag, packFlags, unpackArithmeticFlags } from '../flags.ts';
import { DESCRIPTOR_DPL, FlatDescriptor, FlatRights, RIGHTS_DPL_BIT } from '../flat-segments.ts';
import { linearAddress, nextRip, read, write } from '../operands.ts';
import { loadFlat, loadFlatSegments } from '../segment-slots.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { isFlatOrSegmented32, returnIn32 } from './legacy-return.ts';
import { changeLevel, isLevelKnown, letsInterruptIn, RARE_FLAGS, staysAtCpl3 } from './levels.ts';
import { port, portBytes } from './ports.ts';
import { controlBit, gprIndex, leaveWith, staticValue, writePair } from './system.ts';

const CS = 1;
const GENERAL_PROTECTION = 13;
const CR4_TSD = 1 << 2;
const SS = 2;
const GS = 5;
/** ES, DS, FS, GS: what a return to CPL 3 empties if it is of an inner level. */
const DATA_SEGMENTS = [0, 3, 4, 5] as const;
const RCX = GPR[1].offset;
const RSP = GPR[4].offset;
const R11 = GPR[11].offset;
const EFER_SCE = 1;
const PAGE_BYTES = 4096;
/** RFLAGS that SYSRET takes from R11 (AMD APM vol. 3, SYSRET). */
const SYSRET_FLAGS = 0x3c7fd7;

type DirectBits = (typeof Direct)[keyof typeof Direct];

/** i32 0 or 1: `value` has none of these bits. */
const lacks = (b: Builder, value: Value, bits: number): Value => b.eqz(b.and(value, b.i32(bits)));
const isDirect = (b: Builder, bit: DirectBits): Value => b.ne(b.and(b.get(DIRECT), b.i32(bit)), b.i32(0));
const isCpl0 = (b: Builder): Value => b.eqz(b.get(CPL));
const all = (b: Builder, ...conditions: readonly Value[]): Value => conditions.reduce((sum, each) => b.and(sum, each));
/** RFLAGS.IF may be changed: CPL is not above IOPL. */
function mayChangeInterruptFlag(b: Builder): Value {
  const iopl = b.and(b.shrU(b.get(EFLAGS_SYSTEM), b.i32(12)), b.i32(3));
  return b.leU(b.get(CPL), iopl);
}
function setSystemFlags(b: Builder, image: Value): void {
  b.set(EFLAGS_SYSTEM, b.or(b.and(image, b.i32(~(ARITHMETIC_FLAGS | Flag.RF))), b.i32(2)));
}

/** CLI. */
export const clearInterruptFlag: Semantics = (b) => {
  b.when(b.eqz(b.and(isDirect(b, Direct.CLI), mayChangeInterruptFlag(b))), () => leaveWith(b, 'cli'));
  b.set(EFLAGS_SYSTEM, b.and(b.get(EFLAGS_SYSTEM), b.i32(~Flag.IF)));
};

/**
 * STI. No interrupt may come before the next instruction is done (SDM vol. 2B, STI): none waits, and none is looked for
 * within a page.
 */
export const setInterruptFlag: Semantics = (b) => {
  const staysInPage = b.ltU(b.wrap(b.nextOffset()), b.i32(PAGE_BYTES));
  const nobodyWaits = b.eqz(b.get(INTERRUPT_WAITS));
  const allowed = all(b, isDirect(b, Direct.STI), mayChangeInterruptFlag(b), staysInPage, nobodyWaits);
  b.when(b.eqz(allowed), () => leaveWith(b, 'sti'));
  b.set(EFLAGS_SYSTEM, b.or(b.get(EFLAGS_SYSTEM), b.i32(Flag.IF)));
};

/** CLAC and STAC. */
export function changeAlignmentCheck(name: 'clac' | 'stac'): Semantics {
  const level = name === 'stac' ? 'open' : 'kernel';
  return (b) => {
    const allowed = all(b, isDirect(b, Direct.ALIGNMENT_CHECK), isCpl0(b), isLevelKnown(b, level));
    b.when(b.eqz(allowed), () => leaveWith(b, name));
    const others = b.and(b.get(EFLAGS_SYSTEM), b.i32(~Flag.AC));
    b.set(EFLAGS_SYSTEM, name === 'stac' ? b.or(others, b.i32(Flag.AC)) : others);
    changeLevel(b, level);
  };
}

/** PAUSE: nothing, or the end of the turn. */
export const pause: Semantics = (b) => {
  b.when(isDirect(b, Direct.PAUSE_LEAVES), () => leaveWith(b, 'pause'));
};

/** RDTSC, RDTSCP: CR4.TSD keeps them to CPL 0. */
export function readTimeStamp(withProcessor: boolean): Semantics {
  return (b) => {
    b.raiseIf(b.select(b.get(CPL), controlBit(b, CR4_TSD), b.i32(0)), GENERAL_PROTECTION, 0);
    b.when(isDirect(b, Direct.TSC_LEAVES), () => leaveWith(b, withProcessor ? 'rdtscp' : 'rdtsc'));
    writePair(b, b.helper('rdtsc', [], { result: 'i64' }));
    if (withProcessor) b.setFixed(GPR[1].offset, 8, b.extendU(b.get(TSC_AUX)));
  };
}

export const swapGs: Semantics = (b) => {
  b.when(b.eqz(b.and(isDirect(b, Direct.SWAPGS), isCpl0(b))), () => leaveWith(b, 'swapgs'));
  const base = b.variable(b.get(SEGMENT_BASE[GS]));
  b.set(SEGMENT_BASE[GS], b.get(KERNEL_GS_BASE));
  b.set(KERNEL_GS_BASE, b.current(base));
};

/** SYSCALL from 64-bit mode to CPL 0, or by a plug-in's code. */
export const systemCall: Semantics = (b, shape) => {
  if (shape.mode === 'long64') {
    runPluginCode(b, shape, 'syscall');
    const conditions = [
      isDirect(b, Direct.SYSCALL),
      b.and(b.wrap(b.get(EFER)), b.i32(EFER_SCE)),
      isLevelKnown(b, 'kernel'),
      lacks(b, b.get(EFLAGS_SYSTEM), RARE_FLAGS),
    ];
    b.when(all(b, ...conditions), () => enterKernel(b, shape));
  }
  leaveWith(b, 'syscall');
};

/** VMCALL. */
export const hypercall: Semantics = (b, shape) => {
  runPluginCode(b, shape, 'hypercall');
  leaveWith(b, 'vmcall');
};

/** INT n. */
export const softwareInterrupt: Semantics = (b, shape) => {
  runPluginCode(b, shape, 'softwareInterrupt');
  leaveWith(b, 'softwareInterrupt', b.and(b.immediate(), b.i64(0xff)));
};

/** IN: an exit, or what a plug-in's code makes of it. */
export const input: Semantics = (b, shape) => {
  runPluginCode(b, shape, 'in');
  leaveWith(b, 'in', port(b, shape, 1), b.i32(portBytes(shape)));
};

/** What a plug-in has built to stand before an instruction's exit. */
export function runPluginCode(b: Builder, shape: InstructionShape, kind: DirectKind): void {
  const build = b.directCode.get(kind);
  if (!build) return;
  b.hasDirectCode = true;
  b.when(isDirect(b, Direct.PLUGIN_CODE), () => build(new BuilderCode(b, shape)));
}

function enterKernel(b: Builder, shape: InstructionShape): void {
  const image = b.and(packFlags(b), b.i32(~Flag.RF));
  b.setFixed(R11, 8, b.extendU(image));
  b.setFixed(RCX, 8, nextRip(b, shape));
  const entered = b.and(image, b.not(b.wrap(b.get(FMASK))));
  setSystemFlags(b, entered);
  unpackArithmeticFlags(b, entered);
  const selector = b.and(b.wrap(b.shrU(b.get(STAR), b.i64(32))), b.i32(0xfffc));
  loadFlatSegments(b, { code: selector, stack: b.add(selector, b.i32(8)) }, 'CODE64', 0);
  b.set(CPL, b.i32(0));
  changeLevel(b, 'kernel');
  b.jump(b.get(LSTAR));
}

/** SYSRET to 64-bit mode. */
export const systemReturn: Semantics = (b, shape) => {
  if (shape.mode === 'long64' && shape.operandWidth === 64) {
    const image = b.and(b.getFixed(R11, 4), b.i32(SYSRET_FLAGS));
    const conditions = [
      isDirect(b, Direct.SYSRET),
      b.and(b.wrap(b.get(EFER)), b.i32(EFER_SCE)),
      isCpl0(b),
      isLevelKnown(b, 'user'),
      lacks(b, image, RARE_FLAGS),
      b.eqz(letsInterruptIn(b, image)),
    ];
    b.when(all(b, ...conditions), () => {
      const returned = b.and(b.getFixed(R11, 4), b.i32(SYSRET_FLAGS));
      setSystemFlags(b, returned);
      unpackArithmeticFlags(b, returned);
      const base = b.and(b.wrap(b.shrU(b.get(STAR), b.i64(48))), b.i32(0xfffc));
      const atCpl3 = (offset: number) => b.or(b.add(base, b.i32(offset)), b.i32(3));
      loadFlatSegments(b, { code: atCpl3(16), stack: atCpl3(8) }, 'CODE64', 3);
      b.set(CPL, b.i32(3));
      changeLevel(b, 'user');
      b.jump(b.getFixed(RCX, 8));
    });
  }
  leaveWith(b, 'sysret', b.i32(shape.operandWidth));
};

/** IRETQ in 64-bit mode at CPL 0, to flat segments of level 0 or 3, or by a plug-in's code; IRETD in 32-bit code. */
export const interruptReturn: Semantics = (b, shape) => {
  if (isFlatOrSegmented32(shape) && shape.operandWidth === 32)
    b.when(isDirect(b, Direct.IRET), () => returnIn32(b, shape));
  if (shape.mode === 'long64' && shape.operandWidth === 64) {
    runPluginCode(b, shape, 'iret');
    const conditions = [
      isDirect(b, Direct.IRET),
      isCpl0(b),
      lacks(b, b.get(EFLAGS_SYSTEM), Flag.NT),
      isLevelKnown(b, 'user'),
      isLevelKnown(b, 'kernel'),
    ];
    b.when(all(b, ...conditions), () => returnByFrame(b));
  }
  leaveWith(b, 'iret', b.i32(shape.operandWidth));
};

function returnByFrame(b: Builder): void {
  const word = (index: number) => b.load(b.add(b.getFixed(RSP, 8), b.i64(index * 8)), 8);
  const [rip, cs, flags, rsp, ss] = [0, 1, 2, 3, 4].map((index) => b.variable(word(index)));
  const selector = (variable: typeof cs) => b.and(b.wrap(b.current(variable)), b.i32(0xffff));
  const image = () => b.wrap(b.current(flags));
  const canonical = b.eq(b.shrS(b.shl(b.current(rip), b.i64(16)), b.i64(16)), b.current(rip));
  const plain = all(b, canonical, lacks(b, image(), RARE_FLAGS), b.eqz(letsInterruptIn(b, image())));
  const finish = (dpl: 0 | 3) => {
    setSystemFlags(b, image());
    unpackArithmeticFlags(b, image());
    loadFlat(b, CS, selector(cs), b.i32(FlatRights.CODE64 | (dpl << RIGHTS_DPL_BIT)));
    b.setFixed(RSP, 8, b.current(rsp));
    b.set(CPL, b.i32(dpl));
    changeLevel(b, dpl === 0 ? 'kernel' : 'user');
    b.jump(b.current(rip));
  };
  b.when(b.and(plain, isInGdt(b, selector(cs))), () => {
    b.when(isFlat(b, selector(cs), 'CODE64', 3), () => {
      const nothingToDrop = DATA_SEGMENTS.map((index) => staysAtCpl3(b, index));
      b.when(all(b, ...nothingToDrop, isInGdt(b, selector(ss))), () => {
        b.when(isFlat(b, selector(ss), 'DATA', 3), () => {
          loadFlat(b, SS, selector(ss), b.i32(FlatRights.DATA | (3 << RIGHTS_DPL_BIT)));
          finish(3);
        });
      });
    });
    b.when(isFlat(b, selector(cs), 'CODE64', 0), () => {
      const isLoaded = b.eq(selector(ss), b.and(b.get(SEGMENT_SELECTOR[SS]), b.i32(0xffff)));
      // A null SS is one at level 0, and stays.
      b.when(b.and(isLoaded, b.eqz(selector(ss))), () => finish(0));
      b.when(isInGdt(b, selector(ss)), () => {
        b.when(isFlat(b, selector(ss), 'DATA', 0), () => {
          loadFlat(b, SS, selector(ss), b.i32(FlatRights.DATA));
          finish(0);
        });
      });
    });
  });
}

/** i32 0 or 1: its descriptor is the flat one of this level, and it asks for this level. Reads the GDT. */
function isFlat(b: Builder, selector: Value, kind: keyof typeof FlatDescriptor, dpl: 0 | 3): Value {
  const offset = b.extendU(b.and(selector, b.i32(0xfff8)));
  const descriptor = b.load(b.add(b.get(GDTR_BASE), offset), 8);
  const expected = FlatDescriptor[kind] | (dpl === 3 ? DESCRIPTOR_DPL : 0n);
  const asksForIt = b.eq(b.and(selector, b.i32(3)), b.i32(dpl));
  return b.and(b.eq(descriptor, b.i64(expected)), asksForIt);
}

/** INVLPG: the next instruction is fetched anew. */
export const invalidatePage: Semantics = (b, shape) => {
  const address = b.variable(linearAddress(b, shape, shape.operands[0], 'none', 0));
  b.when(b.and(isDirect(b, Direct.INVLPG), isCpl0(b)), () => {
    b.helper('invlpg', [b.current(address)]);
    b.jump(nextRip(b, shape));
  });
  leaveWith(b, 'invlpg', b.current(address));
};

/** MOV from a control register that is a slot. */
const READABLE = new Map([
  [0, CR0],
  [2, CR2],
  [3, CR3],
  [4, CR4],
]);
export const readControl: Semantics = (b, shape) => {
  const index = staticValue(shape, 1);
  const register = READABLE.get(index);
  const allowed = register ? b.and(isDirect(b, Direct.READ_CR), isCpl0(b)) : b.i32(0);
  b.when(b.eqz(allowed), () => leaveWith(b, 'readCr', b.i32(index), gprIndex(b, 'rm')));
  if (!register) return;
  const value = b.get(register);
  write(b, shape, shape.operands[0], shape.operandWidth === 64 ? value : b.wrap(value));
};

/** MOV to a control register; CR3 by a helper that does all of it. */
export const writeControl: Semantics = (b, shape) => {
  const index = staticValue(shape, 0);
  const value = b.variable(b.extendU(read(b, shape, shape.operands[1])));
  if (index === 3) {
    b.when(b.and(isDirect(b, Direct.WRITE_CR3), isCpl0(b)), () => {
      b.helper('writeCr3', [b.current(value)], { mayFault: true });
      b.jump(nextRip(b, shape));
    });
  }
  leaveWith(b, 'writeCr', b.i32(index), gprIndex(b, 'rm'), b.current(value));
};

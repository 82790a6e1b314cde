/**
 * System instructions (SDM vol. 2). Most of them are exits: the IR reads their operands into ARG slots
 * (instruction-exit.ts lists which) and TypeScript does the rest, privilege checks included.
 */
import {
  ARG,
  CR0,
  CR4,
  GDTR_BASE,
  GDTR_LIMIT,
  GPR,
  IDTR_BASE,
  IDTR_LIMIT,
  LDTR_SELECTOR,
  SEGMENT_BASE,
  SEGMENT_SELECTOR,
  type Slot,
  TR_SELECTOR,
  XCR0,
} from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { getOF, setZF, unpackArithmeticFlags } from '../flags.ts';
import { exitNumber, type InstructionExitName } from '../instruction-exit.ts';
import {
  bytesOf,
  linearAddress,
  linearAddressPlus,
  read,
  requireProtectedMode,
  segmentAddress,
  truncateAddress,
  write,
} from '../operands.ts';
import type { InstructionShape, Semantics } from '../types.ts';
import { operandWidth } from './alu.ts';
import { dataSegment } from './mov.ts';

const BOUND_RANGE = 5;
const UNDEFINED_OPCODE = 6;
const GENERAL_PROTECTION = 13;
const CR4_FSGSBASE = 1 << 16;
const CR4_OSXSAVE = 1 << 18;

/** Leave through an exit, with these values in the ARG slots. */
export function leaveWith(b: Builder, name: InstructionExitName, ...values: readonly Value[]): void {
  values
    .map((value) => b.extendU(value))
    .forEach((value, i) => {
      b.set(ARG[i], value);
    });
  b.exit(exitNumber(name));
}

export function exitOnly(name: InstructionExitName): Semantics {
  return (b) => leaveWith(b, name);
}

/** An exit whose one argument is the 16-bit operand. */
export function exitWithSelector(name: InstructionExitName): Semantics {
  return (b, shape) => leaveWith(b, name, read(b, shape, shape.operands[0]));
}

/** LAR and LSL. */
export function examineSelector(name: 'lar' | 'lsl'): Semantics {
  return (b, shape) => {
    leaveWith(b, name, read(b, shape, shape.operands[1]), gprIndex(b, 'reg'), b.i32(shape.operandWidth));
  };
}

export const raiseUndefined: Semantics = (b) => b.raise(UNDEFINED_OPCODE);
export const noOperation: Semantics = () => {};

/** CLFLUSH: checked like a read; there is no cache to flush. */
export const flushLine: Semantics = (b, shape) => {
  b.load(linearAddress(b, shape, shape.operands[0], 'read', 1), 1);
};

export const interruptOnOverflow: Semantics = (b) => b.when(getOF(b), () => leaveWith(b, 'into'));

// ---- control and debug registers ----
export const staticValue = (shape: InstructionShape, index: number): number => {
  const operand = shape.operands[index];
  if (operand.kind !== 'static') throw new Error(`${shape.key}: operand ${index} is not fixed`);
  return operand.value;
};
/** Number of the general register that a record field names (i64). */
export function gprIndex(b: Builder, field: 'reg' | 'rm'): Value {
  return b.shrU(b.sub(b.registerOffset(field), b.i64(GPR[0].offset)), b.i64(3));
}
/** MOV from a debug register. */
export const readDebug: Semantics = (b, shape) => {
  leaveWith(b, 'readDr', b.i32(staticValue(shape, 1)), gprIndex(b, 'rm'));
};
/** MOV to a debug register. */
export const writeDebug: Semantics = (b, shape) => {
  leaveWith(b, 'writeDr', b.i32(staticValue(shape, 0)), gprIndex(b, 'rm'), read(b, shape, shape.operands[1]));
};

/** A value (i64) in the type and size of a `Rv/Mw` operand. */
function storeSystemValue(b: Builder, shape: InstructionShape, value: Value): void {
  const [operand] = shape.operands;
  write(b, shape, operand, operand.kind === 'gpr' && operand.width === 64 ? value : b.wrap(value));
}
/** SMSW. UMIP is NOT IMPLEMENTED (not advertised). */
export const storeMachineStatus: Semantics = (b, shape) => storeSystemValue(b, shape, b.get(CR0));
/** SLDT, STR. */
export function storeSelector(which: 'ldt' | 'tr'): Semantics {
  const slot = which === 'ldt' ? LDTR_SELECTOR : TR_SELECTOR;
  return (b, shape) => {
    requireProtectedMode(b, shape);
    storeSystemValue(b, shape, b.extendU(b.and(b.get(slot), b.i32(0xffff))));
  };
}

// ---- descriptor tables ----
/** SGDT, SIDT: both writes are checked before the first is done. */
export function storeTable(table: 'gdt' | 'idt'): Semantics {
  const [base, limit]: readonly [Slot, Slot] = table === 'gdt' ? [GDTR_BASE, GDTR_LIMIT] : [IDTR_BASE, IDTR_LIMIT];
  return (b, shape) => {
    const [operand] = shape.operands;
    const bytes = shape.operandWidth === 64 ? 8 : 4;
    const first = b.loadForUpdate(linearAddress(b, shape, operand, 'write', 2), 2);
    const second = b.loadForUpdate(linearAddressPlus(b, shape, operand, b.i64(2), 'write', bytes), bytes);
    b.storeUpdate(first.handle, 2, b.get(limit));
    b.storeUpdate(second.handle, bytes, bytes === 8 ? b.get(base) : b.wrap(b.get(base)));
  };
}
/** LGDT, LIDT: with a 16-bit operand size the base has 24 bits. */
export function loadTable(name: 'lgdt' | 'lidt'): Semantics {
  return (b, shape) => {
    const [operand] = shape.operands;
    const limit = b.load(linearAddress(b, shape, operand, 'read', 2), 2);
    const bytes = shape.operandWidth === 64 ? 8 : 4;
    const base = b.load(linearAddressPlus(b, shape, operand, b.i64(2), 'read', bytes), bytes);
    leaveWith(b, name, limit, shape.operandWidth === 16 ? b.and(base, b.i32(0xffffff)) : base);
  };
}
export const invalidateProcessContext: Semantics = (b, shape) => {
  const [type, descriptor] = shape.operands;
  const low = b.load(linearAddress(b, shape, descriptor, 'read', 8), 8);
  const high = b.load(linearAddressPlus(b, shape, descriptor, b.i64(8), 'read', 8), 8);
  leaveWith(b, 'invpcid', read(b, shape, type), low, high);
};
export const monitor: Semantics = (b, shape) => {
  const offset = truncateAddress(b, shape, b.getFixed(GPR[0].offset, 8));
  leaveWith(b, 'monitor', segmentAddress(b, shape, dataSegment(shape), offset, 'read', 1));
};

/** Instructions of hardware assistance that take an address in rAX (AMD APM vol. 3, VMRUN). */
export const leaveWithAddress =
  (name: InstructionExitName): Semantics =>
  (b, shape) =>
    leaveWith(b, name, truncateAddress(b, shape, b.getFixed(GPR[0].offset, 8)));

/**
 * Those whose one operand is a pointer in memory (SDM vol. 3C, VMXON). Whether it can be read or written is found out by who carries the
 * instruction out, after all else that it depends on.
 */
export const leaveWithPointer =
  (name: InstructionExitName): Semantics =>
  (b, shape) =>
    leaveWith(b, name, linearAddress(b, shape, shape.operands[0], 'none', 8));

/** What stands for the number of a register where the operand is memory. */
const IN_MEMORY = 16;
/** Those with a register and an operand of either kind; the latter is `operands[rm]`. */
export const leaveWithOperands =
  (name: InstructionExitName, rm: 0 | 1): Semantics =>
  (b, shape) => {
    const operand = shape.operands[rm];
    const inMemory = operand.kind === 'mem';
    const address = inMemory ? linearAddress(b, shape, operand, 'none', 8) : b.i64(0);
    const register = inMemory ? b.i64(IN_MEMORY) : gprIndex(b, 'rm');
    leaveWith(b, name, address, register, gprIndex(b, 'reg'), b.i32(shape.operandWidth));
  };

// ---- segments and far transfers ----
/** MOV from a segment register: a 32- or 64-bit register gets zeros above. */
export const readSegment: Semantics = (b, shape) => {
  const selector = b.and(b.get(SEGMENT_SELECTOR[staticValue(shape, 1)]), b.i32(0xffff));
  storeSystemValue(b, shape, b.extendU(selector));
};

/**
 * Offset and selector of a far pointer in memory. With REX.W it has no more than 32 bits of offset, zero-extended: m16:32, as AMD's
 * processors read it (AMD APM vol. 3, CALL (Far); seen on one), where Intel's read m16:64.
 */
function readFarPointer(b: Builder, shape: InstructionShape, index: number): { offset: Value; selector: Value } {
  const operand = shape.operands[index];
  const bytes = shape.operandWidth === 16 ? 2 : 4;
  const offset = b.load(linearAddress(b, shape, operand, 'read', bytes), bytes);
  const selector = b.load(linearAddressPlus(b, shape, operand, b.i64(bytes), 'read', 2), 2);
  return { offset, selector };
}
/** LDS, LES, LSS, LFS, LGS. */
export function loadFarPointer(segment: number): Semantics {
  return (b, shape) => {
    const { offset, selector } = readFarPointer(b, shape, 1);
    leaveWith(b, 'loadFarPointer', b.i32(segment), selector, offset, gprIndex(b, 'reg'), b.i32(shape.operandWidth));
  };
}
export function farIndirect(name: 'farJump' | 'farCall'): Semantics {
  return (b, shape) => {
    const { offset, selector } = readFarPointer(b, shape, 0);
    leaveWith(b, name, selector, offset, b.i32(shape.operandWidth));
  };
}
export function farDirect(name: 'farJump' | 'farCall'): Semantics {
  return (b, shape) => {
    const pointer = b.immediate();
    const width = b.i32(shape.operandWidth);
    leaveWith(b, name, b.shrU(pointer, b.i64(32)), b.and(pointer, b.i64(0xffffffffn)), width);
  };
}
export const farReturn: Semantics = (b, shape) => {
  const released = shape.operands.length > 0 ? b.and(b.immediate(), b.i64(0xffff)) : b.i64(0);
  leaveWith(b, 'farReturn', b.i32(shape.operandWidth), released);
};

/** ARPL: raise the destination's RPL to the source's. */
export const adjustRpl: Semantics = (b, shape) => {
  requireProtectedMode(b, shape);
  const source = b.and(read(b, shape, shape.operands[1]), b.i32(3));
  const [destination] = shape.operands;
  const target = read(b, shape, destination);
  const lower = b.ltU(b.and(target, b.i32(3)), source);
  // Written, and so checked for writing, only if the RPL changes.
  b.when(lower, () => write(b, shape, destination, b.or(b.and(target, b.i32(0xfffc)), source)));
  setZF(b, lower);
};
/** BOUND: lower and upper bound stand one after the other in memory. */
export const checkBounds: Semantics = (b, shape) => {
  const [indexOperand, bounds] = shape.operands;
  const bytes = bytesOf(shape.operandWidth);
  const signed = (value: Value) => (bytes === 2 ? b.extend16S(value) : value);
  const lower = signed(b.load(linearAddress(b, shape, bounds, 'read', bytes), bytes));
  const upper = signed(b.load(linearAddressPlus(b, shape, bounds, b.i64(bytes), 'read', bytes), bytes));
  const index = signed(read(b, shape, indexOperand));
  b.raiseIf(b.or(b.ltS(index, lower), b.gtS(index, upper)), BOUND_RANGE);
};

// ---- time stamp, XCR0, FS and GS bases ----
export const controlBit = (b: Builder, bit: number) => b.and(b.wrap(b.get(CR4)), b.i32(bit));

/** RDRAND, RDSEED: 0 and no carry where there is no number at present, and so once in 2^64 times beside. */
export const readRandom: Semantics = (b, shape) => {
  const number = b.helper('random', [], { result: 'i64' });
  write(b, shape, shape.operands[0], operandWidth(shape, 0) === 64 ? number : b.wrap(number));
  unpackArithmeticFlags(b, b.eqz(b.eqz(number)));
};

/** EDX:EAX = value. */
export function writePair(b: Builder, value: Value): void {
  b.setFixed(GPR[0].offset, 8, b.and(value, b.i64(0xffffffffn)));
  b.setFixed(GPR[2].offset, 8, b.shrU(value, b.i64(32)));
}
/** XGETBV: XCR0 only. */
export const readExtendedControl: Semantics = (b) => {
  b.raiseIf(b.eqz(controlBit(b, CR4_OSXSAVE)), UNDEFINED_OPCODE);
  b.raiseIf(b.getFixed(GPR[1].offset, 4), GENERAL_PROTECTION, 0);
  writePair(b, b.get(XCR0));
};

export function readBase(segment: 4 | 5): Semantics {
  return (b, shape) => {
    b.raiseIf(b.eqz(controlBit(b, CR4_FSGSBASE)), UNDEFINED_OPCODE);
    const base = b.get(SEGMENT_BASE[segment]);
    write(b, shape, shape.operands[0], shape.operandWidth === 64 ? base : b.wrap(base));
  };
}
/** WRFSBASE, WRGSBASE: #GP(0) for a base that is not canonical (48 bits). */
export function writeBase(segment: 4 | 5): Semantics {
  return (b, shape) => {
    b.raiseIf(b.eqz(controlBit(b, CR4_FSGSBASE)), UNDEFINED_OPCODE);
    const base = b.extendU(read(b, shape, shape.operands[0]));
    const canonical = b.shrS(b.shl(base, b.i64(16)), b.i64(16));
    b.raiseIf(b.ne(base, canonical), GENERAL_PROTECTION, 0);
    b.set(SEGMENT_BASE[segment], base);
  };
}

/** x87 helpers: arithmetic, comparison, examination and the stack. Operands of memory arrive as raw bits. */

import { type Extended, fromInteger, isNan, kindOf, type Result, signOf, toFinite, widen, zeroOf } from './extended.ts';
import { binary32, binary64 } from './ieee.ts';
import { compare, Flags } from './softfloat.ts';
import { DONE, type Helper } from './types.ts';
import {
  arithmetic,
  denormalFlag,
  extract,
  remainder,
  root,
  roundToInteger,
  scale,
  specialOperands,
  type X87Operation,
} from './x87-arithmetic.ts';
import { Status, X87State } from './x87-state.ts';

/** Where an operand comes from, as IR passes it. */
export const Source = { register: 0, f32: 1, f64: 2, i16: 3, i32: 4, i64: 5, f80: 6, bcd: 7, constant: 8 } as const;
export const X87_OPERATIONS: readonly X87Operation[] = ['add', 'mul', 'sub', 'subr', 'div', 'divr'];
export const x87OperationNumber = (name: X87Operation): number => X87_OPERATIONS.indexOf(name);

/** Wrap a function on the unit as a helper. */
export const onUnit =
  (body: (unit: X87State) => unknown): Helper =>
  (state, base) => {
    body(new X87State(state, base));
    return DONE;
  };

/** A memory operand of arithmetic as a register would hold it. */
export function memoryOperand(source: number, bits: bigint): { value: Extended; denormal: boolean } {
  switch (source) {
    case Source.f32:
      return widen(bits & 0xffffffffn, binary32);
    case Source.f64:
      return widen(bits, binary64);
    case Source.i16:
      return { value: fromInteger(BigInt.asIntN(16, bits)), denormal: false };
    case Source.i32:
      return { value: fromInteger(BigInt.asIntN(32, bits)), denormal: false };
    default:
      return { value: fromInteger(BigInt.asIntN(64, bits)), denormal: false };
  }
}

interface OtherOperand {
  readonly value: Extended;
  readonly empty: boolean;
  /** DE that the operand's own format brings, where no NaN takes over. */
  readonly flags: number;
}
function otherOperand(unit: X87State, source: number, bits: bigint): OtherOperand {
  if (source === Source.register)
    return { value: unit.read(Number(bits)), empty: unit.isEmpty(Number(bits)), flags: 0 };
  const { value, denormal } = memoryOperand(source, bits);
  return { value, empty: false, flags: denormal ? Flags.denormal : 0 };
}

/** ARG: operation, destination ST, source kind, source (ST or bits), pops. */
const x87Arithmetic = onUnit((unit) => {
  const operation = X87_OPERATIONS[unit.integerArgument(0)];
  const destination = unit.integerArgument(1);
  const other = otherOperand(unit, unit.integerArgument(2), unit.argument(3));
  const write = (value: Extended) => {
    unit.write(destination, value);
    unit.pop(unit.integerArgument(4));
  };
  if (other.empty || unit.isEmpty(destination)) return unit.underflow(write);
  const left = unit.read(destination);
  const result = arithmetic(operation, left, other.value, unit.control);
  unit.complete(withMemoryDenormal(result, left, other), write);
});

/** A denormal of memory is normal once widened: its DE comes on top, unless a NaN or another early exception wins. */
function withMemoryDenormal(result: Result, left: Extended, other: OtherOperand): Result {
  const overridden =
    isNan(kindOf(left)) ||
    kindOf(left) === 'unsupported' ||
    (result.flags & (Flags.invalid | Flags.divideByZero)) !== 0;
  return other.flags && !overridden ? { ...result, flags: result.flags | other.flags } : result;
}

const UNORDERED = Status.C3 | Status.C2 | Status.C0;
const CODES = { less: Status.C0, equal: Status.C3, greater: 0 } as const;

function compareExtended(a: Extended, c: Extended, signalQuiet: boolean): { codes: number; flags: number } {
  const special = specialOperands(a, c);
  if (special) return { codes: UNORDERED, flags: signalQuiet ? Flags.invalid : special.flags };
  const [ka, kc] = [kindOf(a), kindOf(c)];
  const flags = denormalFlag(ka, kc);
  const rank = (value: Extended, infinite: boolean) => (infinite ? (signOf(value) ? -1 : 1) : 0);
  const [ra, rc] = [rank(a, ka === 'infinity'), rank(c, kc === 'infinity')];
  const order = ra !== 0 || rc !== 0 ? ra - rc : compare(toFinite(a), toFinite(c));
  return { codes: order < 0 ? CODES.less : order > 0 ? CODES.greater : CODES.equal, flags };
}

/** The codes of ST0 against an operand; not `completed` where an unmasked exception forbids popping. */
function compareWith(unit: X87State, other: OtherOperand, signalQuiet: boolean): { codes: number; completed: boolean } {
  if (other.empty || unit.isEmpty(0)) {
    unit.setCodes(Status.C1, 0);
    return { codes: UNORDERED, completed: unit.raise(Status.IE | Status.SF) };
  }
  const found = compareExtended(unit.read(0), other.value, signalQuiet);
  const flags = found.codes === UNORDERED ? found.flags : found.flags | other.flags;
  return { codes: found.codes, completed: unit.raise(flags) };
}

/** FCOM, FUCOM, FICOM and FTST (against the constant 0). ARG: source kind, source, signal quiet NaNs, pops. */
const x87Compare = onUnit((unit) => {
  const source = unit.integerArgument(0);
  const other =
    source === Source.constant
      ? { value: zeroOf(0), empty: false, flags: 0 }
      : otherOperand(unit, source, unit.argument(1));
  const { codes, completed } = compareWith(unit, other, unit.integerArgument(2) !== 0);
  unit.setCodes(UNORDERED | Status.C1, codes);
  if (completed) unit.pop(unit.integerArgument(3));
});

/** FCOMI, FUCOMI: C1 stays unless the stack is at fault. ARG: ST index, signal quiet NaNs, pops; RESULT[0]: RFLAGS. */
const x87CompareFlags = onUnit((unit) => {
  const other = otherOperand(unit, Source.register, unit.argument(0));
  const { codes, completed } = compareWith(unit, other, unit.integerArgument(1) !== 0);
  unit.setResult(0, (codes & Status.C3 ? 0x40n : 0n) | (codes & Status.C2 ? 4n : 0n) | (codes & Status.C0 ? 1n : 0n));
  if (completed) unit.pop(unit.integerArgument(2));
});

/** FCMOVcc. ARG: ST index, condition. */
const x87ConditionalMove = onUnit((unit) => {
  const from = unit.integerArgument(0);
  const write = (value: Extended) => unit.write(0, value);
  if (unit.isEmpty(0) || unit.isEmpty(from)) return unit.underflow(write);
  if (unit.integerArgument(1) !== 0) write(unit.read(from));
});

/** FXCH. ARG: ST index. Empty registers take the indefinite first, if IE is masked. */
const x87Exchange = onUnit((unit) => {
  const other = unit.integerArgument(0);
  const swap = () => {
    const [a, c] = [unit.read(0), unit.read(other)];
    unit.write(0, c);
    unit.write(other, a);
  };
  if (!unit.isEmpty(0) && !unit.isEmpty(other)) {
    unit.setCodes(Status.C1, 0);
    return swap();
  }
  unit.underflow((indefinite) => {
    if (unit.isEmpty(0)) unit.write(0, indefinite);
    if (unit.isEmpty(other)) unit.write(other, indefinite);
    swap();
  });
});

const EXAMINED = {
  unsupported: 0,
  signaling: Status.C0,
  quiet: Status.C0,
  normal: Status.C2,
  infinity: Status.C2 | Status.C0,
  zero: Status.C3,
  denormal: Status.C3 | Status.C2,
} as const;
/** FXAM: class and sign (C1) of ST0; an empty register has C3 and C0. */
const x87Examine = onUnit((unit) => {
  const value = unit.read(0);
  const codes = unit.isEmpty(0) ? Status.C3 | Status.C0 : EXAMINED[kindOf(value)];
  unit.setCodes(UNORDERED | Status.C1, codes | (signOf(value) ? Status.C1 : 0));
});

/** An operation on ST0 alone. */
export const unary = (f: (value: Extended, control: number) => Result): Helper =>
  onUnit((unit) => {
    const write = (value: Extended) => unit.write(0, value);
    if (unit.isEmpty(0)) return unit.underflow(write);
    unit.complete(f(unit.read(0), unit.control), write);
  });

/** FCHS and FABS: every bit pattern is welcome. */
const signChange = (f: (signExponent: number) => number): Helper =>
  unary((value) => ({ value: { ...value, signExponent: f(value.signExponent) }, flags: 0, roundedUp: false }));

/** FSCALE. */
const x87Scale = onUnit((unit) => {
  const write = (value: Extended) => unit.write(0, value);
  if (unit.isEmpty(0) || unit.isEmpty(1)) return unit.underflow(write);
  unit.complete(scale(unit.read(0), unit.read(1), unit.control), write);
});

/** FPREM and FPREM1. ARG: 1 for FPREM1. */
const x87Remainder = onUnit((unit) => {
  const write = (value: Extended) => unit.write(0, value);
  if (unit.isEmpty(0) || unit.isEmpty(1)) {
    unit.setCodes(Status.C2, 0);
    return unit.underflow(write);
  }
  const { result, quotient, partial } = remainder(
    unit.read(0),
    unit.read(1),
    unit.integerArgument(0) !== 0,
    unit.control,
  );
  const completes = unit.complete(result, write);
  if (!completes || quotient === undefined) return unit.setCodes(Status.C2 | Status.C1, 0);
  const codes = (quotient & 4 ? Status.C0 : 0) | (quotient & 2 ? Status.C3 : 0) | (quotient & 1 ? Status.C1 : 0);
  unit.setCodes(UNORDERED | Status.C1, partial ? Status.C2 : codes);
});

/** FXTRACT: ST0 becomes the exponent, then the significand is pushed. */
const x87Extract = onUnit((unit) => {
  const both = (value: Extended) => {
    unit.write(0, value);
    unit.push(value);
  };
  if (unit.isEmpty(0)) return unit.underflow(both);
  if (!unit.isEmpty(7)) return unit.overflow(both);
  const { exponent, significand } = extract(unit.read(0));
  unit.complete(exponent, (value) => {
    unit.write(0, value);
    unit.push(significand.value);
  });
});

export const x87OperateHelpers: Record<string, Helper> = {
  x87Arithmetic,
  x87Compare,
  x87CompareFlags,
  x87ConditionalMove,
  x87Exchange,
  x87Examine,
  x87Scale,
  x87Remainder,
  x87Extract,
  x87ChangeSign: signChange((signExponent) => signExponent ^ 0x8000),
  x87Absolute: signChange((signExponent) => signExponent & 0x7fff),
  x87Root: unary(root),
  x87RoundToInteger: unary(roundToInteger),
};

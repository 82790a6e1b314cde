/** x87 helpers: loads and stores in all formats (SDM vol. 1, 8.3.3, and vol. 2A FLD, FST, FIST, FBLD, FBSTP). */
import {
  type Extended,
  exact,
  fromFinite,
  fromInteger,
  isNan,
  kindOf,
  type Result,
  roundingOf,
  SIGN,
  signOf,
  toFinite,
} from './extended.ts';
import { type BinaryFormat, binary32, binary64, infinity, type Outcome, pack } from './ieee.ts';
import { bitLength, Flags, toInteger } from './softfloat.ts';
import type { Helper } from './types.ts';
import { memoryOperand, onUnit, Source } from './x87-operate.ts';
import { Status, type X87State } from './x87-state.ts';

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ in opcode order: 80 bits of each and the exponent of the lowest. */
const CONSTANTS: readonly (readonly [bigint, number])[] = [
  [1n, 0],
  [0xd49a784bcd1b8afe492bn, -78],
  [0xb8aa3b295c17f0bbbe87n, -79],
  [0xc90fdaa22168c234c4c6n, -78],
  [0x9a209a84fbcff7988f89n, -81],
  [0xb17217f7d1cf79abc9e3n, -80],
  [0n, 0],
];

/** What a load pushes. */
function loadSource(unit: X87State, source: number): Result {
  const low = unit.argument(1);
  switch (source) {
    case Source.f80:
      return exact({ significand: low, signExponent: Number(unit.argument(2) & 0xffffn) });
    case Source.bcd:
      return exact(decodeBcd(low, Number(unit.argument(2) & 0xffffn)));
    case Source.constant: {
      const [significand, exponent] = CONSTANTS[Number(low)];
      return exact(fromFinite({ sign: 0, significand, exponent }, unit.control, 64).value);
    }
    default: {
      const { value, denormal } = memoryOperand(source, low);
      const quietBit = kindOf(value) === 'signaling' ? 1n << 62n : 0n;
      const flags = quietBit ? Flags.invalid : denormal ? Flags.denormal : 0;
      return exact({ ...value, significand: value.significand | quietBit }, flags);
    }
  }
}

/** ARG: source kind, source (bits, ST index or constant), bits 64–79. */
const x87Load = onUnit((unit) => {
  const push = (value: Extended) => unit.push(value);
  const source = unit.integerArgument(0);
  const from = unit.integerArgument(1);
  if (source === Source.register && unit.isEmpty(from)) return unit.underflow(push);
  if (!unit.isEmpty(7)) return unit.overflow(push);
  const result = source === Source.register ? exact(unit.read(from)) : loadSource(unit, source);
  if (result.flags !== Flags.denormal) return unit.complete(result, push);
  // A denormal is loaded even if DE is unmasked: the exception is pending afterwards.
  unit.complete({ ...result, flags: 0 }, push);
  unit.raise(Flags.denormal);
});

/** Eighteen decimal digits, lowest first, and a sign (SDM vol. 1, 4.7). Digits above 9 count as their value. */
function decodeBcd(low: bigint, high: number): Extended {
  const bits = low | (BigInt(high & 0xff) << 64n);
  let value = 0n;
  for (let i = 17; i >= 0; i--) value = value * 10n + ((bits >> BigInt(i * 4)) & 15n);
  const { significand, signExponent } = fromInteger(value);
  return { significand, signExponent: signExponent | (high & SIGN) };
}

/** A value as it goes to memory: bits 0–63 and 64–79. */
interface Stored {
  readonly low: bigint;
  readonly high: bigint;
  readonly flags: number;
  readonly roundedUp: boolean;
}
const stored = (low: bigint, flags = 0, roundedUp = false, high = 0n): Stored => ({ low, high, flags, roundedUp });
const INDEFINITE_BCD = stored(0xc000000000000000n, Flags.invalid, false, 0xffffn);

/** Narrow to binary32 or binary64. The control word's masks stand where MXCSR has them. */
function narrow(value: Extended, format: BinaryFormat, control: number): Stored {
  const kind = kindOf(value);
  if (kind === 'unsupported') return stored(format.defaultNan, Flags.invalid);
  if (isNan(kind)) {
    const fraction = ((value.significand | (1n << 62n)) & 0x7fffffffffffffffn) >> (63n - format.fractionBits);
    return stored(infinity(format, signOf(value)) | fraction, kind === 'signaling' ? Flags.invalid : 0);
  }
  if (kind === 'infinity') return stored(infinity(format, signOf(value)));
  const mxcsr = ((control & 0x3f) << 7) | (roundingOf(control) << 13);
  const packed = pack(format, toFinite(value), mxcsr);
  return stored(packed.bits, packed.flags, wasRoundedUp(packed, format, value));
}
/** Magnitude of the packed number above that of the source. */
function wasRoundedUp({ bits, flags }: Outcome, format: BinaryFormat, value: Extended): boolean {
  if ((flags & Flags.inexact) === 0) return false;
  const magnitude = bits & ((1n << BigInt(format.bits - 1)) - 1n);
  const wide = memoryOperand(format === binary32 ? Source.f32 : Source.f64, magnitude).value;
  const [a, c] = [wide, value].map(
    ({ significand, signExponent }) => (BigInt(signExponent & 0x7fff) << 64n) | significand,
  );
  return a > c;
}

function toSigned(value: Extended, bits: number, control: number): Stored {
  const limit = 1n << BigInt(bits - 1);
  const indefinite = stored(limit, Flags.invalid);
  const kind = kindOf(value);
  if (kind !== 'zero' && kind !== 'normal' && kind !== 'denormal') return indefinite;
  if (tooLarge(value)) return indefinite;
  const { value: integer, inexact, roundedUp } = toInteger(toFinite(value), roundingOf(control));
  if (integer >= limit || integer < -limit) return indefinite;
  return stored(BigInt.asUintN(64, integer), inexact ? Flags.inexact : 0, roundedUp);
}
/** 2^65 or more: no integer format holds it, and shifting it out would make a huge one. */
function tooLarge(value: Extended): boolean {
  const number = toFinite(value);
  return number.significand !== 0n && number.exponent + bitLength(number.significand) > 66;
}

const BCD_LIMIT = 10n ** 18n;
function toBcd(value: Extended, control: number): Stored {
  const kind = kindOf(value);
  if ((kind !== 'zero' && kind !== 'normal' && kind !== 'denormal') || tooLarge(value)) return INDEFINITE_BCD;
  const { value: integer, inexact, roundedUp } = toInteger(toFinite(value), roundingOf(control));
  let rest = integer < 0n ? -integer : integer;
  if (rest >= BCD_LIMIT) return INDEFINITE_BCD;
  let digits = 0n;
  for (let i = 0n; rest > 0n; i += 4n, rest /= 10n) digits |= (rest % 10n) << i;
  const high = (digits >> 64n) | (signOf(value) ? 0x8000n : 0n);
  return stored(digits & 0xffffffffffffffffn, inexact ? Flags.inexact : 0, roundedUp, high);
}

function toMemory(value: Extended, destination: number, control: number): Stored {
  switch (destination) {
    case Source.f32:
      return narrow(value, binary32, control);
    case Source.f64:
      return narrow(value, binary64, control);
    case Source.i16:
      return toSigned(value, 16, control);
    case Source.i32:
      return toSigned(value, 32, control);
    case Source.i64:
      return toSigned(value, 64, control);
    case Source.bcd:
      return toBcd(value, control);
    default:
      return stored(value.significand, 0, false, BigInt(value.signExponent));
  }
}

/**
 * Stores to memory. ARG: destination kind, pops. RESULT[0]: bits 0–63; RESULT[1]: bit 0 whether to store at all, and
 * from bit 16 on the bits 64–79. Unmasked overflow and underflow keep memory and stack as they were (SDM vol. 1, 8.5.4).
 */
const x87Store = onUnit((unit) => {
  const destination = unit.integerArgument(0);
  const finish = (low: bigint, high: bigint) => {
    unit.setResult(0, low);
    unit.setResult(1, 1n | (high << 16n));
    unit.pop(unit.integerArgument(1));
  };
  unit.setResult(1, 0n);
  if (unit.isEmpty(0)) {
    return unit.underflow((indefinite) => {
      const bits = toMemory(indefinite, destination, unit.control);
      finish(bits.low, bits.high);
    });
  }
  const bits = toMemory(unit.read(0), destination, unit.control);
  const suppressed = bits.flags & (Flags.overflow | Flags.underflow) & ~unit.control;
  const completes = unit.raise(suppressed || bits.flags) && !suppressed;
  unit.setCodes(Status.C1, bits.roundedUp && completes ? Status.C1 : 0);
  if (completes) finish(bits.low, bits.high);
});

/** FST, FSTP to a register. ARG: ST index, pops, 1 for the alias D9 D8, which pops an empty register in silence. */
const x87StoreRegister = onUnit((unit) => {
  const to = unit.integerArgument(0);
  const write = (value: Extended) => {
    unit.write(to, value);
    unit.pop(unit.integerArgument(1));
  };
  if (!unit.isEmpty(0)) return unit.complete(exact(unit.read(0)), write);
  if (unit.integerArgument(2) === 0) return unit.underflow(write);
  unit.setCodes(Status.C1, 0);
  unit.pop(1);
});

/** FFREE and FFREEP. ARG: ST index, pops. */
const x87Free = onUnit((unit) => {
  unit.setInUse(unit.integerArgument(0), false);
  unit.setCodes(Status.C1, 0);
  unit.pop(unit.integerArgument(1));
});

/** FINCSTP, FDECSTP. ARG: change of TOP. */
const x87MoveTop = onUnit((unit) => {
  unit.top = unit.top + unit.integerArgument(0);
  unit.setCodes(Status.C1, 0);
});

export const x87TransferHelpers: Record<string, Helper> = { x87Load, x87Store, x87StoreRegister, x87Free, x87MoveTop };

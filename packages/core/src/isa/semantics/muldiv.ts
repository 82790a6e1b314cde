/**
 * MUL, IMUL, DIV, IDIV (SDM vol. 2). Undefined flags as on AMD's processors: the multiplications leave AF, PF, SF and ZF
 * alone; the divisions set AF and clear PF, SF and ZF.
 */
import { FC, FS, FZ, GPR, RESULT } from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value } from '../../ir/types.ts';
import { read, write } from '../operands.ts';
import type { InstructionShape, Semantics, Width } from '../types.ts';
import { operandWidth } from './alu.ts';

const DIVIDE_ERROR = 0;

/** CF = OF = overflow (i32 0 or 1); the other flags stay. */
function setProductOverflow(b: Builder, overflow: Value): void {
  b.set(FC, b.or(b.and(b.get(FC), b.i32(8)), b.shl(overflow, b.i32(31))));
}

const fixed = (register: number, width: Width) => ({ kind: 'fixedGpr', offset: GPR[register].offset, width }) as const;

/** i32 of 8 or 16 bits sign-extended; wider values as they are. */
function signed(b: Builder, width: Width, value: Value): Value {
  return width === 8 ? b.extend8S(value) : width === 16 ? b.extend16S(value) : value;
}

/** The upper 64 bits of a product of two unsigned i64 values, from 32-bit pieces. */
function multiplyHighUnsigned(b: Builder, x: Value, y: Value): Value {
  const mask = b.i64(0xffffffffn);
  const half = b.i64(32);
  const [xl, xh, yl, yh] = [b.and(x, mask), b.shrU(x, half), b.and(y, mask), b.shrU(y, half)];
  const middle = b.add(b.mul(xh, yl), b.shrU(b.mul(xl, yl), half));
  const other = b.add(b.mul(xl, yh), b.and(middle, mask));
  return b.add(b.mul(xh, yh), b.add(b.shrU(middle, half), b.shrU(other, half)));
}

/** Signed: take off the other factor for each negative one. */
function multiplyHighSigned(b: Builder, x: Value, y: Value): Value {
  const sign = b.i64(63);
  const correction = b.add(b.and(b.shrS(x, sign), y), b.and(b.shrS(y, sign), x));
  return b.sub(multiplyHighUnsigned(b, x, y), correction);
}

/** MUL and one-operand IMUL: AX, DX:AX, EDX:EAX or RDX:RAX. */
export function multiplyWide(kind: 'unsigned' | 'signed'): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const factor = read(b, shape, shape.operands[0]);
    const accumulator = read(b, shape, fixed(0, width));
    const { low, high } = widen(b, width, kind, accumulator, factor);
    const overflow = kind === 'unsigned' ? b.ne(high, b.constant(high, 0)) : b.ne(high, signOf(b, width, low));
    setProductOverflow(b, overflow);
    if (width === 8) {
      b.setFixed(GPR[0].offset, 2, b.or(b.and(low, b.i32(0xff)), b.shl(high, b.i32(8))));
      return;
    }
    write(b, shape, fixed(0, width), low);
    write(b, shape, fixed(2, width), high);
  };
}

/** All sign bits of the low half, in the form in which `widen` answers the high half. */
function signOf(b: Builder, width: Width, low: Value): Value {
  return b.shrS(signed(b, width, low), b.constant(low, width === 64 ? 63 : 31));
}

/** Both halves: unsigned high halves zero-extended, signed ones sign-extended. */
function widen(b: Builder, width: Width, kind: 'unsigned' | 'signed', x: Value, y: Value): { low: Value; high: Value } {
  if (width === 64) {
    const high = kind === 'unsigned' ? multiplyHighUnsigned(b, x, y) : multiplyHighSigned(b, x, y);
    return { low: b.mul(x, y), high };
  }
  if (width === 32) {
    const product = kind === 'unsigned' ? b.mul(b.extendU(x), b.extendU(y)) : b.mul(b.extendS(x), b.extendS(y));
    return { low: b.wrap(product), high: b.wrap(b.shrU(product, b.i64(32))) };
  }
  const product = kind === 'unsigned' ? b.mul(x, y) : b.mul(signed(b, width, x), signed(b, width, y));
  const by = b.i32(width);
  return { low: product, high: kind === 'unsigned' ? b.shrU(product, by) : b.shrS(product, by) };
}

/** IMUL with two operands (destination is a factor) or three (r/m times immediate). */
export const multiplyTruncated: Semantics = (b, shape) => {
  const width = operandWidth(shape, 0);
  const [destination] = shape.operands;
  const [first, second] = shape.operands.length === 3 ? shape.operands.slice(1) : shape.operands;
  // The memory operand, if any, is read first or last; reading registers cannot fault.
  const x = read(b, shape, first);
  const y = read(b, shape, second);
  if (width === 64) {
    setProductOverflow(b, productOverflow64(b, x, y));
    write(b, shape, destination, b.mul(x, y));
  } else if (width === 32) {
    const product = b.mul(b.extendS(x), b.extendS(y));
    setProductOverflow(b, b.ne(product, b.extend32S(product)));
    write(b, shape, destination, b.mul(x, y));
  } else {
    const product = b.mul(b.extend16S(x), b.extend16S(y));
    setProductOverflow(b, b.ne(product, b.extend16S(product)));
    write(b, shape, destination, product);
  }
};

/** Whether a signed 64-bit product overflows; two factors of 32 bits cannot, and are nearly all there is. */
function productOverflow64(b: Builder, x: Value, y: Value): Value {
  const overflow = b.variable(b.i32(0));
  const small = b.and(b.eq(x, b.extend32S(x)), b.eq(y, b.extend32S(y)));
  b.when(b.eqz(small), () => {
    const sign = b.shrS(b.mul(x, y), b.i64(63));
    b.assign(overflow, b.ne(multiplyHighSigned(b, x, y), sign));
  });
  return b.current(overflow);
}

/** DIV and IDIV: AX by 8 bits, DX:AX, EDX:EAX or RDX:RAX by the width. */
export function divide(kind: 'unsigned' | 'signed'): Semantics {
  return (b, shape) => {
    const width = operandWidth(shape, 0);
    const divisor = read(b, shape, shape.operands[0]);
    if (width === 64) divide128(b, kind, divisor);
    else divideNarrow(b, shape, width, kind, divisor);
    b.set(FC, b.or(b.get(FC), b.i32(8)));
    b.set(FZ, b.i64(1));
    b.set(FS, b.i64(1));
  };
}

/** The dividend as i64: 16, 32 or 64 bits, extended by kind. */
function dividend(b: Builder, width: 8 | 16 | 32, kind: 'unsigned' | 'signed'): Value {
  if (width === 8) {
    const value = b.getFixed(GPR[0].offset, 2);
    return kind === 'unsigned' ? b.extendU(value) : b.extendS(b.extend16S(value));
  }
  const bytes = width === 16 ? 2 : 4;
  const low = b.getFixed(GPR[0].offset, bytes);
  const high = b.getFixed(GPR[2].offset, bytes);
  if (width === 32) return b.or(b.shl(b.extendU(high), b.i64(32)), b.extendU(low));
  const value = b.or(b.shl(high, b.i32(16)), low);
  return kind === 'unsigned' ? b.extendU(value) : b.extendS(value);
}

function divideNarrow(
  b: Builder,
  shape: InstructionShape,
  width: 8 | 16 | 32,
  kind: 'unsigned' | 'signed',
  raw: Value,
): void {
  b.raiseIf(b.eqz(raw), DIVIDE_ERROR);
  const top = dividend(b, width, kind);
  const divisor = kind === 'unsigned' ? b.extendU(raw) : b.extendS(signed(b, width, raw));
  const quotient = kind === 'unsigned' ? b.divU(top, divisor) : safeSignedQuotient(b, width, top, divisor);
  b.raiseIf(quotientOverflow(b, width, kind, quotient), DIVIDE_ERROR);
  const remainder = b.sub(top, b.mul(quotient, divisor));
  const [q, r] = [b.wrap(quotient), b.wrap(remainder)];
  if (width === 8) {
    b.setFixed(GPR[0].offset, 2, b.or(b.and(q, b.i32(0xff)), b.shl(r, b.i32(8))));
    return;
  }
  write(b, shape, fixed(0, width), q);
  write(b, shape, fixed(2, width), r);
}

/** The one signed quotient that i64 cannot hold, −2⁶³ / −1, overflows in any case: answer it as −2⁶³. */
function safeSignedQuotient(b: Builder, width: Width, top: Value, divisor: Value): Value {
  if (width !== 32) return b.divS(top, divisor);
  const trap = b.and(b.eq(divisor, b.i64(-1)), b.eq(top, b.i64(-(1n << 63n))));
  return b.divS(top, b.select(trap, b.i64(1), divisor));
}

function quotientOverflow(b: Builder, width: 8 | 16 | 32, kind: 'unsigned' | 'signed', quotient: Value): Value {
  if (kind === 'unsigned') return b.gtU(quotient, b.i64((1n << BigInt(width)) - 1n));
  const back = width === 8 ? b.extend8S(quotient) : width === 16 ? b.extend16S(quotient) : b.extend32S(quotient);
  return b.ne(quotient, back);
}

/** 128 by 64 bits: dividends that fit in 64 bits are divided here, others by a helper. */
function divide128(b: Builder, kind: 'unsigned' | 'signed', divisor: Value): void {
  const low = b.getFixed(GPR[0].offset, 8);
  const high = b.getFixed(GPR[2].offset, 8);
  b.raiseIf(kind === 'unsigned' ? b.geU(high, divisor) : b.eqz(divisor), DIVIDE_ERROR);
  const zero = b.i64(0);
  const quotient = b.variable(zero);
  const remainder = b.variable(zero);
  const simple = kind === 'unsigned' ? b.eqz(high) : fitsSigned(b, low, high, divisor);
  b.when(
    simple,
    () => {
      const q = kind === 'unsigned' ? b.divU(low, divisor) : b.divS(low, divisor);
      b.assign(quotient, q);
      b.assign(remainder, b.sub(low, b.mul(q, divisor)));
    },
    () => {
      const name = kind === 'unsigned' ? 'div128u' : 'div128s';
      b.assign(quotient, b.helper(name, [low, high, divisor], { result: 'i64', mayFault: true }));
      b.assign(remainder, b.get(RESULT[1]));
    },
  );
  b.setFixed(GPR[0].offset, 8, b.current(quotient));
  b.setFixed(GPR[2].offset, 8, b.current(remainder));
}

/** RDX only repeats RAX's sign, and the division is not −2⁶³ / −1. */
function fitsSigned(b: Builder, low: Value, high: Value, divisor: Value): Value {
  const extended = b.eq(high, b.shrS(low, b.i64(63)));
  const minimum = b.eq(low, b.i64(-(1n << 63n)));
  return b.and(extended, b.eqz(b.and(minimum, b.eq(divisor, b.i64(-1)))));
}

/** Rows of the x87 unit (SDM vol. 2D, A.5), the undocumented aliases of the 8087 included. FISTTP is SSE3: not here. */

import type { X87Operation } from '../helpers/x87-arithmetic.ts';
import {
  arithmeticMemory,
  arithmeticRegister,
  compareMemory,
  compareRegister,
  compareToFlags,
  compareZero,
  conditionalMove,
  exchange,
  free,
  helperOnly,
  loadConstant,
  loadMemory,
  loadRegister,
  loadWide,
  type MemoryFormat,
  moveTop,
  storeMemory,
  storeRegister,
  storeWide,
} from '../semantics/x87-arithmetic.ts';
import { fldcw, fnclex, fninit, fnop, fnopNoWait, fnstcw, fnstsw, fnstswAx, fwait } from '../semantics/x87-control.ts';
import { fldenv, fnsave, fnstenv, frstor } from '../semantics/x87-environment.ts';
import { type EncodingRow, row } from './row.ts';

const control: EncodingRow[] = [
  row('9B', 'FWAIT', '', fwait),
  row('D9 /4', 'FLDENV', 'M', fldenv, { width: 'v' }),
  row('D9 /5', 'FLDCW', 'Mw', fldcw),
  row('D9 /6', 'FNSTENV', 'M', fnstenv, { width: 'v' }),
  row('D9 /7', 'FNSTCW', 'Mw', fnstcw),
  row('D9 D0', 'FNOP', '', fnop),
  row('D9 F6', 'FDECSTP', '', moveTop(-1)),
  row('D9 F7', 'FINCSTP', '', moveTop(1)),
  row('DB E0', 'FNENI', '', fnopNoWait),
  row('DB E1', 'FNDISI', '', fnopNoWait),
  row('DB E2', 'FNCLEX', '', fnclex),
  row('DB E3', 'FNINIT', '', fninit),
  row('DB E4', 'FNSETPM', '', fnopNoWait),
  row('DD /0', 'FFREE', 'ST', free(0)),
  row('DD /4', 'FRSTOR', 'M', frstor, { width: 'v' }),
  row('DD /6', 'FNSAVE', 'M', fnsave, { width: 'v' }),
  row('DD /7', 'FNSTSW', 'Mw', fnstsw),
  row('DF /0', 'FFREEP', 'ST', free(1)),
  row('DF E0', 'FNSTSW AX', '', fnstswAx),
];

/** Mnemonic and operation of the digits 0, 1 and 4 to 7; 2 and 3 compare. */
const BY_DIGIT: Record<number, readonly [string, X87Operation]> = {
  0: ['ADD', 'add'],
  1: ['MUL', 'mul'],
  4: ['SUB', 'sub'],
  5: ['SUBR', 'subr'],
  6: ['DIV', 'div'],
  7: ['DIVR', 'divr'],
};
function memoryArithmetic(opcode: string, prefix: string, operand: string, format: MemoryFormat): EncodingRow[] {
  const operations = Object.entries(BY_DIGIT).map(([digit, [name, operation]]) =>
    row(`${opcode} /${digit}`, `${prefix}${name}`, operand, arithmeticMemory(operation, format)),
  );
  return [
    ...operations,
    row(`${opcode} /2`, `${prefix}COM`, operand, compareMemory(format, 0)),
    row(`${opcode} /3`, `${prefix}COMP`, operand, compareMemory(format, 1)),
  ];
}
/** Where ST(i) is the destination, 4 and 5, and 6 and 7, change places (SDM vol. 2D, table A-15: DC and DE). */
function registerArithmetic(opcode: string, to: 'top' | 'indexed', pops: 0 | 1): EncodingRow[] {
  return Object.entries(BY_DIGIT).map(([digit, [name, operation]]) => {
    const encoded = to === 'indexed' && Number(digit) >= 4 ? Number(digit) ^ 1 : Number(digit);
    const mnemonic = `F${name}${pops ? 'P' : ''}`;
    return row(`${opcode} /${encoded}`, mnemonic, 'ST', arithmeticRegister(operation, to, pops));
  });
}
const arithmetic: EncodingRow[] = [
  ...memoryArithmetic('D8', 'F', 'Md', 'f32'),
  ...memoryArithmetic('DC', 'F', 'Mq', 'f64'),
  ...memoryArithmetic('DA', 'FI', 'Md', 'i32'),
  ...memoryArithmetic('DE', 'FI', 'Mw', 'i16'),
  ...registerArithmetic('D8', 'top', 0),
  ...registerArithmetic('DC', 'indexed', 0),
  ...registerArithmetic('DE', 'indexed', 1),
];

const comparisons: EncodingRow[] = [
  row('D8 /2', 'FCOM', 'ST', compareRegister(true, 0)),
  row('D8 /3', 'FCOMP', 'ST', compareRegister(true, 1)),
  row('DC /2', 'FCOM', 'ST', compareRegister(true, 0)),
  row('DC /3', 'FCOMP', 'ST', compareRegister(true, 1)),
  row('DE /2', 'FCOMP', 'ST', compareRegister(true, 1)),
  row('DE D9', 'FCOMPP', '', compareRegister(true, 2)),
  row('DD /4', 'FUCOM', 'ST', compareRegister(false, 0)),
  row('DD /5', 'FUCOMP', 'ST', compareRegister(false, 1)),
  row('DA E9', 'FUCOMPP', '', compareRegister(false, 2)),
  row('DB /6', 'FCOMI', 'ST', compareToFlags(true, 0)),
  row('DF /6', 'FCOMIP', 'ST', compareToFlags(true, 1)),
  row('DB /5', 'FUCOMI', 'ST', compareToFlags(false, 0)),
  row('DF /5', 'FUCOMIP', 'ST', compareToFlags(false, 1)),
  row('D9 E4', 'FTST', '', compareZero),
  row('D9 E5', 'FXAM', '', helperOnly('x87Examine')),
];

const CONDITIONS = { B: 2, E: 4, BE: 6, U: 10, NB: 3, NE: 5, NBE: 7, NU: 11 } as const;
const moves: EncodingRow[] = Object.entries(CONDITIONS).map(([name, code], i) =>
  row(`${i < 4 ? 'DA' : 'DB'} /${i & 3}`, `FCMOV${name}`, 'ST', conditionalMove(code)),
);

const transfers: EncodingRow[] = [
  row('D9 /0', 'FLD', 'Md', loadMemory('f32')),
  row('DD /0', 'FLD', 'Mq', loadMemory('f64')),
  row('DB /5', 'FLD', 'M', loadWide('f80')),
  row('D9 /0', 'FLD', 'ST', loadRegister),
  row('DF /0', 'FILD', 'Mw', loadMemory('i16')),
  row('DB /0', 'FILD', 'Md', loadMemory('i32')),
  row('DF /5', 'FILD', 'Mq', loadMemory('i64')),
  row('DF /4', 'FBLD', 'M', loadWide('bcd')),
  row('D9 /2', 'FST', 'Md', storeMemory('f32', 0)),
  row('D9 /3', 'FSTP', 'Md', storeMemory('f32', 1)),
  row('DD /2', 'FST', 'Mq', storeMemory('f64', 0)),
  row('DD /3', 'FSTP', 'Mq', storeMemory('f64', 1)),
  row('DB /7', 'FSTP', 'M', storeWide('f80')),
  row('DD /2', 'FST', 'ST', storeRegister(0)),
  row('DD /3', 'FSTP', 'ST', storeRegister(1)),
  row('D9 /3', 'FSTP', 'ST', storeRegister(1, 1)),
  row('DF /2', 'FSTP', 'ST', storeRegister(1)),
  row('DF /3', 'FSTP', 'ST', storeRegister(1)),
  row('DF /2', 'FIST', 'Mw', storeMemory('i16', 0)),
  row('DF /3', 'FISTP', 'Mw', storeMemory('i16', 1)),
  row('DB /2', 'FIST', 'Md', storeMemory('i32', 0)),
  row('DB /3', 'FISTP', 'Md', storeMemory('i32', 1)),
  row('DF /7', 'FISTP', 'Mq', storeMemory('i64', 1)),
  row('DF /6', 'FBSTP', 'M', storeWide('bcd')),
  row('D9 /1', 'FXCH', 'ST', exchange),
  row('DD /1', 'FXCH', 'ST', exchange),
  row('DF /1', 'FXCH', 'ST', exchange),
];

const constants: EncodingRow[] = ['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ'].map((name, i) =>
  row(`D9 E${(8 + i).toString(16).toUpperCase()}`, name, '', loadConstant(i)),
);

const functions: EncodingRow[] = [
  row('D9 E0', 'FCHS', '', helperOnly('x87ChangeSign')),
  row('D9 E1', 'FABS', '', helperOnly('x87Absolute')),
  row('D9 F0', 'F2XM1', '', helperOnly('x87Exponential')),
  row('D9 F1', 'FYL2X', '', helperOnly('x87YLog2')),
  row('D9 F2', 'FPTAN', '', helperOnly('x87Tangent')),
  row('D9 F3', 'FPATAN', '', helperOnly('x87Arctangent')),
  row('D9 F4', 'FXTRACT', '', helperOnly('x87Extract')),
  row('D9 F5', 'FPREM1', '', helperOnly('x87Remainder', 1)),
  row('D9 F8', 'FPREM', '', helperOnly('x87Remainder', 0)),
  row('D9 F9', 'FYL2XP1', '', helperOnly('x87YLog2OnePlus')),
  row('D9 FA', 'FSQRT', '', helperOnly('x87Root')),
  row('D9 FB', 'FSINCOS', '', helperOnly('x87SineCosine')),
  row('D9 FC', 'FRNDINT', '', helperOnly('x87RoundToInteger')),
  row('D9 FD', 'FSCALE', '', helperOnly('x87Scale')),
  row('D9 FE', 'FSIN', '', helperOnly('x87Sine')),
  row('D9 FF', 'FCOS', '', helperOnly('x87Cosine')),
];

export const x87Encodings: readonly EncodingRow[] = [
  ...control,
  ...arithmetic,
  ...comparisons,
  ...moves,
  ...transfers,
  ...constants,
  ...functions,
];

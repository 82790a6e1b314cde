/** The one-byte opcode map (SDM vol. 2D, table A-2, with the groups of table A-6). */
import { alu, compare, complement, negate, step, test } from '../semantics/alu.ts';
import {
  callIndirect,
  callRelative,
  jumpIfCountZero,
  jumpIndirect,
  jumpOnCondition,
  jumpRelative,
  loop,
  returnAndRelease,
  returnNear,
} from '../semantics/control.ts';
import { asciiAdjust, asciiAdjustAfterMultiply, asciiAdjustBeforeDivide, decimalAdjust } from '../semantics/decimal.ts';
import {
  clearInterruptFlag,
  input,
  interruptReturn,
  pause,
  setInterruptFlag,
  softwareInterrupt,
} from '../semantics/direct.ts';
import {
  changeCarry,
  loadFlagsIntoAh,
  popFlags,
  pushFlags,
  setAlOnCarry,
  setDirection,
  storeAhIntoFlags,
} from '../semantics/flag.ts';
import {
  exchange,
  extendAccumulator,
  extendIntoData,
  loadEffectiveAddress,
  move,
  moveSignExtend,
  translate,
} from '../semantics/mov.ts';
import { divide, multiplyTruncated, multiplyWide } from '../semantics/muldiv.ts';
import { output, portString } from '../semantics/ports.ts';
import { loadSegment, popSegment } from '../semantics/segment-load.ts';
import { rotate, rotateThroughCarry, shift } from '../semantics/shift.ts';
import { enter, leave, popAll, popOperand, pushAll, pushOperand, pushSegment } from '../semantics/stack.ts';
import { compareString, loadString, moveString, scanString, storeString } from '../semantics/string.ts';
import {
  adjustRpl,
  checkBounds,
  exitOnly,
  farDirect,
  farIndirect,
  farReturn,
  interruptOnOverflow,
  loadFarPointer,
  noOperation,
  readSegment,
} from '../semantics/system.ts';
import type { Semantics } from '../types.ts';
import { CONDITIONS } from './conditions.ts';
import { type EncodingRow, type RowOptions, row } from './row.ts';

const hex = (opcode: number) => opcode.toString(16).toUpperCase().padStart(2, '0');

const LEGACY: RowOptions = { mode: 'i64' };
const LOCKABLE: RowOptions = { lock: true };
const D64: RowOptions = { width: 'd64' };
const JUMP: RowOptions = { width: 'f64', endsBlock: true };
const BRANCH: RowOptions = { width: 'f64' };
const EXIT: RowOptions = { endsBlock: true, system: true };

const ALU = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'] as const;

/** 00–3F without the prefixes and segment pushes: eight operations, six forms each; 80–83: the same by digit. */
const arithmetic: EncodingRow[] = ALU.flatMap((operation, i) => {
  const name = operation.toUpperCase();
  const semantics: Semantics = operation === 'cmp' ? compare : alu(operation);
  const toMemory: RowOptions = operation === 'cmp' ? {} : LOCKABLE;
  const at = (form: number) => hex(i * 8 + form);
  return [
    row(`${at(0)} /r`, name, 'Eb,Gb', semantics, toMemory),
    row(`${at(1)} /r`, name, 'Ev,Gv', semantics, toMemory),
    row(`${at(2)} /r`, name, 'Gb,Eb', semantics),
    row(`${at(3)} /r`, name, 'Gv,Ev', semantics),
    row(at(4), name, 'AL,Ib', semantics),
    row(at(5), name, 'rAX,Iz', semantics),
    row(`80 /${i}`, name, 'Eb,Ib', semantics, toMemory),
    row(`81 /${i}`, name, 'Ev,Iz', semantics, toMemory),
    row(`82 /${i}`, name, 'Eb,Ib', semantics, { ...toMemory, ...LEGACY }),
    row(`83 /${i}`, name, 'Ev,sIb', semantics, toMemory),
  ];
});

const SHIFTS: readonly (readonly [digit: number, name: string, semantics: Semantics])[] = [
  [0, 'ROL', rotate('left')],
  [1, 'ROR', rotate('right')],
  [2, 'RCL', rotateThroughCarry('left')],
  [3, 'RCR', rotateThroughCarry('right')],
  [4, 'SHL', shift('shl')],
  [5, 'SHR', shift('shr')],
  // Not in Intel's tables, in AMD's: the same as /4.
  [6, 'SAL', shift('shl')],
  [7, 'SAR', shift('sar')],
];
const shifts: EncodingRow[] = SHIFTS.flatMap(([digit, name, semantics]) => [
  row(`C0 /${digit}`, name, 'Eb,Ib', semantics),
  row(`C1 /${digit}`, name, 'Ev,Ib', semantics),
  row(`D0 /${digit}`, name, 'Eb,1', semantics),
  row(`D1 /${digit}`, name, 'Ev,1', semantics),
  row(`D2 /${digit}`, name, 'Eb,CL', semantics),
  row(`D3 /${digit}`, name, 'Ev,CL', semantics),
]);

/** F6 and F7. */
const unary: EncodingRow[] = (['b', 'v'] as const).flatMap((size) => {
  const opcode = size === 'b' ? 'F6' : 'F7';
  const immediate = size === 'b' ? 'Ib' : 'Iz';
  return [
    row(`${opcode} /0`, 'TEST', `E${size},${immediate}`, test),
    row(`${opcode} /1`, 'TEST', `E${size},${immediate}`, test),
    row(`${opcode} /2`, 'NOT', `E${size}`, complement, LOCKABLE),
    row(`${opcode} /3`, 'NEG', `E${size}`, negate, LOCKABLE),
    row(`${opcode} /4`, 'MUL', `E${size}`, multiplyWide('unsigned')),
    row(`${opcode} /5`, 'IMUL', `E${size}`, multiplyWide('signed')),
    row(`${opcode} /6`, 'DIV', `E${size}`, divide('unsigned')),
    row(`${opcode} /7`, 'IDIV', `E${size}`, divide('signed')),
  ];
});

const steps: EncodingRow[] = [
  row('FE /0', 'INC', 'Eb', step('inc'), LOCKABLE),
  row('FE /1', 'DEC', 'Eb', step('dec'), LOCKABLE),
  row('FF /0', 'INC', 'Ev', step('inc'), LOCKABLE),
  row('FF /1', 'DEC', 'Ev', step('dec'), LOCKABLE),
  row('40+r', 'INC', 'Zv', step('inc'), LEGACY),
  row('48+r', 'DEC', 'Zv', step('dec'), LEGACY),
];

const tests: EncodingRow[] = [
  row('84 /r', 'TEST', 'Eb,Gb', test),
  row('85 /r', 'TEST', 'Ev,Gv', test),
  row('A8', 'TEST', 'AL,Ib', test),
  row('A9', 'TEST', 'rAX,Iz', test),
  row('69 /r', 'IMUL', 'Gv,Ev,Iz', multiplyTruncated),
  row('6B /r', 'IMUL', 'Gv,Ev,sIb', multiplyTruncated),
];

const moves: EncodingRow[] = [
  row('88 /r', 'MOV', 'Eb,Gb', move),
  row('89 /r', 'MOV', 'Ev,Gv', move),
  row('8A /r', 'MOV', 'Gb,Eb', move),
  row('8B /r', 'MOV', 'Gv,Ev', move),
  row('8C /r', 'MOV', 'Rv/Mw,Sw', readSegment),
  row('8D /r', 'LEA', 'Gv,M', loadEffectiveAddress),
  row('8E /r', 'MOV', 'Sw,Ew', loadSegment, { system: true }),
  row('A0', 'MOV', 'AL,Ob', move),
  row('A1', 'MOV', 'rAX,Ov', move),
  row('A2', 'MOV', 'Ob,AL', move),
  row('A3', 'MOV', 'Ov,rAX', move),
  row('B0+r', 'MOV', 'Zb,Ib', move),
  row('B8+r', 'MOV', 'Zv,Iv', move),
  row('C6 /0', 'MOV', 'Eb,Ib', move),
  row('C7 /0', 'MOV', 'Ev,Iz', move),
  row('63 /r', 'MOVSXD', 'Gv,Ez', moveSignExtend, { mode: 'o64' }),
  row('86 /r', 'XCHG', 'Eb,Gb', exchange, LOCKABLE),
  row('87 /r', 'XCHG', 'Ev,Gv', exchange, LOCKABLE),
  row('90', 'NOP', '', noOperation),
  row('F3 90', 'PAUSE', '', pause),
  ...[1, 2, 3, 4, 5, 6, 7].map((register) => row(hex(0x90 + register), 'XCHG', 'Zv,rAX', exchange)),
  row('98', 'CBW', '', extendAccumulator, { width: 'v' }),
  row('99', 'CWD', '', extendIntoData, { width: 'v' }),
  row('D7', 'XLAT', '', translate, { width: 8, address: true }),
];

const LEGACY_D64: RowOptions = { ...D64, ...LEGACY };
const POP_SEGMENT: RowOptions = { ...LEGACY_D64, system: true };
const stack: EncodingRow[] = [
  row('50+r', 'PUSH', 'Zv', pushOperand, D64),
  row('58+r', 'POP', 'Zv', popOperand, D64),
  row('68', 'PUSH', 'Iz', pushOperand, D64),
  row('6A', 'PUSH', 'sIb', pushOperand, D64),
  row('FF /6', 'PUSH', 'Ev', pushOperand, D64),
  row('8F /0', 'POP', 'Ev', popOperand, { ...D64, popsBeforeAddress: true }),
  row('06', 'PUSH', 'ES', pushSegment, LEGACY_D64),
  row('0E', 'PUSH', 'CS', pushSegment, LEGACY_D64),
  row('16', 'PUSH', 'SS', pushSegment, LEGACY_D64),
  row('1E', 'PUSH', 'DS', pushSegment, LEGACY_D64),
  row('07', 'POP', 'ES', popSegment, POP_SEGMENT),
  row('17', 'POP', 'SS', popSegment, { ...POP_SEGMENT, endsBlock: true }),
  row('1F', 'POP', 'DS', popSegment, POP_SEGMENT),
  row('60', 'PUSHA', '', pushAll, LEGACY_D64),
  row('61', 'POPA', '', popAll, LEGACY_D64),
  row('9C', 'PUSHF', '', pushFlags, D64),
  row('9D', 'POPF', '', popFlags, D64),
  row('C8', 'ENTER', 'Iw,L', enter, D64),
  row('C9', 'LEAVE', '', leave, D64),
];

const control: EncodingRow[] = [
  ...CONDITIONS.map((name, code) => row(hex(0x70 + code), `J${name}`, 'Jb', jumpOnCondition(code), BRANCH)),
  row('E0', 'LOOPNE', 'Jb', loop('notEqual'), { ...BRANCH, address: true }),
  row('E1', 'LOOPE', 'Jb', loop('equal'), { ...BRANCH, address: true }),
  row('E2', 'LOOP', 'Jb', loop('always'), { ...BRANCH, address: true }),
  row('E3', 'JRCXZ', 'Jb', jumpIfCountZero, { ...BRANCH, address: true }),
  row('E8', 'CALL', 'Jz', callRelative, JUMP),
  row('E9', 'JMP', 'Jz', jumpRelative, JUMP),
  row('EB', 'JMP', 'Jb', jumpRelative, JUMP),
  row('FF /2', 'CALL', 'Ev', callIndirect, JUMP),
  row('FF /4', 'JMP', 'Ev', jumpIndirect, JUMP),
  row('C2', 'RET', 'Iw', returnAndRelease, JUMP),
  row('C3', 'RET', '', returnNear, JUMP),
];

const strings: EncodingRow[] = (
  [
    [0xa4, 'MOVS', moveString],
    [0xa6, 'CMPS', compareString],
    [0xaa, 'STOS', storeString],
    [0xac, 'LODS', loadString],
    [0xae, 'SCAS', scanString],
  ] as const
).flatMap(([opcode, name, semantics]) => [
  row(hex(opcode), `${name}B`, '', semantics, { rep: true, width: 8 }),
  row(hex(opcode + 1), name, '', semantics, { rep: true, width: 'v' }),
]);

const flags: EncodingRow[] = [
  row('9E', 'SAHF', '', storeAhIntoFlags),
  row('9F', 'LAHF', '', loadFlagsIntoAh),
  row('F5', 'CMC', '', changeCarry('complement')),
  row('F8', 'CLC', '', changeCarry('clear')),
  row('F9', 'STC', '', changeCarry('set')),
  row('FC', 'CLD', '', setDirection(0)),
  row('FD', 'STD', '', setDirection(1)),
];

const system: EncodingRow[] = [
  row('FA', 'CLI', '', clearInterruptFlag, { system: true }),
  row('FB', 'STI', '', setInterruptFlag, { system: true }),
  row('F4', 'HLT', '', exitOnly('hlt'), EXIT),
  row('CC', 'INT3', '', exitOnly('int3'), EXIT),
  row('CD', 'INT', 'Ib', softwareInterrupt, { ...EXIT, width: 32 }),
  row('CE', 'INTO', '', interruptOnOverflow, { ...LEGACY, system: true }),
  row('F1', 'INT1', '', exitOnly('int1'), EXIT),
  row('CF', 'IRET', '', interruptReturn, { ...EXIT, width: 'v' }),
  row('CA', 'RETF', 'Iw', farReturn, { ...EXIT, width: 'v' }),
  row('CB', 'RETF', '', farReturn, { ...EXIT, width: 'v' }),
  row('FF /3', 'CALL', 'M', farIndirect('farCall'), { ...EXIT, width: 'v' }),
  row('FF /5', 'JMP', 'M', farIndirect('farJump'), { ...EXIT, width: 'v' }),
  row('9A', 'CALL', 'A', farDirect('farCall'), { ...EXIT, ...LEGACY, width: 'v' }),
  row('EA', 'JMP', 'A', farDirect('farJump'), { ...EXIT, ...LEGACY, width: 'v' }),
  row('C4 /r', 'LES', 'Gv,M', loadFarPointer(0), { ...EXIT, ...LEGACY }),
  row('C5 /r', 'LDS', 'Gv,M', loadFarPointer(3), { ...EXIT, ...LEGACY }),
  row('E4', 'IN', 'AL,Ib', input, EXIT),
  row('E5', 'IN', 'eAX,Ib', input, EXIT),
  row('EC', 'IN', 'AL,DX', input, EXIT),
  row('ED', 'IN', 'eAX,DX', input, EXIT),
  row('E6', 'OUT', 'Ib,AL', output, EXIT),
  row('E7', 'OUT', 'Ib,eAX', output, EXIT),
  row('EE', 'OUT', 'DX,AL', output, { ...EXIT, width: 8 }),
  row('EF', 'OUT', 'DX,eAX', output, EXIT),
  row('6C', 'INSB', '', portString('ins'), { ...EXIT, rep: true, width: 8 }),
  row('6D', 'INS', '', portString('ins'), { ...EXIT, rep: true, width: 'v' }),
  row('6E', 'OUTSB', '', portString('outs'), { ...EXIT, rep: true, width: 8 }),
  row('6F', 'OUTS', '', portString('outs'), { ...EXIT, rep: true, width: 'v' }),
];

/** Outside 64-bit mode only. */
const legacy: EncodingRow[] = [
  row('27', 'DAA', '', decimalAdjust('add'), LEGACY),
  row('2F', 'DAS', '', decimalAdjust('subtract'), LEGACY),
  row('37', 'AAA', '', asciiAdjust('add'), LEGACY),
  row('3F', 'AAS', '', asciiAdjust('subtract'), LEGACY),
  row('D4', 'AAM', 'Ib', asciiAdjustAfterMultiply, LEGACY),
  row('D5', 'AAD', 'Ib', asciiAdjustBeforeDivide, LEGACY),
  row('D6', 'SALC', '', setAlOnCarry, { ...LEGACY, width: 8 }),
  row('62 /r', 'BOUND', 'Gv,M', checkBounds, LEGACY),
  row('63 /r', 'ARPL', 'Ew,Gw', adjustRpl, LEGACY),
];

export const oneByteRows: readonly EncodingRow[] = [
  ...arithmetic,
  ...shifts,
  ...unary,
  ...steps,
  ...tests,
  ...moves,
  ...stack,
  ...control,
  ...strings,
  ...flags,
  ...system,
  ...legacy,
];

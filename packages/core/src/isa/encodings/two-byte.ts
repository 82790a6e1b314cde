/** The maps behind 0F, integer and system part (SDM vol. 2D, tables ). SSE and x87 have files of their own. */
import { compareExchange, compareExchangePair, exchangeAdd } from '../semantics/alu.ts';
import { bit, bitScan, populationCount } from '../semantics/bit.ts';
import { jumpOnCondition } from '../semantics/control.ts';
import {
  changeAlignmentCheck,
  hypercall,
  invalidatePage,
  readControl,
  readTimeStamp,
  swapGs,
  systemCall,
  systemReturn,
  writeControl,
} from '../semantics/direct.ts';
import { fastEnter, fastExit } from '../semantics/legacy-calls.ts';
import { byteSwap, conditionalMove, moveSignExtend, moveZeroExtend, setOnCondition } from '../semantics/mov.ts';
import { multiplyTruncated } from '../semantics/muldiv.ts';
import { popSegment } from '../semantics/segment-load.ts';
import { doubleShift } from '../semantics/shift.ts';
import { pushSegment } from '../semantics/stack.ts';
import {
  examineSelector,
  exitOnly,
  exitWithSelector,
  flushLine,
  invalidateProcessContext,
  leaveWithAddress,
  leaveWithOperands,
  leaveWithPointer,
  loadFarPointer,
  loadTable,
  monitor,
  noOperation,
  raiseUndefined,
  readBase,
  readDebug,
  readExtendedControl,
  readRandom,
  storeMachineStatus,
  storeSelector,
  storeTable,
  writeBase,
  writeDebug,
} from '../semantics/system.ts';
import { CONDITIONS } from './conditions.ts';
import { type EncodingRow, type RowOptions, row } from './row.ts';

const hex = (opcode: number) => opcode.toString(16).toUpperCase().padStart(2, '0');

const LOCKABLE: RowOptions = { lock: true };
const EXIT: RowOptions = { endsBlock: true, system: true };
const STACK: RowOptions = { width: 'd64' };
const FIXED: RowOptions = { width: 32 };
const NATIVE_EXIT: RowOptions = { ...EXIT, width: 'native' };
const REGISTER_MOVE: RowOptions = { ...EXIT, width: 'native', modIgnored: true };
/** 64-bit mode: 8-byte base; outside by operand size, as near branches do. */
const TABLE: RowOptions = { ...EXIT, width: 'f64' };

const conditional: EncodingRow[] = CONDITIONS.flatMap((name, code) => [
  row(`0F ${hex(0x40 + code)} /r`, `CMOV${name}`, 'Gv,Ev', conditionalMove(code)),
  row(`0F ${hex(0x80 + code)}`, `J${name}`, 'Jz', jumpOnCondition(code), { width: 'f64' }),
  row(`0F ${hex(0x90 + code)} /r`, `SET${name}`, 'Eb', setOnCondition(code)),
]);

const BITS = [
  [4, 0xa3, 'BT', 'test'],
  [5, 0xab, 'BTS', 'set'],
  [6, 0xb3, 'BTR', 'reset'],
  [7, 0xbb, 'BTC', 'complement'],
] as const;
const bits: EncodingRow[] = BITS.flatMap(([digit, opcode, name, operation]) => {
  const options = operation === 'test' ? {} : LOCKABLE;
  return [
    row(`0F ${hex(opcode)} /r`, name, 'Ev,Gv', bit(operation), options),
    row(`0F BA /${digit}`, name, 'Ev,Ib', bit(operation), options),
  ];
});

const integer: EncodingRow[] = [
  // LZCNT and TZCNT are not advertised: their F3 is ignored.
  row('0F BC /r', 'BSF', 'Gv,Ev', bitScan('forward')),
  row('0F BD /r', 'BSR', 'Gv,Ev', bitScan('reverse')),
  row('F3 0F B8 /r', 'POPCNT', 'Gv,Ev', populationCount),
  row('0F A4 /r', 'SHLD', 'Ev,Gv,Ib', doubleShift('left')),
  row('0F A5 /r', 'SHLD', 'Ev,Gv,CL', doubleShift('left')),
  row('0F AC /r', 'SHRD', 'Ev,Gv,Ib', doubleShift('right')),
  row('0F AD /r', 'SHRD', 'Ev,Gv,CL', doubleShift('right')),
  row('0F AF /r', 'IMUL', 'Gv,Ev', multiplyTruncated),
  row('0F B0 /r', 'CMPXCHG', 'Eb,Gb', compareExchange, LOCKABLE),
  row('0F B1 /r', 'CMPXCHG', 'Ev,Gv', compareExchange, LOCKABLE),
  row('0F C0 /r', 'XADD', 'Eb,Gb', exchangeAdd, LOCKABLE),
  row('0F C1 /r', 'XADD', 'Ev,Gv', exchangeAdd, LOCKABLE),
  row('W0 0F C7 /1', 'CMPXCHG8B', 'M', compareExchangePair, { ...LOCKABLE, width: 'y' }),
  row('W1 0F C7 /1', 'CMPXCHG16B', 'M', compareExchangePair, { ...LOCKABLE, width: 'y' }),
  row('0F B6 /r', 'MOVZX', 'Gv,Eb', moveZeroExtend),
  row('0F B7 /r', 'MOVZX', 'Gv,Ew', moveZeroExtend),
  row('0F BE /r', 'MOVSX', 'Gv,Eb', moveSignExtend),
  row('0F BF /r', 'MOVSX', 'Gv,Ew', moveSignExtend),
  row('0F C8+r', 'BSWAP', 'Zv', byteSwap),
  row('0F A0', 'PUSH', 'FS', pushSegment, STACK),
  row('0F A8', 'PUSH', 'GS', pushSegment, STACK),
  row('0F A1', 'POP', 'FS', popSegment, { ...STACK, system: true }),
  row('0F A9', 'POP', 'GS', popSegment, { ...STACK, system: true }),
];

/** Hints: a memory operand is decoded and not touched. */
const hints: EncodingRow[] = [
  row('0F 0D /r', 'PREFETCHW', 'Mb', noOperation, FIXED),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((digit) =>
    row(`0F 18 /${digit}`, digit < 4 ? 'PREFETCH' : 'NOP', 'Ev', noOperation, FIXED),
  ),
  ...[0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f].map((opcode) =>
    row(`0F ${hex(opcode)} /r`, 'NOP', 'Ev', noOperation, FIXED),
  ),
  row('F3 0F 1E FA', 'ENDBR64', '', noOperation),
  row('F3 0F 1E FB', 'ENDBR32', '', noOperation),
  row('NP 0F AE /7 mem', 'CLFLUSH', 'Mb', flushLine, FIXED),
  row('NP 0F AE /5 reg', 'LFENCE', '', noOperation),
  row('NP 0F AE /6 reg', 'MFENCE', '', noOperation),
  row('NP 0F AE /7 reg', 'SFENCE', '', noOperation),
];

const undefinedRows: EncodingRow[] = [
  row('0F 0B', 'UD2', '', raiseUndefined, { endsBlock: true }),
  row('0F B9 /r', 'UD1', 'Gv,Ev', raiseUndefined, { endsBlock: true }),
  row('0F FF /r', 'UD0', 'Gv,Ev', raiseUndefined, { endsBlock: true }),
];

const tables: EncodingRow[] = [
  row('0F 00 /0', 'SLDT', 'Rv/Mw', storeSelector('ldt'), { system: true }),
  row('0F 00 /1', 'STR', 'Rv/Mw', storeSelector('tr'), { system: true }),
  row('0F 00 /2', 'LLDT', 'Ew', exitWithSelector('lldt'), EXIT),
  row('0F 00 /3', 'LTR', 'Ew', exitWithSelector('ltr'), EXIT),
  row('0F 00 /4', 'VERR', 'Ew', exitWithSelector('verr'), EXIT),
  row('0F 00 /5', 'VERW', 'Ew', exitWithSelector('verw'), EXIT),
  row('0F 01 /0 mem', 'SGDT', 'M', storeTable('gdt'), { ...TABLE, endsBlock: false }),
  row('0F 01 /1 mem', 'SIDT', 'M', storeTable('idt'), { ...TABLE, endsBlock: false }),
  row('0F 01 /2 mem', 'LGDT', 'M', loadTable('lgdt'), TABLE),
  row('0F 01 /3 mem', 'LIDT', 'M', loadTable('lidt'), TABLE),
  row('0F 01 /4', 'SMSW', 'Rv/Mw', storeMachineStatus, { system: true }),
  row('0F 01 /6', 'LMSW', 'Ew', exitWithSelector('lmsw'), EXIT),
  row('0F 01 /7 mem', 'INVLPG', 'M', invalidatePage, { ...EXIT, width: 32 }),
  row('0F 02 /r', 'LAR', 'Gv,Ew', examineSelector('lar'), EXIT),
  row('0F 03 /r', 'LSL', 'Gv,Ew', examineSelector('lsl'), EXIT),
  row('0F B2 /r', 'LSS', 'Gv,M', loadFarPointer(2), EXIT),
  row('0F B4 /r', 'LFS', 'Gv,M', loadFarPointer(4), EXIT),
  row('0F B5 /r', 'LGS', 'Gv,M', loadFarPointer(5), EXIT),
  row('66 0F 38 82 /r', 'INVPCID', 'Gv,M', invalidateProcessContext, NATIVE_EXIT),
];

const system: EncodingRow[] = [
  row('0F 05', 'SYSCALL', '', systemCall, EXIT),
  row('0F 07', 'SYSRET', '', systemReturn, { ...EXIT, width: 'y' }),
  row('0F 34', 'SYSENTER', '', fastEnter, EXIT),
  row('0F 35', 'SYSEXIT', '', fastExit, { ...EXIT, width: 'y' }),
  row('0F 06', 'CLTS', '', exitOnly('clts'), EXIT),
  row('0F 08', 'INVD', '', exitOnly('invd'), EXIT),
  row('0F 09', 'WBINVD', '', exitOnly('wbinvd'), EXIT),
  row('0F 20 /r', 'MOV', 'Rv,Cv', readControl, { ...REGISTER_MOVE, endsBlock: false }),
  row('0F 21 /r', 'MOV', 'Rv,Dv', readDebug, REGISTER_MOVE),
  row('0F 22 /r', 'MOV', 'Cv,Rv', writeControl, REGISTER_MOVE),
  row('0F 23 /r', 'MOV', 'Dv,Rv', writeDebug, REGISTER_MOVE),
  row('0F 30', 'WRMSR', '', exitOnly('wrmsr'), EXIT),
  row('0F 32', 'RDMSR', '', exitOnly('rdmsr'), EXIT),
  row('0F 33', 'RDPMC', '', exitOnly('rdpmc'), EXIT),
  row('0F AA', 'RSM', '', exitOnly('rsm'), EXIT),
  row('0F A2', 'CPUID', '', exitOnly('cpuid'), EXIT),
  row('0F 31', 'RDTSC', '', readTimeStamp(false), { system: true }),
  row('0F 01 C1', 'VMCALL', '', hypercall, EXIT),
  row('0F 01 D8', 'VMRUN', '', leaveWithAddress('vmrun'), { ...EXIT, address: true }),
  row('0F 01 D9', 'VMMCALL', '', exitOnly('vmmcall'), EXIT),
  row('0F 01 DA', 'VMLOAD', '', leaveWithAddress('vmload'), { ...EXIT, address: true }),
  row('0F 01 DB', 'VMSAVE', '', leaveWithAddress('vmsave'), { ...EXIT, address: true }),
  row('0F 01 DC', 'STGI', '', exitOnly('stgi'), EXIT),
  row('0F 01 DD', 'CLGI', '', exitOnly('clgi'), EXIT),
  row('0F 01 DE', 'SKINIT', '', leaveWithAddress('skinit'), { ...EXIT, address: true }),
  row('0F 01 DF', 'INVLPGA', '', leaveWithAddress('invlpga'), { ...EXIT, address: true }),
  row('NP 0F 01 C2', 'VMLAUNCH', '', exitOnly('vmlaunch'), EXIT),
  row('NP 0F 01 C3', 'VMRESUME', '', exitOnly('vmresume'), EXIT),
  row('NP 0F 01 C4', 'VMXOFF', '', exitOnly('vmxoff'), EXIT),
  row('NP 0F C7 /6', 'VMPTRLD', 'M', leaveWithPointer('vmptrld'), EXIT),
  row('66 0F C7 /6', 'VMCLEAR', 'M', leaveWithPointer('vmclear'), EXIT),
  row('F3 0F C7 /6', 'VMXON', 'M', leaveWithPointer('vmxon'), EXIT),
  row('NP 0F C7 /7', 'VMPTRST', 'M', leaveWithPointer('vmptrst'), EXIT),
  row('NFx 0F C7 /6', 'RDRAND', 'Rv', readRandom, { system: true }),
  row('NFx 0F C7 /7', 'RDSEED', 'Rv', readRandom, { system: true }),
  row('NP 0F 78 /r', 'VMREAD', 'Ev,Gv', leaveWithOperands('vmread', 0), NATIVE_EXIT),
  row('NP 0F 79 /r', 'VMWRITE', 'Gv,Ev', leaveWithOperands('vmwrite', 1), NATIVE_EXIT),
  row('66 0F 38 80 /r', 'INVEPT', 'Gv,M', leaveWithOperands('invept', 1), NATIVE_EXIT),
  row('66 0F 38 81 /r', 'INVVPID', 'Gv,M', leaveWithOperands('invvpid', 1), NATIVE_EXIT),
  row('0F 01 C8', 'MONITOR', '', monitor, { ...EXIT, address: true }),
  row('0F 01 C9', 'MWAIT', '', exitOnly('mwait'), EXIT),
  row('NP 0F 01 CA', 'CLAC', '', changeAlignmentCheck('clac'), { system: true }),
  row('NP 0F 01 CB', 'STAC', '', changeAlignmentCheck('stac'), { system: true }),
  row('NP 0F 01 D0', 'XGETBV', '', readExtendedControl, { system: true }),
  row('NP 0F 01 D1', 'XSETBV', '', exitOnly('xsetbv'), EXIT),
  row('0F 01 F8', 'SWAPGS', '', swapGs, { mode: 'o64', system: true }),
  row('0F 01 F9', 'RDTSCP', '', readTimeStamp(true), { system: true }),
  row('F3 0F AE /0', 'RDFSBASE', 'Ry', readBase(4), { mode: 'o64' }),
  row('F3 0F AE /1', 'RDGSBASE', 'Ry', readBase(5), { mode: 'o64' }),
  row('F3 0F AE /2', 'WRFSBASE', 'Ry', writeBase(4), { mode: 'o64' }),
  row('F3 0F AE /3', 'WRGSBASE', 'Ry', writeBase(5), { mode: 'o64' }),
];

export const twoByteRows: readonly EncodingRow[] = [
  ...conditional,
  ...bits,
  ...integer,
  ...hints,
  ...undefinedRows,
  ...tables,
  ...system,
];

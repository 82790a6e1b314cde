import { PAGE_BASE } from '../../../packages/core/src/cpu/state.ts';
import type { EncodingRow } from '../../../packages/core/src/isa/encodings/row.ts';
import { isApproximate, isTranscendental } from '../approximate.ts';
import { type CaseInput, type CaseMode, expand, makeInput } from '../case.ts';
import { decodeCase, operandAddress } from '../compare.ts';
import { CODE_BASE, CODE_START, DATA_BASE, WINDOW, WRITABLE_CODE_BASE } from '../layout.ts';
import { Random } from '../random.ts';
import { undefinedFlags } from '../undefined.ts';
import { generate } from './generate.ts';

const AF = 0x10;
/** Their results show undefined flags or status, or they would end the program at once. */
const UNSUITABLE =
  /^(LAHF|PUSHF|POPF|DAA|DAS|AAA|AAS|FFREE|FCMOV|FU?COMI|FPREM|FNSTENV|FNSAVE|FXSAVE|XSAVE|XRSTOR|FLDENV|FRSTOR|FXRSTOR|LDMXCSR|FLDCW|UD|MASKMOV|ENTER|LEAVE|STD|WR[FG]SBASE)/;

/** An instruction with the registers that its memory operand needs, set by MOV r64, imm64. */
interface Piece {
  readonly setup: readonly number[];
  readonly code: readonly number[];
}

/** What kernels and compilers use most, and so what the engine treats specially. */
const COMMON =
  /^(MOV|MOVZX|MOVSX|MOVSXD|LEA|ADD|SUB|ADC|SBB|CMP|TEST|AND|OR|XOR|INC|DEC|NEG|NOT|PUSH|POP|XCHG|CDQ|CWD|CBW|SET\w+|CMOV\w+|SH[LR]|SAR|BT|IMUL|XADD|CMPXCHG)$/;
const SUBSTITUTE_FLAGS = /^(IMUL|SH[LR]|SAR|BT)$/;
const STACK_POINTER = 4;

/** Instructions that leave nothing undefined but AF; memory operands lie in the data pages, but for a few. */
function isSuitable(input: CaseInput, random: Random): boolean {
  const one = expand(input);
  const decoded = decodeCase(one);
  if (!decoded || decoded.shape.encoding.endsBlock || input.codeAddress !== CODE_START) return false;
  const row = decoded.shape.encoding as EncodingRow;
  if (UNSUITABLE.test(row.mnemonic) || isApproximate(decoded) || isTranscendental(decoded)) return false;
  if (row.options.rep || row.operandCodes.some(({ letter }) => letter === 'J')) return false;
  if (undefinedFlags(decoded, one.image) & ~AF && !SUBSTITUTE_FLAGS.test(row.mnemonic)) return false;
  if (!decoded.shape.operands.some(({ kind }) => kind === 'mem')) return true;
  if (input.overrides.has(STACK_POINTER) || decoded.base === PAGE_BASE.offset) return false;
  const address = operandAddress(one, decoded);
  return (address >= BigInt(WINDOW) && address < BigInt(WINDOW + 0x400)) || random.oneIn(6);
}

/** MOV of a whole register. */
function movImmediate(mode: CaseMode, register: number, value: bigint): number[] {
  const [prefixes, bytes] = mode === 'long64' ? [[register < 8 ? 0x48 : 0x49], 8] : [[], 4];
  const immediate = Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
  return [...prefixes, 0xb8 + (register & 7), ...immediate];
}

/** CMP EAX, 5: flags in place of flags that the manual leaves undefined. */
const DEFINED_FLAGS = [0x83, 0xf8, 0x05];

function pieceOf(input: CaseInput): Piece {
  const registers = [...input.overrides].filter(([slot]) => slot < 16);
  const setup = registers.flatMap(([slot, value]) => movImmediate(input.mode, slot, value));
  const one = expand(input);
  const decoded = decodeCase(one);
  const open = decoded ? undefinedFlags(decoded, one.image) & ~AF : 0;
  return { setup, code: [...input.code, ...(open ? DEFINED_FLAGS : [])] };
}

interface Pool {
  readonly all: readonly (readonly Piece[])[];
  readonly common: readonly (readonly Piece[])[];
}

/** For each row the instructions from which programs are made. */
function programPool(rows: readonly EncodingRow[], mode: CaseMode, random: Random): Pool {
  const pieces = new Map<EncodingRow, Piece[]>();
  for (const row of rows) {
    const inputs = generate(row).filter((input) => input.mode === mode && isSuitable(input, random));
    if (inputs.length > 0) pieces.set(row, inputs.slice(0, 40).map(pieceOf));
  }
  const common = [...pieces].filter(([row]) => COMMON.test(row.mnemonic));
  return { all: [...pieces.values()], common: common.map(([, list]) => list) };
}

const JCC_SHORT = 0x70;
/** Loop counters: memory that no operand of the pool lies in. */
const COUNTER = DATA_BASE + 0x10;
const bytes32 = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];
/** ModRM (with `reg` in it) and what follows for a memory operand at a fixed address. */
const absolute = (mode: CaseMode, reg: number, address: number) =>
  mode === 'long64' ? [(reg << 3) | 4, 0x25, ...bytes32(address)] : [(reg << 3) | 5, ...bytes32(address)];
/** MOV dword [at], value. */
const setCounter = (mode: CaseMode, at: number, value: number) => [0xc7, ...absolute(mode, 0, at), ...bytes32(value)];
/** SUB dword [at], 1, and JNZ over `body` back to its start. */
function loopBack(mode: CaseMode, at: number, body: readonly number[]): number[] {
  const countDown = [0x83, ...absolute(mode, 5, at), 1];
  return [...countDown, 0x0f, 0x85, ...bytes32(-(body.length + countDown.length + 6))];
}

class ProgramMaker {
  readonly #random: Random;
  readonly #pool: Pool;
  #counters = 0;

  readonly #mode: CaseMode;

  constructor(mode: CaseMode, random: Random, pool: Pool) {
    this.#mode = mode;
    this.#random = random;
    this.#pool = pool;
  }

  piece(): Piece {
    return this.#random.pick(this.#random.pick(this.#random.oneIn(3) ? this.#pool.all : this.#pool.common));
  }
  /** Instructions next to each other, all their registers set before. */
  straight(count: number): number[] {
    const pieces = Array.from({ length: count }, () => this.piece());
    return [...pieces.flatMap(({ setup }) => setup), ...pieces.flatMap(({ code }) => code)];
  }
  /** Jcc over a few instructions. */
  skip(): number[] {
    const body = this.straight(1 + this.#random.below(3));
    const jump = [JCC_SHORT + this.#random.below(16), body.length, ...body];
    return body.length < 0x80 ? [...this.straight(1), ...jump] : body;
  }
  /** A body carried out a few times, counted in memory. */
  loop(depth: number): number[] {
    const counter = COUNTER + 4 * this.#counters++;
    const body = this.block(depth + 1);
    const count = 1 + this.#random.below(5);
    return [...setCounter(this.#mode, counter, count), ...body, ...loopBack(this.#mode, counter, body)];
  }
  /** CALL over a jump to a subroutine of a few instructions: E8, EB, body, C3. */
  call(): number[] {
    const body = [...this.straight(2), 0xc3];
    return body.length < 0x80 ? [0xe8, 2, 0, 0, 0, 0xeb, body.length, ...body] : [];
  }
  block(depth: number): number[] {
    const parts = 2 + this.#random.below(4);
    return Array.from({ length: parts }, () => this.part(depth)).flat();
  }
  part(depth: number): number[] {
    switch (this.#random.below(8)) {
      case 0:
      case 1:
        return this.skip();
      case 2:
        return depth < 2 ? this.loop(depth) : this.straight(1);
      case 3:
        return this.call();
      default:
        return this.straight(1 + this.#random.below(3));
    }
  }
  /** Code that changes the immediate of an instruction behind it, in a loop: MOV EAX, imm32 with its low byte counted up. */
  selfModifying(at: number): number[] {
    const before = this.straight(1);
    const gap = this.straight(this.#random.below(2));
    // INC byte [target]; after the gap B8 imm32.
    const increment = (target: number) => [0xfe, ...absolute(this.#mode, 0, target)];
    const target = at + before.length + increment(0).length + gap.length + 1;
    return [...before, ...increment(target), ...gap, 0xb8, 0x41, 0, 0, 0, ...this.straight(1)];
  }
}

const LONGEST = 1500;

/** Programs with jumps, loops, calls and code that changes itself; they end at the INT3 behind them. */
export function generateSequences(rows: readonly EncodingRow[], count: number, seed: number): CaseInput[] {
  const random = new Random(seed);
  const pools = { long64: programPool(rows, 'long64', random), flat32: programPool(rows, 'flat32', random) };
  const inputs: CaseInput[] = [];
  while (inputs.length < count) {
    const mode = random.oneIn(4) ? 'flat32' : 'long64';
    const maker = new ProgramMaker(mode, random, pools[mode]);
    const modifying = random.oneIn(4);
    // Across the page boundary at times.
    const start = (modifying ? WRITABLE_CODE_BASE : CODE_BASE) + (random.oneIn(3) ? 0x1000 - random.below(120) : 0x800);
    const code = modifying ? loopOver(maker, mode, start) : maker.block(0);
    if (code.length > LONGEST) continue;
    const flavour = random.pick(['integer', 'f32', 'f64', 'f80'] as const);
    inputs.push(makeInput(code, { mode, codeAddress: start, seed: random.next(), flavour }));
  }
  return inputs;
}

/** Self-modifying code three times over. */
function loopOver(maker: ProgramMaker, mode: CaseMode, start: number): number[] {
  const counter = COUNTER + 0x100;
  const head = setCounter(mode, counter, 3);
  const body = maker.selfModifying(start + head.length);
  return [...head, ...body, ...loopBack(mode, counter, body)];
}

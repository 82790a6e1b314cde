/**
 * The row builder of the encodings table.
 *
 * `row(pattern, mnemonic, operands, semantics, options)`, for example
 * `row('01 /r', 'ADD', 'Ev,Gv', alu('add'), { lock: true })`.
 *
 * **Pattern** (SDM vol. 2A, 3.1.1.1), tokens parted by blanks:
 * - mandatory prefix `66`, `F3`, `F2`; or `NP`: none of the three; or `NFx`: neither F2 nor F3. No token: any prefix
 *   that no other row claims.
 * - `W0`, `W1`: REX.W decides. No token: both.
 * - `0F`, `0F 38`, `0F 3A`: the map; then the opcode byte, with `+r` when its low three bits are a register.
 * - `/r`, or `/0`…`/7`: a ModRM byte, with this reg field; a further hexadecimal byte: this very ModRM byte
 *   (`0F 01 C1`, `D9 E8`); `mem` or `reg` after it: only this kind of r/m, where no operand says so.
 *
 * **Operands** (the letters of SDM vol. 2D, A.2.1, and some of our own), at most three, destination first:
 * - `E` general register or memory (ModRM.rm); `R` register only; `M` memory only (`M` without a size: the address
 *   alone, the semantics make their own accesses); `Rv/Mw`: register of one size or memory of another.
 * - `G` general register (ModRM.reg); `Z` general register in the opcode's low bits.
 * - `V` XMM register (reg); `W` XMM register or memory (rm); `U` XMM register only (rm).
 * - `P` MMX register (reg); `Q` MMX register or memory; `N` MMX register only (rm). They become `gpr` operands of
 *   64 bits whose field is the significand of the physical x87 register; bits 64–79 are at `extra` 8.
 * - `I` immediate, `sI` immediate byte sign-extended to the operand width, `J` branch displacement, `O` memory at an
 *   address in the instruction, `A` far pointer (imm = selector << 32 | offset).
 * - `S` segment register, `C` control register, `D` debug register (reg); `ST` x87 stack index (rm): static operands.
 * - `L` nesting level of ENTER: static.
 * - `AL`, `CL`, `DX`, `rAX` (operand width), `eAX` (16 or 32), `1`, `ES`…`GS`: fixed by the opcode.
 *
 * **Sizes**: `b` 8, `w` 16, `d` 32, `q` 64 bits; `v` operand width; `z` operand width but at most 32; `y` 32, or 64 with
 * REX.W; `x` = `dq` = `ps` = `pd` 16 bytes of memory; `ss` 4, `sd` 8 bytes of memory.
 */
import type { Encoding, Semantics, Width } from '../types.ts';

/** Row fields beyond the operands; all off by default. */
export interface RowOptions {
  /** LOCK is allowed when the first operand is memory. */
  readonly lock?: boolean;
  /** F2 and F3 repeat the instruction: string instructions. They also make the address size and a segment override count. */
  readonly rep?: boolean;
  /** Address size and segment override matter although no operand is memory (XLAT, MONITOR, LOOP). */
  readonly address?: boolean;
  /**
   * Operand width. Default: by the operands' sizes. `v` by prefixes; `y` 32 or REX.W; `d64` as `v` but 64 by default in
   * 64-bit mode and never 32; `f64` always 64 in 64-bit mode; `native` 64 in 64-bit mode, else 32.
   */
  readonly width?: Width | 'v' | 'y' | 'd64' | 'f64' | 'native';
  /** `i64`: invalid in 64-bit mode; `o64`: valid only there. */
  readonly mode?: 'i64' | 'o64';
  readonly endsBlock?: boolean;
  readonly system?: boolean;
  /** ModRM.mod is ignored, r/m is a register (moves to and from control and debug registers). */
  readonly modIgnored?: boolean;
  /** POP to memory: an address based on the stack pointer uses its value after the pop. */
  readonly popsBeforeAddress?: boolean;
}

export type OperandLetter =
  | 'E'
  | 'G'
  | 'Z'
  | 'V'
  | 'W'
  | 'P'
  | 'Q'
  | 'I'
  | 'sI'
  | 'J'
  | 'O'
  | 'A'
  | 'S'
  | 'C'
  | 'D'
  | 'ST'
  | 'L'
  | 'fixed';
export type SizeCode = 'b' | 'w' | 'd' | 'q' | 'v' | 'z' | 'y' | 'x' | '';

export interface OperandCode {
  readonly text: string;
  readonly letter: OperandLetter;
  readonly size: SizeCode;
  readonly memorySize: SizeCode;
  readonly mod: 'any' | 'mem' | 'reg';
}

/** An encoding with all that the decoder needs to know about it. */
export interface EncodingRow extends Encoding {
  readonly mnemonic: string;
  readonly operandCodes: readonly OperandCode[];
  readonly options: RowOptions;
  readonly map: 0 | 1 | 2 | 3;
  readonly opcode: number;
  /** 8 when the opcode's low bits are a register, else 1. */
  readonly opcodeCount: number;
  /** 0 none, 1 66, 2 F3, 3 F2; undefined: any. */
  readonly prefix: number | undefined;
  /** F2 and F3 are not allowed; 66 says what it says of other instructions. */
  readonly noRepeat: boolean;
  readonly rexW: number | undefined;
  readonly hasModrm: boolean;
  readonly digit: number | undefined;
  readonly exactModrm: number | undefined;
  readonly mod: 'any' | 'mem' | 'reg';
}

const SIZE_ALIASES: Record<string, SizeCode> = { dq: 'x', ps: 'x', pd: 'x', ss: 'd', sd: 'q' };
const REGISTER_ONLY: Record<string, OperandLetter> = { R: 'E', U: 'W', N: 'Q' };
const FIXED = new Set(['AL', 'CL', 'DX', 'rAX', 'eAX', '1', 'ES', 'CS', 'SS', 'DS', 'FS', 'GS']);
const PREFIXES = new Map([
  ['NP', 0],
  ['66', 1],
  ['F3', 2],
  ['F2', 3],
]);

const sizeCode = (text: string): SizeCode => SIZE_ALIASES[text] ?? (text as SizeCode);

function parseOperand(text: string): OperandCode {
  if (FIXED.has(text)) {
    const size = text === 'rAX' ? 'v' : text === 'eAX' ? 'z' : text === 'AL' || text === 'CL' ? 'b' : '';
    return { text, letter: 'fixed', size, memorySize: size, mod: 'any' };
  }
  const split = /^R([a-z]+)\/M([a-z]+)$/.exec(text);
  if (split) return { text, letter: 'E', size: sizeCode(split[1]), memorySize: sizeCode(split[2]), mod: 'any' };
  const match = /^(sI|ST|[EGMRZVWUPQNIJOASCDL])([a-z]*)$/.exec(text);
  if (!match) throw new Error(`operand code ${text} is not known`);
  const size = sizeCode(match[2]);
  if (match[1] === 'M') return { text, letter: 'E', size, memorySize: size, mod: 'mem' };
  const registerOnly = REGISTER_ONLY[match[1]];
  if (registerOnly) return { text, letter: registerOnly, size, memorySize: size, mod: 'reg' };
  return { text, letter: match[1] as OperandLetter, size, memorySize: size, mod: match[1] === 'ST' ? 'reg' : 'any' };
}

interface ParsedPattern {
  prefix: number | undefined;
  noRepeat: boolean;
  rexW: number | undefined;
  map: 0 | 1 | 2 | 3;
  opcode: number;
  opcodeCount: number;
  digit: number | undefined;
  exactModrm: number | undefined;
  hasModrm: boolean;
  mod: 'any' | 'mem' | 'reg';
}

function parsePattern(pattern: string): ParsedPattern {
  const tokens = pattern.split(' ');
  const parsed: ParsedPattern = {
    prefix: undefined,
    noRepeat: false,
    rexW: undefined,
    map: 0,
    opcode: -1,
    opcodeCount: 1,
    digit: undefined,
    exactModrm: undefined,
    hasModrm: false,
    mod: 'any',
  };
  let at = 0;
  if (tokens[at] === 'NFx') {
    parsed.noRepeat = true;
    at++;
  }
  while (PREFIXES.has(tokens[at])) parsed.prefix = PREFIXES.get(tokens[at++]);
  if (tokens[at] === 'W0' || tokens[at] === 'W1') parsed.rexW = tokens[at++] === 'W1' ? 1 : 0;
  if (tokens[at] === '0F' && at + 1 < tokens.length) {
    const next = tokens[++at];
    parsed.map = next === '38' ? 2 : next === '3A' ? 3 : 1;
    if (parsed.map > 1) at++;
  }
  const opcode = tokens[at++];
  parsed.opcodeCount = opcode.endsWith('+r') ? 8 : 1;
  parsed.opcode = Number.parseInt(opcode, 16);
  while (at < tokens.length) parseModrmToken(parsed, tokens[at++], pattern);
  if (!(parsed.opcode >= 0)) throw new Error(`pattern ${pattern} has no opcode`);
  return parsed;
}

function parseModrmToken(parsed: ParsedPattern, token: string, pattern: string): void {
  if (token === 'mem' || token === 'reg') {
    parsed.mod = token;
    return;
  }
  parsed.hasModrm = true;
  if (token === '/r') return;
  if (/^\/[0-7]$/.test(token)) parsed.digit = Number(token[1]);
  else if (/^[0-9A-F]{2}$/.test(token)) parsed.exactModrm = Number.parseInt(token, 16);
  else throw new Error(`pattern ${pattern}: ${token} is not known`);
}

/** What operands written alike mean, shared by the rows: a thousand of them know a hundred lists. */
interface ParsedOperands {
  readonly codes: readonly OperandCode[];
  readonly usesModrm: boolean;
  readonly mod: 'mem' | 'reg' | undefined;
}
const known = new Map<string, ParsedOperands>();

function parseOperands(text: string): ParsedOperands {
  let parsed = known.get(text);
  if (!parsed) known.set(text, (parsed = readOperands(text)));
  return parsed;
}

function readOperands(text: string): ParsedOperands {
  const codes = text === '' ? [] : text.split(',').map(parseOperand);
  const mod = codes.find((code) => code.mod !== 'any')?.mod;
  return {
    codes,
    usesModrm: codes.some((code) => 'EGVWPQSCDST'.includes(code.letter)),
    mod: mod === 'any' ? undefined : mod,
  };
}

/** Make one row of the encodings table. See the head of this file for the notation. */
export function row(
  pattern: string,
  mnemonic: string,
  operands: string,
  semantics: Semantics,
  options: RowOptions = {},
): EncodingRow {
  const { prefix, noRepeat, rexW, map, opcode, opcodeCount, digit, exactModrm, hasModrm, mod } = parsePattern(pattern);
  const parsed = parseOperands(operands);
  if (parsed.usesModrm && !hasModrm) throw new Error(`${mnemonic} ${pattern}: operands need a ModRM byte`);
  return {
    prefix,
    noRepeat,
    rexW,
    map,
    opcode,
    opcodeCount,
    digit,
    exactModrm,
    hasModrm,
    name: operands === '' ? mnemonic : `${mnemonic} ${operands}`,
    mnemonic,
    pattern,
    operandCodes: parsed.codes,
    semantics,
    options,
    mod: options.modIgnored ? 'any' : (parsed.mod ?? mod),
    endsBlock: options.endsBlock ?? false,
    system: options.system ?? false,
  };
}

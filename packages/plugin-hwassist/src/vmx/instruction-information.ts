/** What a VM exit tells of the operands of an instruction, found in its bytes (SDM vol. 3C, 27.2.1 and 27.2.5). */

/** What the bytes are read by. */
export interface CodeSize {
  readonly isLong: boolean;
  /** Of CS.D, and 64-bit code: 16, 32 or 64. */
  readonly addressBits: 16 | 32 | 64;
}

export interface InstructionInformation {
  /** VM-exit instruction-information field (tables 27-9 to 27-14, which agree in where what stands). */
  readonly information: number;
  /** Exit qualification: the displacement, with the next instruction's address in it if it is relative to RIP. */
  readonly displacement: bigint;
}

/** Bits of the field. */
const Info = {
  ...{
    REG1_SHIFT: 3,
    ADDRESS_SIZE_SHIFT: 7,
    IS_REGISTER: 1 << 10,
    SEGMENT_SHIFT: 15,
    INDEX_SHIFT: 18,
    NO_INDEX: 1 << 22,
  },
  ...{ BASE_SHIFT: 23, NO_BASE: 1 << 27, REG2_SHIFT: 28 },
} as const;
/** Of segment registers, by their number in the field. */
const [SS, DS] = [2, 3];
const SEGMENT_PREFIXES: ReadonlyMap<number, number> = new Map([
  [0x26, 0],
  [0x2e, 1],
  [0x36, SS],
  [0x3e, DS],
  [0x64, 4],
  [0x65, 5],
]);
const OTHER_PREFIXES: ReadonlySet<number> = new Set([0x66, 0xf0, 0xf2, 0xf3]);
const ADDRESS_SIZE_PREFIX = 0x67;
const Rex = { B: 1, X: 2, R: 4 } as const;
const [TWO_BYTE, THREE_BYTE] = [0x0f, 0x38];
const [RSP, RBP, NONE] = [4, 5, -1];
/** Base and index of 16-bit addresses, by r/m: BX+SI, BX+DI, BP+SI, BP+DI, SI, DI, BP, BX. */
const PAIRS_16 = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, NONE],
  [7, NONE],
  [5, NONE],
  [3, NONE],
] as const;

interface Prefixes {
  readonly at: number;
  readonly rex: number;
  readonly segment: number | undefined;
  readonly hasAddressSize: boolean;
}

function prefixesOf(bytes: Uint8Array, isLong: boolean): Prefixes {
  let [at, rex] = [0, 0];
  let segment: number | undefined;
  let hasAddressSize = false;
  for (; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === ADDRESS_SIZE_PREFIX) hasAddressSize = true;
    else if (isLong && byte >> 4 === 4) rex = byte;
    else if (SEGMENT_PREFIXES.has(byte)) segment = SEGMENT_PREFIXES.get(byte);
    else if (!OTHER_PREFIXES.has(byte)) break;
  }
  return { at, rex, segment, hasAddressSize };
}

interface Address {
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: bigint;
  readonly isRipRelative: boolean;
}

function signed(bytes: Uint8Array, at: number, count: number): bigint {
  let value = 0n;
  for (let i = 0; i < count; i++) value |= BigInt(bytes[at + i] ?? 0) << BigInt(8 * i);
  return BigInt.asIntN(8 * count, value);
}

function address16(bytes: Uint8Array, at: number, mod: number, rm: number): Address {
  const isAbsolute = mod === 0 && rm === 6;
  const [base, index] = isAbsolute ? [NONE, NONE] : PAIRS_16[rm];
  const count = mod === 1 ? 1 : mod === 2 || isAbsolute ? 2 : 0;
  return { base, index, scale: 0, displacement: signed(bytes, at, count), isRipRelative: false };
}

function address32(bytes: Uint8Array, at: number, mod: number, rm: number, rex: number, isLong: boolean): Address {
  const hasSib = rm === RSP;
  const sib = hasSib ? bytes[at] : 0;
  const low = hasSib ? sib & 7 : rm;
  const isAbsolute = mod === 0 && low === RBP;
  const indexNumber = ((sib >> 3) & 7) | (rex & Rex.X ? 8 : 0);
  const count = mod === 1 ? 1 : mod === 2 || isAbsolute ? 4 : 0;
  return {
    base: isAbsolute ? NONE : low | (rex & Rex.B ? 8 : 0),
    index: hasSib && indexNumber !== RSP ? indexNumber : NONE,
    scale: sib >> 6,
    displacement: signed(bytes, at + (hasSib ? 1 : 0), count),
    isRipRelative: isLong && isAbsolute && !hasSib,
  };
}

/**
 * An instruction of two or three opcode bytes with ModRM.
 * @param nextRip for operands that are relative to it
 */
export function instructionInformation(
  bytes: Uint8Array,
  { isLong, addressBits }: CodeSize,
  nextRip: bigint,
): InstructionInformation {
  const { at, rex, segment, hasAddressSize } = prefixesOf(bytes, isLong);
  const opcodeBytes = bytes[at] === TWO_BYTE && bytes[at + 1] === THREE_BYTE ? 3 : 2;
  const modrm = bytes[at + opcodeBytes] ?? 0;
  const [mod, rm] = [modrm >> 6, modrm & 7];
  const reg = ((modrm >> 3) & 7) | (rex & Rex.R ? 8 : 0);
  const reg2 = reg << Info.REG2_SHIFT;
  if (mod === 3) {
    const reg1 = (rm | (rex & Rex.B ? 8 : 0)) << Info.REG1_SHIFT;
    return { information: (reg2 | reg1 | Info.IS_REGISTER) >>> 0, displacement: 0n };
  }
  const shorter = addressBits === 32 ? 16 : 32;
  const bits = hasAddressSize ? shorter : addressBits;
  const operandAt = at + opcodeBytes + 1;
  const address =
    bits === 16 ? address16(bytes, operandAt, mod, rm) : address32(bytes, operandAt, mod, rm, rex, isLong);
  const { base, index, scale, displacement, isRipRelative } = address;
  const ofStack = base === RSP || base === RBP ? SS : DS;
  const information =
    reg2 |
    (base === NONE ? Info.NO_BASE : base << Info.BASE_SHIFT) |
    (index === NONE ? Info.NO_INDEX : index << Info.INDEX_SHIFT) |
    ((segment ?? ofStack) << Info.SEGMENT_SHIFT) |
    ((bits >>> 5) << Info.ADDRESS_SIZE_SHIFT) |
    scale;
  return {
    information: information >>> 0,
    displacement: BigInt.asUintN(64, isRipRelative ? displacement + nextRip : displacement),
  };
}

/** Segment register of an operand in memory, by its number. */
export const segmentOf = (information: number): number => (information >>> Info.SEGMENT_SHIFT) & 7;

const INT_N = 0xcd;
/** INT3, INTO, INT1 or INT n: its first opcode byte, and how long it is; `undefined`: it is none of the bytes. */
export function softwareInterruptOf(
  bytes: Uint8Array,
  isLong: boolean,
): { readonly opcode: number; readonly lengthBytes: number } | undefined {
  const { at } = prefixesOf(bytes, isLong);
  const opcode = bytes[at];
  return opcode === undefined ? undefined : { opcode, lengthBytes: at + (opcode === INT_N ? 2 : 1) };
}

import { GPR, PAGE_BASE, X87, XMM, ZERO } from '../cpu/state.ts';
import { DecodeTable } from './decode-table.ts';
import { encodings } from './encodings/index.ts';
import { type CpuMode, isSegmented, modeFacts } from './modes.ts';
import { type DecodePlan, ImmediateKind, RegisterClass, StaticSource, WidthRule } from './plan.ts';
import { buildShape, variantKey } from './shape.ts';
import type { DecodedInstruction, DecodeResult, FetchByte } from './types.ts';

/** SDM vol. 2A, 2.3.11: a longer instruction raises #GP(0). */
const MAX_LENGTH_BYTES = 15;

const LONG_TABLE = new DecodeTable(encodings, true);
const LEGACY_TABLE = new DecodeTable(encodings, false);

/** Classes of prefix bytes; segment overrides are SEGMENT + register index. REX (long mode) is told apart by value. */
const Prefix = { none: 0, operandSize: 1, addressSize: 2, lock: 3, rep: 4, repne: 5, segment: 8 } as const;
const PREFIX_CLASS = new Uint8Array(256);
PREFIX_CLASS[0x66] = Prefix.operandSize;
PREFIX_CLASS[0x67] = Prefix.addressSize;
PREFIX_CLASS[0xf0] = Prefix.lock;
PREFIX_CLASS[0xf3] = Prefix.rep;
PREFIX_CLASS[0xf2] = Prefix.repne;
[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].forEach((byte, segment) => {
  PREFIX_CLASS[byte] = Prefix.segment + segment;
});

const GPR_OFFSETS = Int32Array.from(GPR, ({ offset }) => offset);
const XMM_OFFSETS = Int32Array.from(XMM, ({ offset }) => offset);
const MMX_OFFSETS = Int32Array.from(X87, ({ offset }) => offset);
const RSP = GPR[4].offset;
const SEGMENT_SS = 2;
const SEGMENT_DS = 3;
/** By register: whether `flat32` says all about it. */
const FLAT_SEGMENTS = [true, false, true, true, false, false];

const UNDEFINED: DecodeResult = { ok: false, reason: 'undefined' };
const NEEDS_BYTES: DecodeResult = { ok: false, reason: 'fetch' };
const TOO_LONG: DecodeResult = { ok: false, reason: 'tooLong' };

/** Reused by every call: whoever wants to keep an instruction copies its fields. */
const instruction: DecodedInstruction = {
  shape: undefined as unknown as DecodedInstruction['shape'],
  lengthBytes: 0,
  reg: 0,
  rm: 0,
  base: 0,
  index: 0,
  scale: 0,
  segment: -1,
  ripRelative: false,
  dispLow: 0,
  dispHigh: 0,
  immLow: 0,
  immHigh: 0,
  imm2: 0,
};
const DECODED: DecodeResult = { ok: true, instruction };

let fetchByte: FetchByte = () => -1;
let position = 0;
let failure: DecodeResult | undefined;

let longMode = true;
/** Limits and rights count: of all segments, or only of those that `flat32` does not take for granted. */
let segmented = false;
let modeNumber = 0;
let rex = 0;
let operandSizePrefix = false;
let addressSizePrefix = false;
let lockPrefix = false;
/** As in the table: 0 none, 2 F3, 3 F2. */
let repPrefix = 0;
/** −1: none. */
let segmentOverride = -1;
/** 0: 16 bits, 1: 32, 2: 64. */
let addressIndex = 0;

/** Next code byte; 0 once something has failed. */
function next(): number {
  if (position >= MAX_LENGTH_BYTES) {
    failure ??= TOO_LONG;
    return 0;
  }
  const byte = fetchByte(position);
  if (byte < 0) {
    failure ??= NEEDS_BYTES;
    return 0;
  }
  position++;
  return byte;
}
function next16(): number {
  return next() | (next() << 8);
}
function next32(): number {
  return next() | (next() << 8) | (next() << 16) | (next() << 24);
}
const signed8 = (byte: number) => (byte << 24) >> 24;
const signed16 = (word: number) => (word << 16) >> 16;

/**
 * Decode one instruction. The answer's instruction object is reused by the next call.
 * `fetch` is asked for bytes in order and never past the fifteenth.
 */
export function decode(fetch: FetchByte, mode: CpuMode): DecodeResult {
  fetchByte = fetch;
  position = 0;
  failure = undefined;
  longMode = mode === 'long64';
  segmented = isSegmented(mode);
  const facts = modeFacts(mode);
  modeNumber = facts.number;
  const modeIndex = longMode ? 0 : facts.codeBits === 32 ? 1 : 2;
  let byte = readPrefixes();
  addressIndex = longMode ? (addressSizePrefix ? 1 : 2) : (modeIndex === 1) === addressSizePrefix ? 0 : 1;
  let map = 0;
  if (byte === 0x0f) {
    byte = next();
    map = 1;
    if (byte === 0x38 || byte === 0x3a) {
      map = byte === 0x38 ? 2 : 3;
      byte = next();
    }
  }
  // 90 is NOP only while it names rAX twice: with REX.B it is XCHG r8, rAX, the row of 91–97.
  const lookedUp = map === 0 && byte === 0x90 && rex & 1 ? 0x91 : byte;
  const entry = (longMode ? LONG_TABLE : LEGACY_TABLE).entry((map << 8) | lookedUp);
  if (failure) return failure;
  if (!entry) return UNDEFINED;
  const slotIndex = ((repPrefix || (operandSizePrefix ? 1 : 0)) << 1) | ((rex >> 3) & 1);
  const slot = entry.slots[slotIndex];
  const modrm = entry.hasModrm ? next() : -1;
  if (failure) return failure;
  const plan = Array.isArray(slot) ? slot[modrm] : (slot as DecodePlan | undefined);
  if (!plan) return UNDEFINED;
  return finish(plan, byte, modrm, modeIndex);
}

/** Read all prefixes; answers the first byte after them. REX counts only right before the opcode. */
function readPrefixes(): number {
  rex = 0;
  operandSizePrefix = false;
  addressSizePrefix = false;
  lockPrefix = false;
  repPrefix = 0;
  segmentOverride = -1;
  for (;;) {
    const byte = next();
    const prefix = PREFIX_CLASS[byte];
    if (prefix === Prefix.none) {
      if (!longMode || (byte & 0xf0) !== 0x40 || failure) return byte;
      rex = byte;
      continue;
    }
    rex = 0;
    if (prefix >= Prefix.segment) overrideSegment(prefix - Prefix.segment);
    else if (prefix === Prefix.operandSize) operandSizePrefix = true;
    else if (prefix === Prefix.addressSize) addressSizePrefix = true;
    else if (prefix === Prefix.lock) lockPrefix = true;
    else repPrefix = prefix === Prefix.rep ? 2 : 3;
  }
}

/** In 64-bit mode only FS and GS overrides count (SDM vol. 1, 3.3.7.1). */
function overrideSegment(segment: number): void {
  if (!longMode || segment >= 4) segmentOverride = segment;
}

function finish(plan: DecodePlan, opcode: number, modrm: number, modeIndex: number): DecodeResult {
  const widthIndex = operandWidthIndex(plan, modeIndex);
  instruction.segment = -1;
  instruction.ripRelative = false;
  instruction.base = ZERO.offset;
  instruction.index = ZERO.offset;
  instruction.scale = 0;
  instruction.dispLow = 0;
  instruction.dispHigh = 0;
  let rmKind = 0;
  if (modrm >= 0) {
    if (modrm < 0xc0 && !plan.modIgnored) {
      rmKind = addressIndex === 0 ? decodeMemory16(modrm) : decodeMemory(modrm);
      if (plan.popsBeforeAddress && instruction.base === RSP) addDisplacement(1 << widthIndex);
    }
    if (plan.regClass !== RegisterClass.none) {
      instruction.reg = registerOffset(plan.regClass, ((modrm >> 3) & 7) | ((rex & 4) << 1));
    }
    if (rmKind === 0 && plan.rmClass !== RegisterClass.none) {
      instruction.rm = registerOffset(plan.rmClass, (modrm & 7) | ((rex & 1) << 3));
    }
  } else if (plan.opcodeRegClass !== RegisterClass.none) {
    instruction.reg = registerOffset(plan.opcodeRegClass, (opcode & 7) | ((rex & 1) << 3));
  }
  if (lockPrefix && (!plan.lockable || rmKind === 0)) return failure ?? UNDEFINED;
  if (readImmediate(plan.immediate, widthIndex)) rmKind = locateOffset();
  const staticValue = staticOperand(plan, modrm);
  if (failure) return failure;
  if (staticValue < 0) return UNDEFINED;
  instruction.lengthBytes = position;
  selectShape(plan, modeIndex, widthIndex, rmKind, staticValue);
  return DECODED;
}

function operandWidthIndex(plan: DecodePlan, modeIndex: number): number {
  const w = rex & 8;
  switch (plan.widthRule) {
    case WidthRule.fixed:
      return plan.widthIndex;
    case WidthRule.y:
      return w ? 3 : 2;
    case WidthRule.native:
      return modeIndex === 0 ? 3 : 2;
    default:
  }
  const prefix = operandSizePrefix && !plan.prefix66;
  if (modeIndex !== 0) return (modeIndex === 1) === prefix ? 1 : 2;
  if (w || plan.widthRule === WidthRule.f64) return 3;
  if (prefix) return 1;
  return plan.widthRule === WidthRule.d64 ? 3 : 2;
}

function registerOffset(registerClass: number, number: number): number {
  switch (registerClass) {
    case RegisterClass.xmm:
      return XMM_OFFSETS[number];
    case RegisterClass.mmx:
      return MMX_OFFSETS[number & 7];
    case RegisterClass.byte:
      // AH CH DH BH, unless a REX prefix makes them SPL BPL SIL DIL.
      if (rex === 0 && number >= 4) return GPR_OFFSETS[number & 3] + 1;
      return GPR_OFFSETS[number];
    default:
      return GPR_OFFSETS[number];
  }
}

/** 32- and 64-bit addressing (SDM vol. 2A, tables 2-2, 2-3). Answers the kind of r/m: 1 base, 2 full, 3 checked. */
function decodeMemory(modrm: number): number {
  const mod = modrm >> 6;
  let baseNumber = modrm & 7;
  let defaultSegment = SEGMENT_DS;
  let hasIndex = false;
  let hasBase = true;
  if (baseNumber === 4) {
    const sib = next();
    const indexNumber = ((sib >> 3) & 7) | ((rex & 2) << 2);
    hasIndex = indexNumber !== 4;
    if (hasIndex) {
      instruction.index = GPR_OFFSETS[indexNumber];
      instruction.scale = sib >> 6;
    }
    baseNumber = sib & 7;
    hasBase = !(baseNumber === 5 && mod === 0);
  } else if (baseNumber === 5 && mod === 0) {
    hasBase = false;
    instruction.ripRelative = longMode;
    if (longMode) instruction.base = PAGE_BASE.offset;
  }
  if (hasBase) {
    if (baseNumber === 4 || (baseNumber === 5 && (rex & 1) === 0)) defaultSegment = SEGMENT_SS;
    instruction.base = GPR_OFFSETS[baseNumber | ((rex & 1) << 3)];
  }
  if (mod === 1) setDisplacement(signed8(next()));
  else if (mod === 2 || !hasBase) setDisplacement(next32());
  return chooseAddressing(hasIndex, defaultSegment);
}

const BASES_16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDEXES_16 = [6, 7, 6, 7, -1, -1, -1, -1];

/** 16-bit addressing (SDM vol. 2A, table 2-1): never `base`. */
function decodeMemory16(modrm: number): number {
  const mod = modrm >> 6;
  const form = modrm & 7;
  let defaultSegment = SEGMENT_DS;
  if (mod === 0 && form === 6) {
    setDisplacement(signed16(next16()));
  } else {
    instruction.base = GPR_OFFSETS[BASES_16[form]];
    if (INDEXES_16[form] >= 0) instruction.index = GPR_OFFSETS[INDEXES_16[form]];
    if (BASES_16[form] === 5) defaultSegment = SEGMENT_SS;
    if (mod === 1) setDisplacement(signed8(next()));
    else if (mod === 2) setDisplacement(signed16(next16()));
  }
  return chooseAddressing(true, defaultSegment);
}

/**
 * `base` addressing needs neither index nor segment base; in 64-bit mode only FS and GS have one, and in flat segments
 * only they and CS need a look.
 */
function chooseAddressing(hasIndex: boolean, defaultSegment: number): number {
  const segment = segmentOverride >= 0 ? segmentOverride : defaultSegment;
  if (longMode ? segmentOverride < 0 : !segmented && FLAT_SEGMENTS[segment]) return hasIndex ? 2 : 1;
  instruction.segment = segment;
  return longMode ? 2 : 3;
}

function setDisplacement(value: number): void {
  instruction.dispLow = value;
  instruction.dispHigh = value >> 31;
}
function addDisplacement(bytes: number): void {
  const sum = instruction.dispLow + bytes;
  instruction.dispLow = sum | 0;
  instruction.dispHigh = sum > 0x7fffffff ? 0 : sum >> 31;
}
function setImmediate(value: number): void {
  instruction.immLow = value;
  instruction.immHigh = value >> 31;
}

/** Read the immediate; true when it was the address of a memory operand (moffs). */
function readImmediate(kind: number, widthIndex: number): boolean {
  instruction.imm2 = 0;
  switch (kind) {
    case ImmediateKind.none:
      setImmediate(0);
      return false;
    case ImmediateKind.byte:
    case ImmediateKind.relByte:
      setImmediate(signed8(next()));
      return false;
    case ImmediateKind.word:
      setImmediate(signed16(next16()));
      return false;
    case ImmediateKind.z:
    case ImmediateKind.relZ:
      setImmediate(widthIndex === 1 ? signed16(next16()) : next32());
      return false;
    case ImmediateKind.dword:
      setImmediate(next32());
      return false;
    case ImmediateKind.v:
      setImmediate(widthIndex === 1 ? signed16(next16()) : next32());
      if (widthIndex === 3) instruction.immHigh = next32();
      return false;
    case ImmediateKind.far:
      instruction.immLow = widthIndex === 1 ? next16() : next32();
      instruction.immHigh = next16();
      return false;
    case ImmediateKind.enter:
      setImmediate(next16());
      instruction.imm2 = next() & 31;
      return false;
    default:
      return true;
  }
}

/** moffs: the address itself stands in the instruction, in address size. */
function locateOffset(): number {
  instruction.dispLow = addressIndex === 0 ? next16() : next32();
  instruction.dispHigh = addressIndex === 2 ? next32() : 0;
  return chooseAddressing(false, SEGMENT_DS);
}

/** Value of the static operand, −1 if it is not allowed. */
function staticOperand(plan: DecodePlan, modrm: number): number {
  let value = 0;
  switch (plan.staticSource) {
    case StaticSource.none:
      return 0;
    case StaticSource.segment:
      value = (modrm >> 3) & 7;
      break;
    case StaticSource.reg:
      value = ((modrm >> 3) & 7) | ((rex & 4) << 1);
      break;
    case StaticSource.rm:
      value = modrm & 7;
      break;
    default:
      value = instruction.imm2;
  }
  return (plan.staticMask >> value) & 1 ? value : -1;
}

function selectShape(
  plan: DecodePlan,
  modeIndex: number,
  widthIndex: number,
  rmKind: number,
  staticValue: number,
): void {
  const key = variantKey(
    modeNumber,
    widthIndex,
    plan.usesAddress && (rmKind !== 0 || plan.usesSegmentOverride) ? addressIndex : nativeAddressIndex(modeIndex),
    rmKind,
    plan.repeatable && repPrefix ? repPrefix - 1 : 0,
    lockPrefix ? 1 : 0,
    plan.usesSegmentOverride ? segmentOverride : -1,
    staticValue,
  );
  let shape = plan.shapes.get(key);
  if (shape === undefined) {
    shape = buildShape(plan.row, key);
    plan.shapes.set(key, shape);
  }
  instruction.shape = shape;
}

function nativeAddressIndex(modeIndex: number): number {
  return 2 - modeIndex;
}

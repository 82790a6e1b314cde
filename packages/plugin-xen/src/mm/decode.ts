/**
 * A small decoder for instructions that write to memory in 64-bit mode and in 32-bit code: those with which kernels write
 * page-table entries (SDM vol. 2A, chapter 2 and the instruction pages). Anything else: `undefined`.
 */
export type ArithmeticName = 'add' | 'or' | 'adc' | 'sbb' | 'and' | 'sub' | 'xor';

export interface MemoryWrite {
  readonly length: number;
  readonly sizeBytes: 1 | 2 | 4 | 8;
  readonly operation:
    | { readonly kind: 'mov' | 'xchg' | 'xadd' | 'cmpxchg' | 'cmpxchg8b' }
    | { readonly kind: 'arithmetic'; readonly name: ArithmeticName }
    | { readonly kind: 'inc' | 'dec' | 'not' | 'neg' }
    | { readonly kind: 'bit'; readonly name: 'bts' | 'btr' | 'btc' }
    | { readonly kind: 'stos' | 'movs'; readonly repeated: boolean };
  /** The other operand: a general register (its number), the high byte of one, or an immediate. */
  readonly source:
    | { readonly register: number; readonly highByte: boolean }
    | { readonly immediate: bigint }
    | undefined;
}

const ARITHMETIC: readonly (ArithmeticName | undefined)[] = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', undefined];
const BIT_OPERATIONS = { 5: 'bts', 6: 'btr', 7: 'btc' } as const;

export const MAX_INSTRUCTION_BYTES = 15;

class Reader {
  readonly #bytes: Uint8Array;
  at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  /** The next byte, or -1 past the end. */
  next(): number {
    return this.at < this.#bytes.length ? this.#bytes[this.at++] : -1;
  }
  /** Sign-extended little-endian immediate, or `undefined` past the end. */
  immediate(sizeBytes: number): bigint | undefined {
    if (this.at + sizeBytes > this.#bytes.length) return undefined;
    let value = 0n;
    for (let index = sizeBytes - 1; index >= 0; index--) value = (value << 8n) | BigInt(this.#bytes[this.at + index]);
    this.at += sizeBytes;
    return BigInt.asIntN(sizeBytes * 8, value);
  }
}

interface Prefixes {
  operandSize: boolean;
  addressSize: boolean;
  repeated: boolean;
  rex: number;
}

interface ModRm {
  readonly reg: number;
  readonly isMemory: boolean;
}

export function decodeMemoryWrite(bytes: Uint8Array, mode: 32 | 64): MemoryWrite | undefined {
  const reader = new Reader(bytes);
  const prefixes: Prefixes = { operandSize: false, addressSize: false, repeated: false, rex: 0 };
  const opcode = readPrefixes(reader, prefixes, mode);
  const decoded = opcode === 0x0f ? decodeTwoByte(reader, prefixes) : decodeOneByte(reader, prefixes, opcode);
  // 16-bit addresses have a ModRM byte of another shape.
  if (mode === 32 && prefixes.addressSize) return undefined;
  return decoded === undefined ? undefined : { ...decoded, length: reader.at };
}

function readPrefixes(reader: Reader, prefixes: Prefixes, mode: 32 | 64): number {
  for (;;) {
    const byte = reader.next();
    if (byte === 0x66) prefixes.operandSize = true;
    else if (byte === 0xf2 || byte === 0xf3) prefixes.repeated = true;
    else if (byte === 0x67) prefixes.addressSize = true;
    else if (mode === 64 && (byte & 0xf0) === 0x40) {
      prefixes.rex = byte;
      return reader.next();
    } else if (![0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65].includes(byte)) return byte;
  }
}

type Decoded = Omit<MemoryWrite, 'length'>;

function operandSize(prefixes: Prefixes, wide: boolean): 1 | 2 | 4 | 8 {
  if (!wide) return 1;
  if ((prefixes.rex & 8) !== 0) return 8;
  return prefixes.operandSize ? 2 : 4;
}

/** ModRM with SIB and displacement skipped; the address itself is known from the fault. */
function readModRm(reader: Reader, prefixes: Prefixes): ModRm | undefined {
  const modrm = reader.next();
  if (modrm < 0) return undefined;
  const mod = modrm >> 6;
  const rm = modrm & 7;
  const reg = ((modrm >> 3) & 7) | ((prefixes.rex & 4) << 1);
  if (mod === 3) return { reg, isMemory: false };
  let displacement = mod === 1 ? 1 : mod === 2 ? 4 : 0;
  if (rm === 4) {
    const sib = reader.next();
    if (sib < 0) return undefined;
    if (mod === 0 && (sib & 7) === 5) displacement = 4;
  } else if (mod === 0 && rm === 5) displacement = 4;
  return displacement > 0 && reader.immediate(displacement) === undefined ? undefined : { reg, isMemory: true };
}

function registerSource(prefixes: Prefixes, reg: number, sizeBytes: number): Decoded['source'] {
  const highByte = sizeBytes === 1 && prefixes.rex === 0 && reg >= 4;
  return { register: highByte ? reg - 4 : reg, highByte };
}

function decodeOneByte(reader: Reader, prefixes: Prefixes, opcode: number): Decoded | undefined {
  const wide = (opcode & 1) !== 0;
  const sizeBytes = operandSize(prefixes, wide);
  if (opcode === 0xa4 || opcode === 0xa5) {
    return { sizeBytes, operation: { kind: 'movs', repeated: prefixes.repeated }, source: undefined };
  }
  if (opcode === 0xaa || opcode === 0xab) {
    return {
      sizeBytes,
      operation: { kind: 'stos', repeated: prefixes.repeated },
      source: { register: 0, highByte: false },
    };
  }
  if (opcode < 0 || !isModRmOpcode(opcode)) return undefined;
  const modrm = readModRm(reader, prefixes);
  if (modrm === undefined || !modrm.isMemory) return undefined;
  const register = registerSource(prefixes, modrm.reg, sizeBytes);
  if (opcode < 0x40) return arithmetic(ARITHMETIC[opcode >> 3], sizeBytes, register);
  if (opcode === 0x80 || opcode === 0x81 || opcode === 0x83) {
    const source = immediate(reader, opcode === 0x83 ? 1 : Math.min(sizeBytes, 4));
    return source && arithmetic(ARITHMETIC[modrm.reg & 7], sizeBytes, source);
  }
  if (opcode === 0x86 || opcode === 0x87) return { sizeBytes, operation: { kind: 'xchg' }, source: register };
  if (opcode === 0x88 || opcode === 0x89) return { sizeBytes, operation: { kind: 'mov' }, source: register };
  return decodeGroup(reader, modrm.reg & 7, opcode, sizeBytes);
}

function isModRmOpcode(opcode: number): boolean {
  if (opcode < 0x40) return (opcode & 7) <= 1;
  return [0x80, 0x81, 0x83, 0x86, 0x87, 0x88, 0x89, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff].includes(opcode);
}

function decodeGroup(reader: Reader, extension: number, opcode: number, sizeBytes: 1 | 2 | 4 | 8): Decoded | undefined {
  if (opcode === 0xc6 || opcode === 0xc7) {
    const source = extension === 0 ? immediate(reader, Math.min(sizeBytes, 4)) : undefined;
    return source && { sizeBytes, operation: { kind: 'mov' }, source };
  }
  const isUnary = opcode === 0xf6 || opcode === 0xf7;
  const kind = isUnary ? ({ 2: 'not', 3: 'neg' } as const)[extension] : ({ 0: 'inc', 1: 'dec' } as const)[extension];
  return kind === undefined ? undefined : { sizeBytes, operation: { kind }, source: undefined };
}

function immediate(reader: Reader, sizeBytes: number): { immediate: bigint } | undefined {
  const value = reader.immediate(sizeBytes);
  return value === undefined ? undefined : { immediate: value };
}

function arithmetic(
  name: ArithmeticName | undefined,
  sizeBytes: 1 | 2 | 4 | 8,
  source: Decoded['source'],
): Decoded | undefined {
  return name === undefined ? undefined : { sizeBytes, operation: { kind: 'arithmetic', name }, source };
}

function decodeTwoByte(reader: Reader, prefixes: Prefixes): Decoded | undefined {
  const opcode = reader.next();
  if (opcode === 0xc7) return decodePair(reader, prefixes);
  if (![0xab, 0xb3, 0xbb, 0xba, 0xb0, 0xb1, 0xc0, 0xc1].includes(opcode)) return undefined;
  const modrm = readModRm(reader, prefixes);
  if (modrm === undefined || !modrm.isMemory) return undefined;
  const isBit = opcode === 0xab || opcode === 0xb3 || opcode === 0xbb || opcode === 0xba;
  const sizeBytes = operandSize(prefixes, isBit || (opcode & 1) !== 0);
  const register = registerSource(prefixes, modrm.reg, sizeBytes);
  if (opcode === 0xba) {
    const name = BIT_OPERATIONS[(modrm.reg & 7) as keyof typeof BIT_OPERATIONS];
    const source = name === undefined ? undefined : immediate(reader, 1);
    return source && { sizeBytes, operation: { kind: 'bit', name }, source };
  }
  if (isBit) {
    const name = opcode === 0xab ? 'bts' : opcode === 0xb3 ? 'btr' : 'btc';
    return { sizeBytes, operation: { kind: 'bit', name }, source: register };
  }
  return { sizeBytes, operation: { kind: opcode < 0xc0 ? 'cmpxchg' : 'xadd' }, source: register };
}

/** CMPXCHG8B, 0F C7 /1; the 16-byte form writes two entries and is none of these. */
function decodePair(reader: Reader, prefixes: Prefixes): Decoded | undefined {
  const modrm = readModRm(reader, prefixes);
  if (modrm === undefined || !modrm.isMemory || (modrm.reg & 7) !== 1 || (prefixes.rex & 8) !== 0) return undefined;
  return { sizeBytes: 8, operation: { kind: 'cmpxchg8b' }, source: undefined };
}

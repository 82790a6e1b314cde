/** The few instructions that are put into guest kernels (SDM vol. 2: CALL, JMP, RET, VMCALL, PUSH, POP, MOV, LEA). */

const CALL = 0xe8;
const JMP = 0xe9;
const NOP = 0x90;
/** CS override: a branch does not heed it in 64-bit mode, and the base of a flat CS is 0; it only makes CALL longer. */
const PADDING_PREFIX = 0x2e;
/** Of CALL rel32 and JMP rel32. */
export const BRANCH_BYTES = 5;

export type Branch = 'call' | 'jmp';

/** Whether a branch that ends at `from` leads to `to`: 32-bit code reaches every address, since EIP wraps around. */
export function reaches(from: bigint, to: bigint): boolean {
  const distance = BigInt.asIntN(64, to - from);
  return BigInt.asIntN(32, distance) === distance || (from < 1n << 32n && to < 1n << 32n);
}
/** The 32 bits that a branch that ends at `from` needs. */
function reachOf(from: bigint, to: bigint): number {
  if (!reaches(from, to)) throw new RangeError(`0x${to.toString(16)} is out of reach from 0x${from.toString(16)}`);
  return Number(BigInt.asIntN(32, to - from));
}

function displacement(from: bigint, to: bigint): number[] {
  const distance = reachOf(from, to);
  return [0, 8, 16, 24].map((shift) => (distance >> shift) & 0xff);
}

export function wordBytes(value: bigint, sizeBytes: number): number[] {
  return Array.from({ length: sizeBytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

/** CALL or JMP rel32 at `at`. */
export function branch(kind: Branch, at: bigint, to: bigint): number[] {
  return [kind === 'call' ? CALL : JMP, ...displacement(at + BigInt(BRANCH_BYTES), to)];
}

/** A branch in the making: all but where it leads. */
interface SiteTemplate {
  readonly bytes: Uint8Array;
  /** Offset of the displacement, and of the instruction after it. */
  readonly displacementAt: number;
  readonly endAt: number;
}

/**
 * A branch that fills `sizeBytes`. As one instruction: the return address is the end of the site, and no boundary of
 * instructions lies within. `tail` of bytes after a branch of five that are there already are kept instead.
 */
export function siteTemplate(kind: Branch, sizeBytes: number, tail?: Uint8Array): SiteTemplate {
  if (sizeBytes < BRANCH_BYTES) throw new RangeError(`${sizeBytes} bytes do not hold a branch`);
  const bytes = new Uint8Array(sizeBytes).fill(PADDING_PREFIX);
  const padding = tail ? 0 : sizeBytes - BRANCH_BYTES;
  if (tail) bytes.set(tail, BRANCH_BYTES);
  bytes[padding] = kind === 'call' ? CALL : JMP;
  return { bytes, displacementAt: padding + 1, endAt: padding + BRANCH_BYTES };
}

/** The branch of five bytes at the start of some code; `undefined`: there is none. */
export function directBranch(bytes: Uint8Array): Branch | undefined {
  if (bytes.length < BRANCH_BYTES) return undefined;
  return bytes[0] === CALL ? 'call' : bytes[0] === JMP ? 'jmp' : undefined;
}
/** What follows such a branch at the start of a site, if that is what it holds. */
export function tailOfDirectBranch(bytes: Uint8Array): Uint8Array | undefined {
  return directBranch(bytes) && bytes.slice(BRANCH_BYTES);
}
/** Where such a branch at `at` leads, before the address wraps around. */
export function directTarget(at: bigint, bytes: Uint8Array): bigint | undefined {
  if (!directBranch(bytes)) return undefined;
  const distance = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getInt32(1, true);
  return at + BigInt(BRANCH_BYTES + distance);
}

/** Offsets in a slot's gate block. */
export const GateOffset = { gate: 0, trap: 8, done: 11, previous: 12, call: 17, after: 22, native: 26 } as const;
export const GATE_BYTES = 32;

/**
 * What stays in the guest for each slot: a gate that leads to what the slot has at present; a trap, VMCALL, after which the
 * host lets the guest go on with RET, a jump to the previous or the native implementation, or a call of the previous one and
 * a second trap.
 */
export function gateBlock(
  at: bigint,
  { target, previous, native }: { readonly target: bigint; readonly previous: bigint; readonly native: bigint },
): Uint8Array {
  const place = (offset: number) => at + BigInt(offset);
  const vmcall = [0x0f, 0x01, 0xc1];
  const ret = 0xc3;
  return Uint8Array.of(
    ...branch('jmp', at, target),
    ...[NOP, NOP, NOP],
    ...[...vmcall, ret],
    ...branch('jmp', place(GateOffset.previous), previous),
    ...branch('call', place(GateOffset.call), previous),
    ...[...vmcall, ret],
    ...branch('jmp', place(GateOffset.native), native),
  );
}

export const COUNTER_BYTES = 32;

/** Adds one to the word at `counter`, changes neither registers nor flags, and goes on at `to`. */
export function countingCode(at: bigint, counter: bigint, to: bigint, width: 4 | 8): Uint8Array {
  const w = width === 8 ? [0x48] : [];
  const operand = (end: number) => (width === 8 ? displacement(at + BigInt(end), counter) : wordBytes(counter, 4));
  const code: number[] = [0x50];
  code.push(...w, 0x8b, 0x05, ...operand(code.length + w.length + 6));
  code.push(...w, 0x8d, 0x40, 0x01);
  code.push(...w, 0x89, 0x05, ...operand(code.length + w.length + 6));
  code.push(0x58);
  code.push(...branch('jmp', at + BigInt(code.length), to));
  return Uint8Array.from(code);
}

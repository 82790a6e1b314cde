import { Gpr } from '@polyvisor/plugin-api';

/**
 * Pushed after the flags, in this order: everything that a function may use (PUSH r: 50+r, with REX.B for R8 to R15). Those
 * that C lets it change come first, RAX before all: what callers keep is between it and those that it has to keep itself.
 */
const PUSHED = {
  64: [Gpr.RAX, Gpr.RCX, Gpr.RDX, Gpr.RSI, Gpr.RDI, 8, 9, 10, 11, Gpr.RBX, Gpr.RBP, 12, 13, 14, 15],
  32: [Gpr.RAX, Gpr.RCX, Gpr.RDX, Gpr.RBX, Gpr.RBP, Gpr.RSI, Gpr.RDI],
} as const;
/** How many of these C makes a function keep (System V AMD64 ABI, figure 3.4; i386 ABI, 2.2.1). */
const KEPT = { 64: 6, 32: 4 } as const;
/** What i386 may have for the function on the stack: a quadword and two more words, behind three in registers. */
const STACK_ARGUMENTS = { 64: 0, 32: 4 } as const;

const push = (register: number) => (register < 8 ? [0x50 + register] : [0x41, 0x48 + register]);
const pop = (register: number) => (register < 8 ? [0x58 + register] : [0x41, 0x50 + register]);
const imm32 = (value: number) => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);

/** What an operation's thunk leaves on the stack while it runs; offsets count from the word that holds the address of the next one. */
export interface FrameLayout {
  readonly wordBytes: 4 | 8;
  /** Where the thunk goes on, below it. */
  readonly returnAt: number;
  /** Registers by their encoding numbers, from the word above it up. */
  readonly registers: readonly number[];
  readonly flagsAt: number;
  /** Where the stack pointer was at the thunk's first instruction. */
  readonly entryAt: number;
}

export function frameLayout(width: 32 | 64): FrameLayout {
  const wordBytes = width === 64 ? 8 : 4;
  const registers = PUSHED[width].toReversed();
  const flagsAt = (registers.length + 1) * wordBytes;
  const returnAt = -(STACK_ARGUMENTS[width] + 1) * wordBytes;
  return { wordBytes, returnAt, registers, flagsAt, entryAt: flagsAt + wordBytes };
}

/**
 * Where the frame of the innermost operation is on a stack, `bytes` from `sp` up, and what operation it is; unless the kernel's own
 * code is between it and `sp`: what that holds would be held for ever. It is looked for by the address that the operation's function
 * returns to, since that is lowest: the copies of what may be arguments are above, and are return addresses of the kernel's own
 * where its function has less of them.
 */
export function innermostFrame<Op>(
  { wordBytes, returnAt }: FrameLayout,
  bytes: Uint8Array,
  sp: bigint,
  known: { opOf(returnTo: bigint): Op | undefined; returnsToKernel(value: bigint): boolean },
): { readonly at: bigint; readonly op: Op } | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (at: number) => (wordBytes === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
  for (let at = 0; at + wordBytes <= bytes.length; at += wordBytes) {
    const op = known.opOf(word(at));
    const markAt = at - returnAt;
    const mark = sp + BigInt(markAt);
    const isMarked = markAt + wordBytes <= bytes.length && word(markAt) === mark + BigInt(wordBytes);
    if (op !== undefined && isMarked) return { at: mark, op };
    if (known.returnsToKernel(word(at))) return undefined;
  }
  return undefined;
}

interface OpThunk {
  readonly code: Uint8Array;
  /** Offset of the instruction after the call: what the function returns to. */
  readonly returnTo: number;
}

/**
 * Calls a C function with everything on the stack that is needed to go on as if it had not been called: PUSHF, PUSH of all
 * registers, and a word that holds the address of the next one, by which the frame is found. It is wiped afterwards, so
 * what lies below a stack pointer is none. `keepsRegisters`: callers of the slot keep all but RAX (Linux's
 * paravirt_callee_save). `address` is the thunk's own. Fits into THUNK_BYTES.
 */
export function opThunk(width: 32 | 64, keepsRegisters: boolean, address: bigint, target: bigint): OpThunk {
  const pushed = PUSHED[width];
  const { wordBytes, entryAt } = frameLayout(width);
  const rex = width === 64 ? [0x48] : [];
  const code = [0x9c, ...pushed.flatMap(push), ...push(Gpr.RSP)];
  const copies = STACK_ARGUMENTS[width];
  // PUSH [ESP+disp8], again and again: ESP moves on with each. Behind the return address is the first argument.
  for (let i = 0; i < copies; i++) code.push(0xff, 0x74, 0x24, entryAt + copies * wordBytes);
  const distance = Number(BigInt.asIntN(width, target - (address + BigInt(code.length + 5))));
  code.push(0xe8, ...imm32(distance));
  const returnTo = code.length;
  const addSp = (bytes: number) => [...rex, ...(bytes < 128 ? [0x83, 0xc4, bytes] : [0x81, 0xc4, ...imm32(bytes)])];
  if (copies > 0) code.push(...addSp(copies * wordBytes));
  code.push(...rex, 0xc7, 0x04, 0x24, ...imm32(0));
  if (keepsRegisters) {
    const [, ...clobbered] = pushed.slice(0, pushed.length - KEPT[width]);
    code.push(...addSp((KEPT[width] + 1) * wordBytes), ...clobbered.toReversed().flatMap(pop), ...addSp(2 * wordBytes));
  } else code.push(...addSp(entryAt));
  return { code: Uint8Array.from([...code, 0xc3]), returnTo };
}

/** Registers that C lets a function change, less the result's (System V AMD64 ABI, figure 3.4; i386 ABI, 2.2.1). */
const SAVED = {
  // RCX, RDX, RSI, RDI, R8 to R11: PUSH r64 (50+rd, 41 50+rd), POP r64 (58+rd).
  64: [[0x51], [0x52], [0x56], [0x57], [0x41, 0x50], [0x41, 0x51], [0x41, 0x52], [0x41, 0x53]],
  32: [[0x51], [0x52]],
} as const;

export const CALLEE_SAVE_BYTES = 32;

/**
 * Calls a C function for a caller that wants to keep its registers (Linux's paravirt_callee_save): PUSH of those that C may
 * change, CALL rel32, POP, RET. `address` is the thunk's own. Fits into {@link CALLEE_SAVE_BYTES}.
 */
export function calleeSaveThunk(width: 32 | 64, address: bigint, target: bigint): Uint8Array {
  const saved = SAVED[width];
  const pushes = saved.flat();
  const pops = saved.toReversed().flatMap((push) => [...push.slice(0, -1), push[push.length - 1] + 8]);
  const distance = Number(BigInt.asIntN(width, target - (address + BigInt(pushes.length + 5))));
  const call = [0xe8, ...[0, 8, 16, 24].map((shift) => (distance >> shift) & 0xff)];
  return Uint8Array.from([...pushes, ...call, ...pops, 0xc3]);
}

import { GPR, SEGMENT_BASE } from '../cpu/state.ts';
import { callIndirect, callRelative, returnAndRelease, returnNear } from './semantics/control.ts';
import { popFlags, pushFlags } from './semantics/flag.ts';
import { enter, leave, popOperand, pushOperand, pushSegment } from './semantics/stack.ts';
import type { DecodedInstruction, Semantics } from './types.ts';

const SEGMENT_FS = 4;
const LOW_32_BITS = 0xffffffffn;
/** No operand in memory is larger (FXSAVE). */
const LARGEST_OPERAND_BYTES = 512n;

/** What reaches the stack beside its operand. PUSHA and POPA are not there in 64-bit mode. */
const STACK_SEMANTICS: ReadonlySet<Semantics> = new Set([
  ...[pushOperand, pushSegment, pushFlags, popOperand, popFlags, enter, leave],
  ...[callRelative, callIndirect, returnNear, returnAndRelease],
]);

/** A register of the state block, 64 bits, by its offset there. */
type ReadSlot = (offset: number) => bigint;

/**
 * Whether it was through the stack segment that an instruction of 64-bit mode reached a linear address. What is not canonical
 * there raises #SS(0), elsewhere #GP(0) (SDM vol. 3A, 6.15, interrupt 12). Through SS go the stack's own accesses, and operands
 * whose base is rSP or rBP, unless a prefix names FS or GS; other prefixes do not count (SDM vol. 1, 3.4.2.1 and 3.7.5).
 */
export function reachesStackSegment(instruction: DecodedInstruction, address: bigint, slot: ReadSlot): boolean {
  const { shape } = instruction;
  const usesStack = STACK_SEMANTICS.has(shape.encoding.semantics);
  const operand = shape.operands.find(({ kind }) => kind === 'mem');
  if (operand?.kind !== 'mem') return usesStack;
  if (usesStack) {
    const distance = BigInt.asUintN(64, address - operandAddress(instruction, operand.addressing, slot));
    if (distance >= LARGEST_OPERAND_BYTES) return true;
  }
  const { base, ripRelative, segment } = instruction;
  if (ripRelative || (operand.addressing === 'full' && segment >= SEGMENT_FS)) return false;
  return base === GPR[4].offset || base === GPR[5].offset;
}

/** Linear address of the operand in memory. */
function operandAddress(d: DecodedInstruction, addressing: string, slot: ReadSlot): bigint {
  const full = addressing !== 'base';
  const displacement = (BigInt(d.dispHigh) << 32n) | BigInt(d.dispLow >>> 0);
  const offset = slot(d.base) + displacement + (full ? slot(d.index) << BigInt(d.scale) : 0n);
  const cut = d.shape.addressWidth === 64 ? offset : offset & LOW_32_BITS;
  return BigInt.asUintN(64, full && d.segment >= SEGMENT_FS ? cut + slot(SEGMENT_BASE[d.segment].offset) : cut);
}

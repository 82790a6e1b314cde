import { Flag } from '../../isa/flags.ts';

/**
 * What a return may change of RFLAGS: IOPL only at CPL 0, IF only at or above IOPL. RF would be gone after the next
 * instruction, and only keeps instruction breakpoints away: IRET loads it where there are any.
 */
export function mergeFlags(old: bigint, image: bigint, cpl: number, widthBits: number): bigint {
  const mask = BigInt(changeableFlags(Number(old & 0xffffn), cpl, widthBits));
  return (old & ~mask) | (image & mask) | 2n;
}
/** The same as a mask; `old` may lack what is above bit 15. */
export function changeableFlags(old: number, cpl: number, widthBits: number): number {
  let changeable = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.TF | Flag.DF | Flag.OF | Flag.NT;
  if (widthBits > 16) changeable |= Flag.AC | Flag.ID;
  if (cpl <= ((old >> 12) & 3)) changeable |= Flag.IF;
  if (cpl === 0) changeable |= Flag.IOPL;
  if (cpl === 0 && widthBits > 16) changeable |= Flag.VIF | Flag.VIP;
  return changeable;
}

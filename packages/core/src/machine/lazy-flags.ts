import { EFLAGS_SYSTEM, FC, FS, FZ } from '../cpu/state.ts';
import { ARITHMETIC_FLAGS, Flag } from '../isa/flags.ts';

/** Where the flags stand in the state block, as indices of 32-bit words. */
const Word = {
  FC: FC.offset >>> 2,
  FZ: FZ.offset >>> 2,
  FS: FS.offset >>> 2,
  EFLAGS_SYSTEM: EFLAGS_SYSTEM.offset >>> 2,
} as const;
/** Bits of RFLAGS that are more than reserved, the arithmetic ones apart; bit 1 is always set. */
const SYSTEM_FLAGS = 0x3f7700 & ~Flag.OF;
const ALWAYS_SET = 2;

/** EFLAGS from a state block, where the arithmetic flags are kept as what they come from (cpu/state.ts). */
export function readFlags(words: Int32Array): number {
  const fc = words[Word.FC];
  let flags = words[Word.EFLAGS_SYSTEM] & ~ARITHMETIC_FLAGS;
  if (fc < 0) flags |= Flag.CF;
  if ((fc ^ (fc << 1)) < 0) flags |= Flag.OF;
  if (fc & 8) flags |= Flag.AF;
  if ((words[Word.FZ] | words[Word.FZ + 1]) === 0) flags |= Flag.ZF;
  if (words[Word.FS + 1] < 0) flags |= Flag.SF;
  if (evenParity(words[Word.FS] & 0xff)) flags |= Flag.PF;
  return flags;
}

/** Keep an image of EFLAGS in a state block, less its reserved bits. */
export function writeFlags(words: Int32Array, image: number): void {
  const carry = image & 1;
  const overflow = (image >>> 11) & 1;
  words[Word.FC] = (carry << 31) | ((carry ^ overflow) << 30) | (((image >>> 4) & 1) << 3);
  words[Word.FZ] = image & Flag.ZF ? 0 : 1;
  words[Word.FZ + 1] = 0;
  words[Word.FS] = image & Flag.PF ? 0 : 1;
  words[Word.FS + 1] = image & Flag.SF ? 1 << 31 : 0;
  words[Word.EFLAGS_SYSTEM] = (image & SYSTEM_FLAGS) | ALWAYS_SET;
}

function evenParity(byte: number): boolean {
  let bits = byte ^ (byte >> 4);
  bits ^= bits >> 2;
  bits ^= bits >> 1;
  return (bits & 1) === 0;
}

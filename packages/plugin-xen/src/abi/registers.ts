import type { HypercallArguments } from '../domain.ts';

/**
 * Calls that take 64-bit arguments, which a 32-bit guest passes in two registers or multicall words, low half first
 * (public/xen.h; the prototypes in arch-x86/xen-x86_32.h's consumers are those of the compat handlers). By number: how
 * many words each argument takes.
 */
const WORDS_OF_ARGUMENTS: Readonly<Record<number, readonly number[]>> = {
  10: [2, 2], // update_descriptor: machine address, descriptor
  14: [1, 2, 1], // update_va_mapping: address, entry, flags
  15: [2], // set_timer_op: deadline
  22: [1, 2, 1, 1], // update_va_mapping_otherdomain: address, entry, flags, domain
};

const NO_ARGUMENT = 0n;

/** The arguments of call `number` as a 64-bit guest would pass them, from 32-bit words. */
export function widenArguments(number: number, words: HypercallArguments): HypercallArguments {
  const sizes = WORDS_OF_ARGUMENTS[number];
  if (sizes === undefined) return words;
  const wide: bigint[] = [];
  let at = 0;
  for (const size of sizes) {
    wide.push(size === 2 ? words[at] | (words[at + 1] << 32n) : words[at]);
    at += size;
  }
  while (wide.length < words.length) wide.push(NO_ARGUMENT);
  return wide;
}

import type { ExitKind } from '@polyvisor/plugin-api';
import { Direct } from '../cpu/state.ts';

/** What generated code may carry out by itself, by the exit that it would be otherwise. */
const BITS: readonly (readonly [ExitKind, number])[] = [
  ['cli', Direct.CLI],
  ['sti', Direct.STI],
  ['swapgs', Direct.SWAPGS],
  ['syscall', Direct.SYSCALL],
  ['sysret', Direct.SYSRET],
  ['sysenter', Direct.SYSENTER],
  ['sysexit', Direct.SYSEXIT],
  ['iret', Direct.IRET],
  ['invlpg', Direct.INVLPG],
  ['readCr', Direct.READ_CR],
  ['writeCr', Direct.WRITE_CR3],
  ['exception', Direct.PAGE_FAULT],
];
/** Whether an exit's instruction leaves guest code at present; of writes to control registers, those of CR3, of exceptions, page faults. */
export function leaves(kind: ExitKind, direct: number): boolean {
  const bit = BITS.find(([known]) => known === kind)?.[1];
  return bit === undefined || (direct & bit) === 0;
}

/** Plug-ins do not see these. */
const NOBODY_ASKS = Direct.POPF | Direct.ALIGNMENT_CHECK | Direct.PLUGIN_CODE | Direct.SEGMENT;

/** Bits of DIRECT for the exits that somebody is `asked` about. */
export function directInstructions(asked: (kind: ExitKind) => boolean): number {
  const reversed = (asked('pause') ? Direct.PAUSE_LEAVES : 0) | (asked('rdtsc') ? Direct.TSC_LEAVES : 0);
  return BITS.reduce((bits, [kind, bit]) => (asked(kind) ? bits : bits | bit), NOBODY_ASKS | reversed);
}

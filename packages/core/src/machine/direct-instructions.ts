import type { ExitKind } from '@polyvisor/plugin-api';
import { Direct } from '../cpu/state.ts';
import type { CpuMode } from '../isa/modes.ts';

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
/** The other way round: these leave if their bit is set. */
const REVERSED_BITS: readonly (readonly [ExitKind, number])[] = [
  ['pause', Direct.PAUSE_LEAVES],
  ['rdtsc', Direct.TSC_LEAVES],
];
export const REVERSED = Direct.PAUSE_LEAVES | Direct.TSC_LEAVES;

/** Whether an exit's instruction leaves guest code at present; of writes to control registers, those of CR3, of exceptions, page faults. */
export function leaves(kind: ExitKind, direct: number): boolean {
  const reversed = REVERSED_BITS.find(([known]) => known === kind)?.[1];
  if (reversed !== undefined) return (direct & reversed) !== 0;
  const bit = BITS.find(([known]) => known === kind)?.[1];
  return bit === undefined || (direct & bit) === 0;
}

/** Plug-ins do not see these. */
const NOBODY_ASKS = Direct.POPF | Direct.ALIGNMENT_CHECK | Direct.PLUGIN_CODE | Direct.SEGMENT;

/** Bits of DIRECT for the exits that somebody is `asked` about. */
export function directInstructions(asked: (kind: ExitKind) => boolean): number {
  const leaving = REVERSED_BITS.reduce((bits, [kind, bit]) => (asked(kind) ? bits | bit : bits), NOBODY_ASKS);
  return BITS.reduce((bits, [kind, bit]) => (asked(kind) ? bits : bits | bit), leaving);
}

/** Likewise, while all that takes CPL 0 leaves, and page faults do: IRET, and loads of segment registers, are for any level. */
export function unprivilegedInstructions(asked: (kind: ExitKind) => boolean): number {
  return (
    directInstructions((kind) => asked(kind) || BITS.some(([known]) => known === kind && kind !== 'iret')) &
    ~Direct.POPF
  );
}

const LEVEL_CHANGES = Direct.SYSCALL | Direct.SYSRET | Direct.IRET;
/** In which modes generated code changes levels. Somebody who sees one way in or out of 64-bit mode switches roots at others. */
export function modesOfLevelChanges(direct: number): readonly CpuMode[] {
  const inLegacy = (direct & Direct.IRET) !== 0 ? (['flat32', 'seg32'] as const) : [];
  return (direct & LEVEL_CHANGES) === LEVEL_CHANGES ? ['long64', ...inLegacy] : inLegacy;
}

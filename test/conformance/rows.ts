import { encodings } from '../../packages/core/src/isa/encodings/index.ts';
import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';

/** Mnemonics whose rows have no cases, beside the rows marked `system`, and why. */
export const NOT_RECORDED: ReadonlyMap<RegExp, string> = new Map([
  [/^(SYSCALL|SYSENTER|INT)$/, 'enters the kernel, which the oracle has shut out'],
  [/^(RDTSC|RDTSCP|RDPID|RDRAND|RDSEED|CPUID|XGETBV|RDPRU)$/, 'answers with what this very machine and moment are'],
  [/^SALC$/, 'stands in no manual’s tables; tested beside the code'],
  [/^(VMCALL|VMMCALL|UD0|UD1|VMFUNC)$/, 'belongs to the hypervisor that the host itself runs under'],
  [
    /^(IRET\w*|RETF|CALLF|JMPF|LDS|LES|LSS|LFS|LGS)$/,
    'needs descriptor tables, which are the machine’s and not the engine’s',
  ],
]);

export function whyNotRecorded(row: EncodingRow): string | undefined {
  if (row.system) return 'system instruction';
  for (const [pattern, reason] of NOT_RECORDED) if (pattern.test(row.mnemonic)) return reason;
  return undefined;
}

/** The rows that have cases. */
export const recordedRows: readonly EncodingRow[] = encodings.filter((row) => whyNotRecorded(row) === undefined);

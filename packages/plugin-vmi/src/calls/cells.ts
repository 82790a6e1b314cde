/**
 * Cells of the vCPU: where a VMCALL of the ROM ends, from and below; whether updates of page tables wait; the lazy mode; the place of
 * the last entry that memory holds; then, two to a cell, how often each of the calls in generated code was made.
 */
export const Cell = { FIRST: 0, END: 1, PENDING: 2, LAZY_MODE: 3, LAST_ENTRY: 4, COUNTS: 5 } as const;

import { TLB_ENTRY_BYTES, TLB_EXEC_ENTRIES } from '../../memory/layout.ts';

/** Offset of the entry for a linear address in a bank's code look-up. */
export function lookupOffset(linear: bigint): number {
  return Number((linear >> 12n) & BigInt(TLB_EXEC_ENTRIES - 1)) * TLB_ENTRY_BYTES;
}

/** Host address of the entry table that the code look-up at `start` holds for a linear address. */
export function knownTable(view: DataView, start: number, linear: bigint): number | undefined {
  const entry = start + lookupOffset(linear);
  if (view.getBigInt64(entry, true) !== BigInt.asIntN(64, linear & ~0xfffn)) return undefined;
  return view.getUint32(entry + 8, true);
}

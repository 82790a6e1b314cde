import { copyFromGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler, HypercallResult } from '../domain.ts';
import { E2BIG, EFAULT, EINVAL } from '../errno.ts';
import { dispatchHypercall } from './dispatch.ts';
import { writeU64 } from './guestCopy.ts';
import { HypercallNumber } from './table.ts';

/** struct multicall_entry: op, result, args[6] (public/xen.h). */
const ENTRY_BYTES = 64;
const RESULT_OFFSET = 8;
const ARGS_OFFSET = 16;
/** Longest list; Xen would take more, in pieces between which the guest can be interrupted. */
const MAX_ENTRIES = 65_536n;

/**
 * multicall (13): run a list of hypercalls in order.
 *
 * NOTES: each entry's result is stored before the next entry runs; an entry that fails does not stop the list.
 * A multicall within a multicall answers -EINVAL in its entry. An entry that gives up the current
 * context (iret) ends the list.
 * IN: call_list (array of struct multicall_entry), nr_calls.
 * OUT: 0; -E2BIG for more than 65,536 entries; -EFAULT when an entry cannot be read or its result not written.
 */
export const multicall: HypercallHandler = (context, args) => {
  const list = args[0];
  const count = BigInt.asUintN(32, args[1]);
  if (count > MAX_ENTRIES) return E2BIG;
  for (let i = 0n; i < count; i++) {
    const entry = BigInt.asUintN(64, list + i * BigInt(ENTRY_BYTES));
    const view = copyFromGuest(context.vcpu, entry, ENTRY_BYTES);
    if (view === undefined) return EFAULT;
    const result = runEntry(context, view);
    if (typeof result !== 'bigint') return result;
    if (!writeU64(context.vcpu, entry + BigInt(RESULT_OFFSET), result)) return EFAULT;
  }
  return 0n;
};

function runEntry(context: HypercallContext, view: DataView): HypercallResult {
  const op = view.getBigUint64(0, true);
  if (op === BigInt(HypercallNumber.MULTICALL)) return EINVAL;
  const args = [0n, 0n, 0n, 0n, 0n, 0n];
  for (let i = 0; i < args.length; i++) args[i] = view.getBigUint64(ARGS_OFFSET + i * 8, true);
  return dispatchHypercall(context, op > 0xffffn ? -1 : Number(op), args);
}

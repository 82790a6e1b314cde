import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler, HypercallResult } from '../domain.ts';
import { E2BIG, EFAULT, EINVAL } from '../errno.ts';
import { dispatchHypercall } from './dispatch.ts';
import { writeGuestWord } from './guestCopy.ts';
import { HypercallNumber } from './table.ts';

/** struct multicall_entry (public/xen.h). */
const Entry = struct({ op: 'word', result: 'word', args: ['word', 6] });
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
  const { sizeBytes, at } = Entry[context.wordBytes];
  if (count > MAX_ENTRIES) return E2BIG;
  for (let i = 0n; i < count; i++) {
    const entry = BigInt.asUintN(64, list + i * BigInt(sizeBytes));
    const view = copyFromGuest(context.vcpu, entry, sizeBytes);
    if (view === undefined) return EFAULT;
    const result = runEntry(context, view);
    if (typeof result !== 'bigint') return result;
    if (!writeGuestWord(context, entry + BigInt(at.result), result)) return EFAULT;
  }
  return 0n;
};

function runEntry(context: HypercallContext, view: DataView): HypercallResult {
  const { wordBytes } = context;
  const { at } = Entry[wordBytes];
  const op = readWord(view, at.op, wordBytes);
  if (op === BigInt(HypercallNumber.MULTICALL)) return EINVAL;
  const args = [0n, 0n, 0n, 0n, 0n, 0n];
  for (let i = 0; i < args.length; i++) args[i] = readWord(view, at.args + i * wordBytes, wordBytes);
  return dispatchHypercall(context, op > 0xffffn ? -1 : Number(op), args);
}

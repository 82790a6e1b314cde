import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest, wordsFromGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler, HypercallResult } from '../domain.ts';
import { E2BIG, EFAULT, EINVAL } from '../errno.ts';
import { HIGH, halves, LOW, split } from '../halves.ts';
import { dispatchHypercall, dispatchWords } from './dispatch.ts';
import { writeGuestWord } from './guestCopy.ts';
import { HypercallNumber } from './table.ts';

/** struct multicall_entry (public/xen.h). */
const Entry = struct({ op: 'word', result: 'word', args: ['word', 6] });
/** Numbers above are no call's. */
const LAST_NUMBER = 0xffff;
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
  if (!context.vcpu.isHvm) {
    if (context.wordBytes === 4) return multicall32(context, Number(list), Number(count));
    return multicall64(context, list, Number(count));
  }
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

/** Words of an entry for a 32-bit guest: op, result, six arguments. */
const Words = { OP: 0, RESULT: 1, ARGUMENTS: 2, SIZE: 8 } as const;
/** There is one list at a time, and no list in a list. */
const entry32 = new Int32Array(Words.SIZE);
const result32 = new Int32Array(1);

function multicall32(context: HypercallContext, list: number, count: number): HypercallResult {
  const { vcpu } = context;
  for (let i = 0; i < count; i++) {
    const at = list + i * Words.SIZE * 4;
    if (!wordsFromGuest(vcpu, at | 0, Math.floor(at / 2 ** 32), entry32, Words.SIZE)) return EFAULT;
    const op = entry32[Words.OP] >>> 0;
    const result = op === HypercallNumber.MULTICALL ? EINVAL : dispatchWords(context, op, entry32, Words.ARGUMENTS);
    if (typeof result === 'symbol') return result;
    result32[0] = typeof result === 'number' ? result : Number(BigInt.asIntN(32, result));
    const resultAt = at + Words.RESULT * 4;
    if (!vcpu.cpu.writeWords(resultAt | 0, Math.floor(resultAt / 2 ** 32), result32, 1)) return EFAULT;
  }
  return 0n;
}

/** The same for a 64-bit guest, whose words are two each; a handler's arguments are those of the entry at hand. */
const entry64 = new BigUint64Array(Words.SIZE);
const entryHalves = new Int32Array(entry64.buffer);
const arguments64 = entry64.subarray(Words.ARGUMENTS);
const result64 = new BigInt64Array(1);
const resultHalves = new Int32Array(result64.buffer);

function multicall64(context: HypercallContext, list: bigint, count: number): HypercallResult {
  const { cpu } = context.vcpu;
  split(list);
  let [low, high] = [halves[LOW] >>> 0, halves[HIGH]];
  for (let i = 0; i < count; i++) {
    if (!wordsFromGuest(context.vcpu, low | 0, high, entryHalves, 2 * Words.SIZE)) return EFAULT;
    const op = entryHalves[HIGH] === 0 && entryHalves[LOW] >>> 0 <= LAST_NUMBER ? entryHalves[LOW] : -1;
    const result = op === HypercallNumber.MULTICALL ? EINVAL : dispatchHypercall(context, op, arguments64);
    if (typeof result !== 'bigint') return result;
    result64[0] = result;
    const at = low + Words.RESULT * 8;
    if (!cpu.writeWords(at | 0, at > 0xffff_ffff ? (high + 1) | 0 : high, resultHalves, 2)) return EFAULT;
    low += Words.SIZE * 8;
    if (low <= 0xffff_ffff) continue;
    low -= 2 ** 32;
    high = (high + 1) | 0;
  }
  return 0n;
}

function runEntry(context: HypercallContext, view: DataView): HypercallResult {
  const { wordBytes } = context;
  const { at } = Entry[wordBytes];
  const op = readWord(view, at.op, wordBytes);
  if (op === BigInt(HypercallNumber.MULTICALL)) return EINVAL;
  const args = [0n, 0n, 0n, 0n, 0n, 0n];
  for (let i = 0; i < args.length; i++) args[i] = readWord(view, at.args + i * wordBytes, wordBytes);
  return dispatchHypercall(context, op > BigInt(LAST_NUMBER) ? -1 : Number(op), args);
}

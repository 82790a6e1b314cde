import { widenArguments } from '../abi/registers.ts';
import type { HypercallArguments, HypercallContext, HypercallResult } from '../domain.ts';
import { ENOSYS } from '../errno.ts';
import { HYPERCALLS, type HypercallInfo } from './table.ts';

/**
 * Run one hypercall: count it, call its handler, trace it.
 *
 * IN: `number` from RAX, six arguments from RDI RSI RDX R10 R8 R9 (or a multicall entry), of a 32-bit caller from EBX ECX
 * EDX ESI EDI EBP, zero-extended; all hostile.
 * OUT: what RAX gets. A number that Xen does not know, or whose handler is not here, answers -ENOSYS.
 */
export function dispatchHypercall(
  context: HypercallContext,
  number: number,
  args: HypercallArguments,
): HypercallResult {
  const { host, hypercalls } = context.domain;
  const given = context.wordBytes === 8 ? args : widenArguments(number, args);
  const info = HYPERCALLS[number];
  if (info === undefined) {
    host.count('hypercall.unknown');
    host.trace('hypercalls', () => describe(context, `#${number}`, args, ENOSYS));
    return ENOSYS;
  }
  host.count(info.counter);
  const handler = hypercalls.get(number);
  if (handler === undefined) host.count(`hypercall.notimpl.${info.name}`);
  const result = handler === undefined ? ENOSYS : handler(context, given);
  host.trace('hypercalls', () => describe(context, info.name, args, result));
  return result;
}

/** The same for a 32-bit caller: six argument words from `words[first]` on. */
export function dispatchWords(
  context: HypercallContext,
  number: number,
  words: Int32Array,
  first: number,
): HypercallResult | number {
  const handler = context.domain.wordHypercalls?.get(number);
  if (handler !== undefined && !context.domain.host.isTraced('hypercalls')) {
    context.domain.host.count((HYPERCALLS[number] as HypercallInfo).counter);
    return handler(context, words, first);
  }
  const args = Array.from({ length: ARGUMENTS }, (_, i) => BigInt(words[first + i] >>> 0));
  return dispatchHypercall(context, number, args);
}
const ARGUMENTS = 6;

/** No call of Xen has operations beyond; a guest that makes up numbers must not make up counters. */
const LAST_COUNTED_OP = 255;

/** Count an operation that Xen has and this plug-in does not, and answer `errno` for it. */
export function notImplemented(context: HypercallContext, call: string, op: string | number, errno: bigint): bigint {
  context.domain.host.count(`hypercall.notimpl.${call}.${Number(op) > LAST_COUNTED_OP ? 'other' : op}`);
  return errno;
}

function describe(context: HypercallContext, name: string, args: HypercallArguments, result: HypercallResult) {
  return {
    vcpu: context.vcpu.id,
    name,
    args: Array.from(args, (value) => `0x${value.toString(16)}`),
    result: typeof result === 'bigint' ? result.toString() : 'none',
  };
}

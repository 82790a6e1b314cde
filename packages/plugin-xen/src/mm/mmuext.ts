import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest, isGuestAddress, wordsFromGuest } from '../access.ts';
import { setLdt } from '../cpu/descriptors.ts';
import type { HypercallArguments, HypercallContext } from '../domain.ts';
import { E2BIG, EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, ESRCH } from '../errno.ts';
import { HIGH, halves, LOW, split } from '../halves.ts';
import { isOwnDomid } from '../hypercall/domid.ts';
import { writeU32 } from '../hypercall/guestCopy.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { FrameType, TYPE_PINNED } from './frames.ts';
import type { PvMemory } from './manager.ts';
import { MM_EINVAL, OK } from './pageTables.ts';
import { loadKernelRoot, loadUserRoot } from './roots.ts';
import { flushVcpus, vcpusInMask } from './vaMapping.ts';

/** MMUEXT_* (public/xen.h). */
const Op = {
  PIN_L1_TABLE: 0,
  PIN_L4_TABLE: 3,
  UNPIN_TABLE: 4,
  NEW_BASEPTR: 5,
  TLB_FLUSH_LOCAL: 6,
  INVLPG_LOCAL: 7,
  TLB_FLUSH_MULTI: 8,
  INVLPG_MULTI: 9,
  TLB_FLUSH_ALL: 10,
  INVLPG_ALL: 11,
  FLUSH_CACHE: 12,
  SET_LDT: 13,
  NEW_USER_BASEPTR: 15,
  CLEAR_PAGE: 16,
  COPY_PAGE: 17,
  FLUSH_CACHE_GLOBAL: 18,
  MARK_SUPER: 19,
  UNMARK_SUPER: 20,
} as const;

/** struct mmuext_op: both unions hold a word at most. */
const OpFields = struct({ cmd: 'u32', arg1: 'word', arg2: 'word' });
const MAX_OPS = 1 << 16;
const COUNT_MASK = 0x7fff_ffff;

interface Request {
  readonly domain: PvDomain;
  readonly context: HypercallContext;
  /** arg1: a frame number or an address. */
  readonly first: bigint;
  /** arg2: entries, a frame number or a pointer. */
  readonly second: bigint;
}

/** HYPERVISOR_mmuext_op(ops, count, done, domid). OUT: 0 or the first errno; `done` counts the ops that succeeded. */
export function mmuextOp(domain: PvDomain, context: HypercallContext, args: HypercallArguments): bigint {
  const { vcpu, wordBytes } = context;
  const { sizeBytes, at } = OpFields[wordBytes];
  const count = Number(args[1] & 0xffff_ffffn) & COUNT_MASK;
  if (count > MAX_OPS) return E2BIG;
  if (!isOwnDomid(Number(args[3] & 0xffffn))) return ESRCH;
  if (wordBytes === 8) return mmuextOp64(domain, context, args, count);
  let done = 0;
  let result = 0n;
  while (done < count) {
    const op = copyFromGuest(vcpu, args[0] + BigInt(done * sizeBytes), sizeBytes);
    if (op === undefined) {
      result = EFAULT;
      break;
    }
    const first = readWord(op, at.arg1, wordBytes);
    const second = readWord(op, at.arg2, wordBytes);
    result = run(op.getUint32(at.cmd, true), { domain, context, first, second });
    if (result !== 0n) break;
    done++;
  }
  if (args[2] !== 0n) writeU32(vcpu, args[2], done);
  return result;
}

/** struct mmuext_op of a 64-bit guest: cmd in the low half of the first word, then the arguments. */
const op64 = new BigUint64Array(3);
const opHalves = new Int32Array(op64.buffer);

function mmuextOp64(domain: PvDomain, context: HypercallContext, args: HypercallArguments, count: number): bigint {
  const { vcpu } = context;
  const list = args[0];
  const donePointer = args[2];
  let done = 0;
  let result = 0n;
  while (done < count) {
    split(list + BigInt(done * op64.byteLength));
    if (wordsFromGuest(vcpu, halves[LOW], halves[HIGH], opHalves, opHalves.length))
      result = run(opHalves[0] >>> 0, { domain, context, first: op64[1], second: op64[2] });
    else result = EFAULT;
    if (result !== 0n) break;
    done++;
  }
  if (donePointer !== 0n) writeU32(vcpu, donePointer, done);
  return result;
}

/** Words of struct mmuext_op of a 32-bit guest. */
const Words = { CMD: 0, ARG1: 1, ARG2: 2, SIZE: 3 } as const;
const op32 = new Int32Array(Words.SIZE);

/** The same of a PV32 guest, in words: ops, count, done, domid. */
export function mmuextOp32(domain: PvDomain, context: HypercallContext, words: Int32Array, first: number): number {
  const [list, count] = [words[first] >>> 0, words[first + 1] & COUNT_MASK];
  const [donePointer, domid] = [words[first + 2] >>> 0, words[first + 3] & 0xffff];
  if (count > MAX_OPS) return Number(E2BIG);
  if (!isOwnDomid(domid)) return Number(ESRCH);
  let done = 0;
  let result = OK;
  while (done < count) {
    const at = list + done * Words.SIZE * 4;
    if (!wordsFromGuest(context.vcpu, at | 0, Math.floor(at / 2 ** 32), op32, Words.SIZE)) result = Number(EFAULT);
    else result = runWords(op32[Words.CMD] >>> 0, domain, context);
    if (result !== OK) break;
    done++;
  }
  if (donePointer !== 0) writeU32(context.vcpu, BigInt(donePointer), done);
  return result;
}

/** The operation in {@link op32}; what comes often needs no 64-bit numbers. */
function runWords(op: number, domain: PvDomain, context: HypercallContext): number {
  const first = op32[Words.ARG1] >>> 0;
  switch (op) {
    case Op.UNPIN_TABLE:
      return unpin(domain, first);
    case Op.NEW_BASEPTR:
      return loadKernelRoot(domain.mm, context.vcpu, first);
    case Op.TLB_FLUSH_LOCAL:
      domain.mm.flush(context.vcpu);
      return OK;
    case Op.TLB_FLUSH_ALL:
      domain.mm.flushAll();
      return OK;
  }
  if (op <= Op.PIN_L4_TABLE) return pin(domain, first, FrameType.L1 + op - Op.PIN_L1_TABLE);
  const second = BigInt(op32[Words.ARG2] >>> 0);
  return Number(run(op, { domain, context, first: BigInt(first), second }));
}

function run(op: number, request: Request): bigint {
  if (op >= Op.PIN_L1_TABLE && op <= Op.PIN_L4_TABLE) {
    return BigInt(pin(request.domain, frame(request.first), FrameType.L1 + op - Op.PIN_L1_TABLE));
  }
  const handler = HANDLERS[op];
  return handler === undefined ? ENOSYS : handler(request);
}

const HANDLERS: Readonly<Record<number, (request: Request) => bigint>> = {
  [Op.UNPIN_TABLE]: ({ domain, first }) => BigInt(unpin(domain, frame(first))),
  [Op.NEW_BASEPTR]: ({ domain, context, first }) => BigInt(loadKernelRoot(domain.mm, context.vcpu, frame(first))),
  [Op.NEW_USER_BASEPTR]: ({ domain, context, first }) => BigInt(loadUserRoot(domain.mm, context.vcpu, frame(first))),
  [Op.TLB_FLUSH_LOCAL]: ({ domain, context }) => flushed(domain, [context.vcpu]),
  [Op.TLB_FLUSH_ALL]: ({ domain }) => flushed(domain, domain.vcpus),
  [Op.TLB_FLUSH_MULTI]: (request) => flushMask(request, undefined),
  [Op.INVLPG_LOCAL]: ({ domain, context, first }) => flushed(domain, [context.vcpu], first),
  [Op.INVLPG_ALL]: ({ domain, first }) => (isGuestAddress(first) ? flushed(domain, domain.vcpus, first) : 0n),
  [Op.INVLPG_MULTI]: (request) => flushMask(request, request.first),
  // A domain without device memory may not flush caches.
  [Op.FLUSH_CACHE]: () => EACCES,
  [Op.FLUSH_CACHE_GLOBAL]: () => EACCES,
  [Op.SET_LDT]: ldt,
  [Op.CLEAR_PAGE]: clearPage,
  [Op.COPY_PAGE]: copyPage,
  // Superpages are not offered to PV guests.
  [Op.MARK_SUPER]: () => EOPNOTSUPP,
  [Op.UNMARK_SUPER]: () => EOPNOTSUPP,
};

/** A frame number from the guest; one that no machine has becomes -1, which no check lets through. */
function frame(value: bigint): number {
  return value < 0x100_0000_0000n ? Number(value) : -1;
}

function flushed(domain: PvDomain, vcpus: Parameters<typeof flushVcpus>[1], gva?: bigint): bigint {
  flushVcpus(domain, vcpus, gva);
  return 0n;
}

function flushMask({ domain, context, second }: Request, gva: bigint | undefined): bigint {
  const vcpus = vcpusInMask(domain, context, second);
  if (vcpus === undefined) return EINVAL;
  return gva === undefined || isGuestAddress(gva) ? flushed(domain, vcpus, gva) : 0n;
}

function pin({ mm: { tables, frames } }: PvDomain, mfn: number, type: number): number {
  const result = tables.getPageAndType(mfn, type);
  if (result !== OK) return result;
  if ((frames.typeInfo[mfn] & TYPE_PINNED) !== 0) {
    tables.putPageAndType(mfn);
    return MM_EINVAL;
  }
  frames.typeInfo[mfn] |= TYPE_PINNED;
  return OK;
}

function unpin({ mm: { tables, frames } }: PvDomain, mfn: number): number {
  if (!frames.isGuest(mfn) || (frames.typeInfo[mfn] & TYPE_PINNED) === 0) return MM_EINVAL;
  frames.typeInfo[mfn] &= ~TYPE_PINNED;
  tables.putPageAndType(mfn);
  return OK;
}

function ldt({ domain, context, first, second }: Request): bigint {
  const entries = Number(second & 0xffff_ffffn);
  if (entries !== 0 && !isGuestAddress(first)) return EINVAL;
  const { vcpu } = context;
  if (vcpu.ldtEntries === entries && vcpu.ldtBase === first) return 0n;
  return setLdt(domain.mm, vcpu, first, entries);
}

function clearPage({ domain, first }: Request): bigint {
  return writePage(domain.mm, frame(first), (gpa) => domain.memory.fill(gpa, PAGE_BYTES, 0));
}

function copyPage({ domain, first, second }: Request): bigint {
  const source = frame(second);
  if (!domain.mm.frames.isGuest(source)) return EINVAL;
  const bytes = domain.memory.readBytes(source * PAGE_BYTES, PAGE_BYTES);
  return writePage(domain.mm, frame(first), (gpa) => domain.memory.writeBytes(gpa, bytes));
}

/** Write a whole frame of the guest's that may be written. */
function writePage(mm: PvMemory, mfn: number, write: (gpa: number) => void): bigint {
  if (mm.tables.getPageAndType(mfn, FrameType.WRITABLE) !== OK) return EINVAL;
  write(mfn * PAGE_BYTES);
  mm.tables.putPageAndType(mfn);
  return 0n;
}

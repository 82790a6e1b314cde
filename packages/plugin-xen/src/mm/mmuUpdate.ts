import { wordsFromGuest } from '../access.ts';
import type { HypercallArguments, HypercallContext } from '../domain.ts';
import { E2BIG, EFAULT, ENOSYS, EPERM, ESRCH } from '../errno.ts';
import { HIGH, halves, LOW, split } from '../halves.ts';
import { isOwnDomid } from '../hypercall/domid.ts';
import { writeU32 } from '../hypercall/guestCopy.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { FrameType, isPageTable } from './frames.ts';
import type { PvMemory } from './manager.ts';
import { MM_EINVAL, OK } from './pageTables.ts';

/** MMU_* in the low bits of a request's pointer (public/xen.h). */
const NORMAL = 0;
const MACHPHYS = 1;
const PRESERVE_AD = 2;
const NO_TRANSLATE = 3;

const REQUEST_BYTES = 16;
const REQUEST_WORDS = REQUEST_BYTES / 4;
const BATCH = 256;
/** The requests at hand: pointer and value, in halves. */
const requests = new Int32Array(BATCH * REQUEST_WORDS);
/** More requests than this in one call are refused: a call must come back. */
const MAX_REQUESTS = 1 << 20;
/** MMU_UPDATE_PREEMPTED, Xen's own continuation flag. */
const COUNT_MASK = 0x7fff_ffff;
const DOMID_IO = 0x7ff1;

/**
 * HYPERVISOR_mmu_update(requests, count, done, domid): change page-table entries and machine-to-physical
 * entries by machine address. OUT: 0 or an errno; `done` counts the requests that succeeded.
 */
export function mmuUpdate(domain: PvDomain, { vcpu }: HypercallContext, args: HypercallArguments): bigint {
  const count = Number(args[1] & 0xffff_ffffn) & COUNT_MASK;
  const domid = Number(args[3] & 0xffffn);
  const tableDomid = Number((args[3] >> 16n) & 0xffffn);
  if (count > MAX_REQUESTS) return E2BIG;
  if (tableDomid !== 0 && !isOwnDomid(tableDomid - 1)) return ESRCH;
  if (!isOwnDomid(domid)) return domid === DOMID_IO ? EPERM : ESRCH;
  let done = 0;
  let result = 0n;
  while (done < count && result === 0n) {
    const size = Math.min(BATCH, count - done);
    split(args[0] + BigInt(done * REQUEST_BYTES));
    if (!wordsFromGuest(vcpu, halves[LOW], halves[HIGH], requests, size * REQUEST_WORDS)) {
      result = EFAULT;
      break;
    }
    for (let index = 0; index < size; index++) {
      const at = index * REQUEST_WORDS;
      result = applyRequest(domain.mm, requests[at] >>> 0, requests[at + 1] >>> 0, requests[at + 2], requests[at + 3]);
      if (result !== 0n) break;
      done++;
    }
  }
  return finish(vcpu, args[2], done, result);
}

function finish(vcpu: HypercallContext['vcpu'], pointer: bigint, done: number, result: bigint): bigint {
  if (pointer !== 0n) writeU32(vcpu, pointer, done);
  return result;
}

function applyRequest(mm: PvMemory, pointerLo: number, pointerHi: number, lo: number, hi: number): bigint {
  const command = pointerLo & 7;
  const mfn = pointerHi * 0x10_0000 + (pointerLo >>> 12);
  if (command === MACHPHYS) return setMachineToPhysical(mm, mfn, lo, hi);
  if (command !== NORMAL && command !== PRESERVE_AD && command !== NO_TRANSLATE) return ENOSYS;
  if (!mm.frames.isGuest(mfn)) return BigInt(MM_EINVAL);
  return BigInt(updateEntry(mm, mfn, (pointerLo & 0xfff) >>> 3, lo, hi, command === PRESERVE_AD));
}

/** One entry of any frame of the guest's: validated in a page table, plainly written in a page that may be written. */
export function updateEntry(
  mm: PvMemory,
  mfn: number,
  slot: number,
  lo: number,
  hi: number,
  preserveAd: boolean,
): number {
  const { frames, tables } = mm;
  const type = frames.typeOf(mfn);
  if (frames.typeCount(mfn) > 0 && isPageTable(type)) {
    return tables.update(mfn, slot, lo, hi, preserveAd);
  }
  const taken = tables.getPageAndType(mfn, FrameType.WRITABLE);
  if (taken !== OK) return taken;
  const gpa = mfn * PAGE_BYTES + slot * 8;
  mm.memory.write32(gpa, lo >>> 0);
  mm.memory.write32(gpa + 4, hi >>> 0);
  tables.putPageAndType(mfn);
  return OK;
}

function setMachineToPhysical(mm: PvMemory, mfn: number, lo: number, hi: number): bigint {
  if (!mm.frames.isGuest(mfn)) return BigInt(MM_EINVAL);
  mm.hole.setM2p(mfn, lo, hi);
  return 0n;
}

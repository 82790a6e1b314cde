import { copyFromGuest, isGuestAddress } from '../access.ts';
import type { HypercallArguments, HypercallContext, XenVcpu } from '../domain.ts';
import { EFAULT, EINVAL, EPERM, ESRCH } from '../errno.ts';
import { isOwnDomid } from '../hypercall/domid.ts';
import type { PvDomain } from '../pvDomain.ts';
import { entryFrame, PTE_PRESENT } from './entries.ts';
import { FrameType } from './frames.ts';
import { OK } from './pageTables.ts';

/** UVMF_* (public/xen.h). */
const FLUSH_TYPE = 3n;
const FLUSH_TLB = 1n;
const FLUSH_PAGE = 2n;
const TARGET_LOCAL = 0n;
const TARGET_ALL = 4n;
const DOMID_IO = 0x7ff1;

/** Index of the word pair of the L1 entry for `gva` in guest memory words, or -1: no L1 table there. */
function findL1(words: Int32Array, rootMfn: number, levels: 3 | 4, gvaLo: number, gvaHi: number): number {
  const slots = [((gvaHi & 0x7f) << 2) | (gvaLo >>> 30), (gvaLo >>> 21) & 511];
  if (levels === 4) slots.unshift((gvaHi >>> 7) & 511);
  let table = rootMfn;
  for (const slot of slots) {
    const at = table * 1024 + slot * 2;
    const lo = words[at];
    if ((lo & PTE_PRESENT) === 0) return -1;
    table = entryFrame(lo, words[at + 1]);
  }
  return table * 1024 + ((gvaLo >>> 12) & 511) * 2;
}

/** L1 entry that maps a guest kernel address: the frame of the table and the slot in it. */
export function l1EntryOf(domain: PvDomain, vcpu: XenVcpu, gva: bigint): { mfn: number; slot: number } | undefined {
  if (!isGuestAddress(gva) || (domain.model.levels === 3 && gva > 0xffff_ffffn)) return undefined;
  const at = findL1(
    domain.memory.words,
    vcpu.kernelRootMfn,
    domain.model.levels,
    Number(gva & 0xffff_ffffn),
    Number((gva >> 32n) & 0xffff_ffffn),
  );
  if (at < 0) return undefined;
  const mfn = at >>> 10;
  return domain.mm.frames.typeOf(mfn) === FrameType.L1 ? { mfn, slot: (at & 1023) >>> 1 } : undefined;
}

/** HYPERVISOR_update_va_mapping(va, entry, flags). */
export function updateVaMapping(domain: PvDomain, context: HypercallContext, args: HypercallArguments): bigint {
  const gva = args[0];
  const value = args[1];
  const flags = args[2];
  const entry = l1EntryOf(domain, context.vcpu, gva);
  if (entry === undefined) return EINVAL;
  const lo = Number(value & 0xffff_ffffn) | 0;
  const hi = Number(value >> 32n) | 0;
  const result = domain.mm.tables.update(entry.mfn, entry.slot, lo, hi, false);
  return result === OK ? flush(domain, context, gva, flags) : BigInt(result);
}

/** HYPERVISOR_update_va_mapping_otherdomain(va, entry, flags, domid): only this domain's own frames can be named. */
export function updateVaMappingOtherdomain(
  domain: PvDomain,
  context: HypercallContext,
  args: HypercallArguments,
): bigint {
  const domid = Number(args[3] & 0xffffn);
  if (isOwnDomid(domid)) return updateVaMapping(domain, context, args);
  return domid === DOMID_IO ? EPERM : ESRCH;
}

function flush(domain: PvDomain, context: HypercallContext, gva: bigint, flags: bigint): bigint {
  const { vcpu } = context;
  const type = flags & FLUSH_TYPE;
  if (type !== FLUSH_TLB && type !== FLUSH_PAGE) return 0n;
  const target = flags & ~FLUSH_TYPE;
  let vcpus: readonly XenVcpu[];
  if (target === TARGET_LOCAL) vcpus = [vcpu];
  else if (target === TARGET_ALL) vcpus = domain.vcpus;
  else {
    const named = vcpusInMask(domain, context, target);
    if (named === undefined) return EFAULT;
    vcpus = named;
  }
  flushVcpus(domain, vcpus, type === FLUSH_PAGE ? gva : undefined);
  return 0n;
}

export function flushVcpus(domain: PvDomain, vcpus: readonly XenVcpu[], gva?: bigint): void {
  for (const target of vcpus) {
    if (gva === undefined) domain.mm.flush(target);
    else target.cpu.flushTlb(gva);
  }
}

/** vCPUs of a bitmap in guest memory; `undefined`: it cannot be read. */
export function vcpusInMask(
  domain: PvDomain,
  { vcpu, wordBytes }: HypercallContext,
  pointer: bigint,
): readonly XenVcpu[] | undefined {
  const bytes = Math.ceil(domain.vcpus.length / (8 * wordBytes)) * wordBytes;
  const mask = copyFromGuest(vcpu, pointer, bytes);
  if (mask === undefined) return undefined;
  return domain.vcpus.filter(({ id }) => ((mask.getUint8(id >>> 3) >>> (id & 7)) & 1) !== 0);
}

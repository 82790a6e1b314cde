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
const FLUSH_TYPE_BITS = 3;
const FLUSH_TLB = 1n;
const FLUSH_PAGE = 2n;
const TARGET_LOCAL = 0n;
const TARGET_ALL = 4n;
const DOMID_IO = 0x7ff1;

/** Index of the word pair of the L1 entry for an address in guest memory words, or -1: no L1 table there. */
function findL1({ memory: { words }, model }: PvDomain, vcpu: XenVcpu, gvaLo: number, gvaHi: number): number {
  let table = vcpu.kernelRootMfn;
  if (model.levels === 4) {
    table = tableBelow(words, table, (gvaHi >>> 7) & 511);
    if (table < 0) return -1;
  }
  table = tableBelow(words, table, ((gvaHi & 0x7f) << 2) | (gvaLo >>> 30));
  if (table >= 0) table = tableBelow(words, table, (gvaLo >>> 21) & 511);
  return table < 0 ? -1 : table * 1024 + ((gvaLo >>> 12) & 511) * 2;
}
/** The frame that an entry leads to; -1: it is not present. */
function tableBelow(words: Int32Array, table: number, slot: number): number {
  const at = table * 1024 + slot * 2;
  const lo = words[at];
  return (lo & PTE_PRESENT) === 0 ? -1 : entryFrame(lo, words[at + 1]);
}

/** L1 entry that maps a guest kernel address: its index in guest memory words; -1: there is none. */
export function l1EntryOf(domain: PvDomain, vcpu: XenVcpu, gva: bigint): number {
  if (!isGuestAddress(gva) || (domain.model.levels === 3 && gva > 0xffff_ffffn)) return -1;
  return l1EntryAt(domain, vcpu, Number(gva & 0xffff_ffffn), Number((gva >> 32n) & 0xffff_ffffn));
}
/** The same for an address in halves that is the guest's. */
function l1EntryAt(domain: PvDomain, vcpu: XenVcpu, gvaLo: number, gvaHi: number): number {
  const at = findL1(domain, vcpu, gvaLo, gvaHi);
  return at >= 0 && domain.mm.frames.typeOf(at >>> 10) === FrameType.L1 ? at : -1;
}

/** HYPERVISOR_update_va_mapping(va, entry, flags). */
export function updateVaMapping(domain: PvDomain, context: HypercallContext, args: HypercallArguments): bigint {
  const gva = args[0];
  const value = args[1];
  const flags = args[2];
  const entry = l1EntryOf(domain, context.vcpu, gva);
  if (entry < 0) return EINVAL;
  const lo = Number(value & 0xffff_ffffn) | 0;
  const hi = Number(value >> 32n) | 0;
  const result = domain.mm.tables.update(entry >>> 10, (entry & 1023) >>> 1, lo, hi, false);
  return result === OK ? flush(domain, context, gva, flags) : BigInt(result);
}

/** The same of a PV32 guest, in words: address, entry, flags. */
export function updateVaMapping32(
  domain: PvDomain,
  context: HypercallContext,
  words: Int32Array,
  first: number,
): number {
  const entry = l1EntryAt(domain, context.vcpu, words[first], 0);
  if (entry < 0) return Number(EINVAL);
  const [lo, hi, flags] = [words[first + 1], words[first + 2], words[first + 3]];
  const result = domain.mm.tables.update(entry >>> 10, (entry & 1023) >>> 1, lo, hi, false);
  if (result !== OK || (flags & FLUSH_TYPE_BITS) === 0) return result;
  return Number(flush(domain, context, BigInt(words[first] >>> 0), BigInt(flags >>> 0)));
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

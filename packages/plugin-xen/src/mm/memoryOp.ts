import { readWord, struct, wordList } from '../abi/struct.ts';
import { copyFromGuest, copyToGuest } from '../access.ts';
import type { HypercallArguments, HypercallContext } from '../domain.ts';
import { EACCES, EFAULT, EINVAL, ENOSYS, EPERM } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import { targetDomainErrno } from '../hypercall/domid.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { exchange, reserve } from './reservation.ts';

/** XENMEM_* (public/memory.h). */
export const MemoryOp = {
  INCREASE_RESERVATION: 0,
  DECREASE_RESERVATION: 1,
  MAXIMUM_RAM_PAGE: 2,
  CURRENT_RESERVATION: 3,
  MAXIMUM_RESERVATION: 4,
  MACHPHYS_MFN_LIST: 5,
  POPULATE_PHYSMAP: 6,
  ADD_TO_PHYSMAP: 7,
  MEMORY_MAP: 9,
  MACHINE_MEMORY_MAP: 10,
  EXCHANGE: 11,
  MACHPHYS_MAPPING: 12,
  SET_MEMORY_MAP: 13,
  MAXIMUM_GPFN: 14,
  REMOVE_FROM_PHYSMAP: 15,
  ADD_TO_PHYSMAP_BATCH: 23,
} as const;

/** The low six bits are the operation, the rest Xen's continuation. */
const OP_MASK = 0x3fn;
const E820_RAM = 1;
const E820_ENTRY_BYTES = 20;
const FRAMES_PER_M2P_SUPERPAGE = 512;

const MemoryMap = struct({ count: 'u32', buffer: 'word' });
const MachphysMfnList = struct({ maxExtents: 'u32', extents: 'word', count: 'u32' });

type Handler = (domain: PvDomain, context: HypercallContext, pointer: bigint) => bigint;

const HANDLERS: Readonly<Record<number, Handler>> = {
  [MemoryOp.INCREASE_RESERVATION]: (domain, context, pointer) => reserve(domain, context, pointer, 'increase'),
  [MemoryOp.DECREASE_RESERVATION]: (domain, context, pointer) => reserve(domain, context, pointer, 'decrease'),
  [MemoryOp.POPULATE_PHYSMAP]: (domain, context, pointer) => reserve(domain, context, pointer, 'populate'),
  [MemoryOp.EXCHANGE]: exchange,
  [MemoryOp.MAXIMUM_RAM_PAGE]: (domain) => BigInt(domain.mm.frames.count),
  [MemoryOp.CURRENT_RESERVATION]: (domain, context, pointer) =>
    ofDomain(context, pointer, () => BigInt(domain.totalPages)),
  [MemoryOp.MAXIMUM_RESERVATION]: (domain, context, pointer) =>
    ofDomain(context, pointer, () => BigInt(domain.maxPages)),
  [MemoryOp.MAXIMUM_GPFN]: (domain, context, pointer) => ofDomain(context, pointer, () => BigInt(domain.maxPages - 1)),
  [MemoryOp.MACHPHYS_MFN_LIST]: machphysMfnList,
  [MemoryOp.MEMORY_MAP]: memoryMap,
  [MemoryOp.MACHINE_MEMORY_MAP]: () => EPERM,
  [MemoryOp.MACHPHYS_MAPPING]: machphysMapping,
  [MemoryOp.SET_MEMORY_MAP]: () => EPERM,
  // A PV guest's pseudo-physical map is its own.
  [MemoryOp.ADD_TO_PHYSMAP]: () => EACCES,
  [MemoryOp.ADD_TO_PHYSMAP_BATCH]: () => EACCES,
  [MemoryOp.REMOVE_FROM_PHYSMAP]: () => EACCES,
};

/** HYPERVISOR_memory_op(cmd, arg). */
export function memoryOp(domain: PvDomain, context: HypercallContext, args: HypercallArguments): bigint {
  const op = Number(args[0] & OP_MASK);
  const handler = HANDLERS[op];
  return handler === undefined ? notImplemented(context, 'memory_op', op, ENOSYS) : handler(domain, context, args[1]);
}

/** For operations whose argument begins with a domain. */
export function ofDomain({ vcpu }: HypercallContext, pointer: bigint, answer: () => bigint): bigint {
  const domid = copyFromGuest(vcpu, pointer, 2);
  if (domid === undefined) return EFAULT;
  const refusal = targetDomainErrno(domid.getUint16(0, true));
  return refusal === 0n ? answer() : refusal;
}

/** struct xen_memory_map: one RAM range, the guest's pseudo-physical memory. */
function memoryMap(domain: PvDomain, { vcpu, wordBytes }: HypercallContext, pointer: bigint): bigint {
  const { sizeBytes, at } = MemoryMap[wordBytes];
  const request = copyFromGuest(vcpu, pointer, sizeBytes);
  if (request === undefined) return EFAULT;
  if (request.getUint32(at.count, true) < 1) return EINVAL;
  const entry = new DataView(new ArrayBuffer(E820_ENTRY_BYTES));
  entry.setBigUint64(8, BigInt(domain.maxPages * PAGE_BYTES), true);
  entry.setUint32(16, E820_RAM, true);
  if (!copyToGuest(vcpu, readWord(request, at.buffer, wordBytes), new Uint8Array(entry.buffer))) return EFAULT;
  return copyToGuest(vcpu, pointer, new Uint8Array(Uint32Array.of(1).buffer)) ? 0n : EFAULT;
}

/** {v_start, v_end, max_mfn} of the machine-to-physical table. */
function machphysMapping(domain: PvDomain, { vcpu, wordBytes }: HypercallContext, pointer: bigint): bigint {
  const { m2pStart, m2pEnd } = domain.model;
  const lastMfn = (m2pEnd - m2pStart) / BigInt(wordBytes) - 1n;
  const answer = wordList([m2pStart, m2pEnd, lastMfn], wordBytes);
  return copyToGuest(vcpu, pointer, answer) ? 0n : EFAULT;
}

/** struct xen_machphys_mfn_list: the first frame of each 2 MB of the machine-to-physical table. */
function machphysMfnList(domain: PvDomain, { vcpu, wordBytes }: HypercallContext, pointer: bigint): bigint {
  const { sizeBytes, at } = MachphysMfnList[wordBytes];
  const request = copyFromGuest(vcpu, pointer, sizeBytes);
  if (request === undefined) return EFAULT;
  const count = Math.min(
    request.getUint32(at.maxExtents, true),
    Math.ceil(domain.mm.hole.m2pPages / FRAMES_PER_M2P_SUPERPAGE),
  );
  const list = Array.from({ length: count }, (_, index) =>
    BigInt(domain.mm.hole.m2pFirstMfn + index * FRAMES_PER_M2P_SUPERPAGE),
  );
  if (!copyToGuest(vcpu, readWord(request, at.extents, wordBytes), wordList(list, wordBytes))) return EFAULT;
  return copyToGuest(vcpu, pointer + BigInt(at.count), new Uint8Array(Uint32Array.of(count).buffer)) ? 0n : EFAULT;
}

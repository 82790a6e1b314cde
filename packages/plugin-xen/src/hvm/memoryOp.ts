import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest, copyToGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler } from '../domain.ts';
import { EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import { targetDomainErrno } from '../hypercall/domid.ts';
import { writeU32 } from '../hypercall/guestCopy.ts';
import { MemoryOp, ofDomain } from '../mm/memoryOp.ts';
import { parseReservation, RESERVATION_FIELDS, readExtent } from '../mm/reservation.ts';
import { e820Entries } from './e820.ts';
import type { HvmDomain } from './hvmDomain.ts';
import type { SpecialPage } from './physmap.ts';

/** XENMAPSPACE_* (public/memory.h). */
const MapSpace = { SHARED_INFO: 0, GRANT_TABLE: 1 } as const;
const LAST_MAP_SPACE = 5;
/** XENMAPIDX_grant_table_status. */
const STATUS_FRAME = 2 ** 31;
/** The low six bits are the operation, the rest Xen's continuation. */
const OP_MASK = 0x3fn;
const E820_ENTRY_BYTES = 20;
/** Most entries of one batch; Xen would take more, in pieces between which the guest can be interrupted. */
const MAX_BATCH = 65_535;

const AddToPhysmap = struct({ domid: 'u16', size: 'u16', space: 'u32', index: 'word', gfn: 'word' });
const AddBatch = struct({
  domid: 'u16',
  space: 'u16',
  size: 'u16',
  extra: 'u16',
  indexes: 'word',
  gfns: 'word',
  errors: 'word',
});
const RemoveFromPhysmap = struct({ domid: 'u16', gfn: 'word' });
const MemoryMap = struct({ count: 'u32', buffer: 'word' });

type Handler = (domain: HvmDomain, context: HypercallContext, pointer: bigint) => bigint;

const HANDLERS: Readonly<Record<number, Handler>> = {
  [MemoryOp.INCREASE_RESERVATION]: () => 0n,
  [MemoryOp.DECREASE_RESERVATION]: (domain, context, pointer) =>
    forEachPage(context, pointer, (gfn) => domain.mm.remove(gfn)),
  [MemoryOp.POPULATE_PHYSMAP]: (domain, context, pointer) =>
    forEachPage(context, pointer, (gfn) => domain.mm.populate(gfn)),
  [MemoryOp.MAXIMUM_RAM_PAGE]: (domain) => BigInt(domain.maxPages),
  [MemoryOp.CURRENT_RESERVATION]: (domain, context, pointer) =>
    ofDomain(context, pointer, () => BigInt(domain.totalPages)),
  [MemoryOp.MAXIMUM_RESERVATION]: (domain, context, pointer) =>
    ofDomain(context, pointer, () => BigInt(domain.maxPages)),
  [MemoryOp.MAXIMUM_GPFN]: (domain, context, pointer) => ofDomain(context, pointer, () => BigInt(domain.maxPages - 1)),
  [MemoryOp.ADD_TO_PHYSMAP]: addToPhysmap,
  [MemoryOp.ADD_TO_PHYSMAP_BATCH]: addBatch,
  [MemoryOp.REMOVE_FROM_PHYSMAP]: removeFromPhysmap,
  [MemoryOp.MEMORY_MAP]: memoryMap,
  [MemoryOp.MACHINE_MEMORY_MAP]: () => EPERM,
  [MemoryOp.SET_MEMORY_MAP]: () => EPERM,
};

/**
 * memory_op (12) of a guest on real page tables.
 *
 * NOTES: frames are guest frames. What a reservation takes away or gives back is memory that the guest had at its start.
 * NOT IMPLEMENTED: increase_reservation (0 extents are done), exchange, resources, address spaces of other guests' frames.
 * IN: op, pointer to the operation's structure.
 * OUT: 0, a number of extents, or a negative errno.
 */
export function hvmMemoryOp(domain: HvmDomain): HypercallHandler {
  return (context, args) => {
    const op = Number(args[0] & OP_MASK);
    const handler = HANDLERS[op];
    return handler === undefined ? notImplemented(context, 'memory_op', op, ENOSYS) : handler(domain, context, args[1]);
  };
}

/** struct xen_memory_reservation: every page of every extent. OUT: how many extents were done, or an errno. */
function forEachPage(context: HypercallContext, pointer: bigint, run: (gfn: number) => boolean): bigint {
  const view = copyFromGuest(context.vcpu, pointer, RESERVATION_FIELDS[context.wordBytes].sizeBytes);
  if (view === undefined) return EFAULT;
  const reservation = parseReservation(view, 0, context.wordBytes);
  if (typeof reservation === 'bigint') return reservation;
  let done = 0;
  for (; done < reservation.count; done++) {
    const first = readExtent(context, reservation, done);
    if (first === undefined || first < 0) break;
    let page = 0;
    while (page < 1 << reservation.order && run(first + page)) page++;
    if (page < 1 << reservation.order) break;
  }
  return BigInt(done);
}

/** A frame number as a number; one that no machine has stays one. */
function frame(view: DataView, offset: number, { wordBytes }: HypercallContext): number {
  return Number(readWord(view, offset, wordBytes));
}

/** struct xen_add_to_physmap. */
function addToPhysmap(domain: HvmDomain, context: HypercallContext, pointer: bigint): bigint {
  const { at, sizeBytes } = AddToPhysmap[context.wordBytes];
  const view = copyFromGuest(context.vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const refusal = targetDomainErrno(view.getUint16(at.domid, true));
  if (refusal !== 0n) return refusal;
  const space = view.getUint32(at.space, true);
  return add(domain, context, space, frame(view, at.index, context), frame(view, at.gfn, context));
}

function add(domain: HvmDomain, context: HypercallContext, space: number, index: number, gfn: number): bigint {
  const page = specialPage(domain, space, index);
  if (page !== undefined) return domain.mm.place(page, gfn);
  if (space === MapSpace.SHARED_INFO || space === MapSpace.GRANT_TABLE) return EINVAL;
  return space <= LAST_MAP_SPACE ? notImplemented(context, 'add_to_physmap', space, EOPNOTSUPP) : ENOSYS;
}

function specialPage(domain: HvmDomain, space: number, index: number): SpecialPage | undefined {
  if (space === MapSpace.SHARED_INFO) return index === 0 ? domain.sharedInfoPage : undefined;
  if (space !== MapSpace.GRANT_TABLE) return undefined;
  return index >= STATUS_FRAME ? domain.grantPage(index - STATUS_FRAME, true) : domain.grantPage(index, false);
}

/** struct xen_add_to_physmap_batch: an errno for each. */
function addBatch(domain: HvmDomain, context: HypercallContext, pointer: bigint): bigint {
  const { vcpu, wordBytes } = context;
  const { at, sizeBytes } = AddBatch[wordBytes];
  const view = copyFromGuest(vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const refusal = targetDomainErrno(view.getUint16(at.domid, true));
  if (refusal !== 0n) return refusal;
  const space = view.getUint16(at.space, true);
  const count = Math.min(view.getUint16(at.size, true), MAX_BATCH);
  const list = (offset: number, index: number) => readWord(view, offset, wordBytes) + BigInt(index * wordBytes);
  for (let i = 0; i < count; i++) {
    const index = copyFromGuest(vcpu, list(at.indexes, i), wordBytes);
    const gfn = copyFromGuest(vcpu, list(at.gfns, i), wordBytes);
    if (index === undefined || gfn === undefined) return EFAULT;
    const errno = add(domain, context, space, frame(index, 0, context), frame(gfn, 0, context));
    const errorAt = readWord(view, at.errors, wordBytes) + BigInt(i * 4);
    if (!writeU32(vcpu, errorAt, Number(BigInt.asUintN(32, errno)))) return EFAULT;
  }
  return 0n;
}

/** struct xen_remove_from_physmap. */
function removeFromPhysmap(domain: HvmDomain, context: HypercallContext, pointer: bigint): bigint {
  const { at, sizeBytes } = RemoveFromPhysmap[context.wordBytes];
  const view = copyFromGuest(context.vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const refusal = targetDomainErrno(view.getUint16(at.domid, true));
  if (refusal !== 0n) return refusal;
  return domain.mm.remove(frame(view, at.gfn, context)) ? 0n : ENOENT;
}

/** struct xen_memory_map: IN nr_entries, buffer. OUT nr_entries, the entries (INT 15h, AX = E820h). */
function memoryMap(domain: HvmDomain, { vcpu, wordBytes }: HypercallContext, pointer: bigint): bigint {
  const { at, sizeBytes } = MemoryMap[wordBytes];
  const view = copyFromGuest(vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const entries = e820Entries(domain.machine.firmware().memoryMap);
  const count = Math.min(view.getUint32(at.count, true), entries.length);
  const bytes = new DataView(new ArrayBuffer(count * E820_ENTRY_BYTES));
  for (let i = 0; i < count; i++) {
    bytes.setBigUint64(i * E820_ENTRY_BYTES, BigInt(entries[i].first), true);
    bytes.setBigUint64(i * E820_ENTRY_BYTES + 8, BigInt(entries[i].sizeBytes), true);
    bytes.setUint32(i * E820_ENTRY_BYTES + 16, entries[i].type, true);
  }
  if (!copyToGuest(vcpu, readWord(view, at.buffer, wordBytes), new Uint8Array(bytes.buffer))) return EFAULT;
  return writeU32(vcpu, pointer + BigInt(at.count), count) ? 0n : EFAULT;
}

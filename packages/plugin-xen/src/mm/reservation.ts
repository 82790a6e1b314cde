import { readWord, struct, type WordBytes } from '../abi/struct.ts';
import { copyFromGuest } from '../access.ts';
import type { HypercallContext } from '../domain.ts';
import { E2BIG, EFAULT, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { targetDomainErrno } from '../hypercall/domid.ts';
import { writeGuestWord } from '../hypercall/guestCopy.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { FrameType, Owner } from './frames.ts';

/** struct xen_memory_reservation and struct xen_memory_exchange (public/memory.h). */
export const RESERVATION_FIELDS = struct({ extents: 'word', count: 'word', order: 'u32', flags: 'u32', domid: 'u16' });
const Exchange = struct({ input: RESERVATION_FIELDS, output: RESERVATION_FIELDS, exchanged: 'word' });
/** Largest extent an unprivileged domain may ask for: 2 MB. */
const MAX_ORDER = 9;
const MAX_EXTENTS = 1 << 20;

export interface Reservation {
  readonly extents: bigint;
  readonly count: number;
  readonly order: number;
}

export function parseReservation(view: DataView, offset: number, wordBytes: WordBytes): Reservation | bigint {
  const { at } = RESERVATION_FIELDS[wordBytes];
  const count = readWord(view, offset + at.count, wordBytes);
  const order = view.getUint32(offset + at.order, true);
  if (count > BigInt(MAX_EXTENTS)) return E2BIG;
  if (order > MAX_ORDER) return EPERM;
  const refusal = targetDomainErrno(view.getUint16(offset + at.domid, true));
  if (refusal !== 0n) return refusal;
  return { extents: readWord(view, offset + at.extents, wordBytes), count: Number(count), order };
}

/** XENMEM_{increase,decrease}_reservation and populate_physmap. OUT: how many extents were done, or an errno. */
export function reserve(
  domain: PvDomain,
  context: HypercallContext,
  pointer: bigint,
  kind: 'increase' | 'decrease' | 'populate',
): bigint {
  const { vcpu, wordBytes } = context;
  const view = copyFromGuest(vcpu, pointer, RESERVATION_FIELDS[wordBytes].sizeBytes);
  if (view === undefined) return EFAULT;
  const reservation = parseReservation(view, 0, wordBytes);
  if (typeof reservation === 'bigint') return reservation;
  const step = kind === 'decrease' ? release : kind === 'populate' ? populate : increase;
  let done = 0;
  while (done < reservation.count && step(domain, context, reservation, done)) done++;
  // A freed frame must not stay reachable through a stale translation.
  if (kind === 'decrease' && done > 0) domain.mm.flushAll();
  return BigInt(done);
}

export function readExtent(
  { vcpu, wordBytes }: HypercallContext,
  list: Reservation,
  index: number,
): number | undefined {
  const view = copyFromGuest(vcpu, list.extents + BigInt(index * wordBytes), wordBytes);
  if (view === undefined) return undefined;
  const value = readWord(view, 0, wordBytes);
  return value < 0x100_0000_0000n ? Number(value) : -1;
}

function writeExtent(context: HypercallContext, list: Reservation, index: number, mfn: number): boolean {
  return writeGuestWord(context, list.extents + BigInt(index * context.wordBytes), BigInt(mfn));
}

/** 2^order frames for the guest, scrubbed; `undefined`: the domain has all it may have, or no such run is free. */
function allocate(domain: PvDomain, order: number): number | undefined {
  if (domain.totalPages + (1 << order) > domain.maxPages) return undefined;
  return allocateUnlimited(domain, order);
}

function allocateUnlimited(domain: PvDomain, order: number): number | undefined {
  const count = 1 << order;
  const { frames, memory } = domain.mm;
  const first = order === 0 ? frames.take(Owner.GUEST) : frames.takeAligned(count, Owner.GUEST);
  if (first === undefined) return undefined;
  memory.fill(first * PAGE_BYTES, count * PAGE_BYTES, 0);
  domain.totalPages += count;
  return first;
}

function populate(domain: PvDomain, context: HypercallContext, reservation: Reservation, index: number): boolean {
  const pfn = readExtent(context, reservation, index);
  if (pfn === undefined || pfn < 0) return false;
  const first = allocate(domain, reservation.order);
  if (first === undefined) return false;
  for (let page = 0; page < 1 << reservation.order; page++) setPfn(domain, first + page, pfn + page);
  return writeExtent(context, reservation, index, first);
}

function setPfn(domain: PvDomain, mfn: number, pfn: number): void {
  domain.mm.hole.setM2p(mfn, pfn | 0, Math.floor(pfn / 0x1_0000_0000));
}

function increase(domain: PvDomain, context: HypercallContext, reservation: Reservation, index: number): boolean {
  const first = allocate(domain, reservation.order);
  if (first === undefined) return false;
  return reservation.extents === 0n || writeExtent(context, reservation, index, first);
}

function release(domain: PvDomain, context: HypercallContext, reservation: Reservation, index: number): boolean {
  const first = readExtent(context, reservation, index);
  if (first === undefined || first < 0) return false;
  const { frames, hole } = domain.mm;
  for (let mfn = first; mfn < first + (1 << reservation.order); mfn++) {
    if (!isOwnAllocation(domain, mfn)) return false;
    frames.release(mfn);
    hole.setM2p(mfn, -1, -1);
    domain.totalPages--;
  }
  return true;
}

function isOwnAllocation(domain: PvDomain, mfn: number): boolean {
  const { frames } = domain.mm;
  return frames.isGuest(mfn) && frames.owner[mfn] === Owner.GUEST && frames.allocated[mfn] === 1;
}

/**
 * XENMEM_exchange: give frames back and get others of another extent size for them, at the same moment.
 * IN: {in: reservation, out: reservation, nr_exchanged}. Frames given must not be mapped anywhere.
 */
export function exchange(domain: PvDomain, context: HypercallContext, pointer: bigint): bigint {
  const { vcpu, wordBytes } = context;
  const { sizeBytes, at } = Exchange[wordBytes];
  const view = copyFromGuest(vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const input = parseReservation(view, at.input, wordBytes);
  const output = parseReservation(view, at.output, wordBytes);
  if (typeof input === 'bigint') return input;
  if (typeof output === 'bigint') return output;
  if (input.count << input.order !== output.count << output.order) return EINVAL;
  const chunkOrder = Math.max(input.order, output.order);
  const chunks = Math.floor((input.count << input.order) / (1 << chunkOrder));
  let done = 0;
  let result = 0n;
  for (; done < chunks && result === 0n; ) {
    result = exchangeChunk(domain, context, input, output, done, chunkOrder);
    if (result === 0n) done++;
  }
  if (done > 0) domain.mm.flushAll();
  const exchanged = BigInt(done * (1 << (chunkOrder - input.order)));
  if (!writeGuestWord(context, pointer + BigInt(at.exchanged), exchanged)) return EFAULT;
  return result;
}

function exchangeChunk(
  domain: PvDomain,
  context: HypercallContext,
  input: Reservation,
  output: Reservation,
  chunk: number,
  chunkOrder: number,
): bigint {
  const given: number[] = [];
  const inputs = 1 << (chunkOrder - input.order);
  for (let index = 0; index < inputs; index++) {
    const first = readExtent(context, input, chunk * inputs + index);
    if (first === undefined) return EFAULT;
    for (let page = 0; page < 1 << input.order; page++) {
      if (!canSteal(domain, first + page) || given.includes(first + page)) return EINVAL;
      given.push(first + page);
    }
  }
  const outputs = 1 << (chunkOrder - output.order);
  const targets: number[] = [];
  for (let index = 0; index < outputs; index++) {
    const pfn = readExtent(context, output, chunk * outputs + index);
    if (pfn === undefined) return EFAULT;
    targets.push(pfn);
  }
  // Taken before the old ones go, so that a failure loses nothing.
  const fresh: number[] = [];
  for (let index = 0; index < outputs; index++) {
    const first = allocateUnlimited(domain, output.order);
    if (first === undefined) {
      for (const mfn of fresh) giveBack(domain, mfn, 1 << output.order);
      return ENOMEM;
    }
    fresh.push(first);
  }
  for (const mfn of given) giveBack(domain, mfn, 1);
  for (let index = 0; index < outputs; index++) {
    for (let page = 0; page < 1 << output.order; page++) setPfn(domain, fresh[index] + page, targets[index] + page);
    if (!writeExtent(context, output, chunk * outputs + index, fresh[index])) return EFAULT;
  }
  return 0n;
}

function giveBack(domain: PvDomain, first: number, count: number): void {
  for (let mfn = first; mfn < first + count; mfn++) {
    domain.mm.frames.release(mfn);
    domain.mm.hole.setM2p(mfn, -1, -1);
    domain.totalPages--;
  }
}

/** Only the allocation itself may still hold the frame. */
function canSteal(domain: PvDomain, mfn: number): boolean {
  const { frames } = domain.mm;
  return (
    isOwnAllocation(domain, mfn) &&
    frames.refs[mfn] === 1 &&
    (frames.typeCount(mfn) === 0 || frames.typeOf(mfn) === FrameType.NONE)
  );
}

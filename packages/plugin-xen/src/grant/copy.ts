import { readWord, struct, type WordBytes } from '../abi/struct.ts';
import type { HypercallContext, XenDomain } from '../domain.ts';
import { Domid } from '../hypercall/domid.ts';
import type { GrantTable } from './grantTable.ts';
import { GrantStatus } from './status.ts';

const PAGE_BYTES = 4096;
/** GNTCOPY_* (public/grant_table.h). */
const SOURCE_IS_REFERENCE = 1;
const DESTINATION_IS_REFERENCE = 2;
/** One side: a reference (the low 32 bits) or a frame, of a domain, from an offset in the page. */
const SideFields = struct({ value: 'word', domid: 'u16', offset: 'u16' });
/** struct gnttab_copy (public/grant_table.h). */
export const Copy = struct({
  source: SideFields,
  destination: SideFields,
  sizeBytes: 'u16',
  flags: 'u16',
  status: 'u16',
});

interface Side {
  readonly value: bigint;
  readonly domid: number;
  readonly offset: number;
}

/**
 * One struct gnttab_copy: between the guest's own frames and frames it granted to itself. No other domain has
 * memory here.
 *
 * IN: source {ref or gmfn, domid, offset}, dest {the same}, len, flags. OUT (the answer): a GNTST_* status.
 */
export function copyGrant({ domain, wordBytes }: HypercallContext, table: GrantTable, argument: DataView): number {
  const { at } = Copy[wordBytes];
  const flags = argument.getUint16(at.flags, true);
  const sizeBytes = argument.getUint16(at.sizeBytes, true);
  const source = side(argument, at.source, wordBytes);
  const destination = side(argument, at.destination, wordBytes);
  if (source.offset + sizeBytes > PAGE_BYTES || destination.offset + sizeBytes > PAGE_BYTES) {
    return GrantStatus.BAD_COPY_ARG;
  }
  const from = resolve(domain, table, source, (flags & SOURCE_IS_REFERENCE) !== 0, sizeBytes, false);
  if (from < 0) return from;
  const to = resolve(domain, table, destination, (flags & DESTINATION_IS_REFERENCE) !== 0, sizeBytes, true);
  if (to < 0) return to;
  if (!domain.mm.takeWritable(to)) return GrantStatus.GENERAL_ERROR;
  const bytes = domain.memory.readBytes(from * PAGE_BYTES + source.offset, sizeBytes);
  domain.memory.writeBytes(to * PAGE_BYTES + destination.offset, bytes);
  domain.mm.releaseWritable(to);
  return GrantStatus.OKAY;
}

function side(argument: DataView, start: number, wordBytes: WordBytes): Side {
  const { at } = SideFields[wordBytes];
  return {
    value: readWord(argument, start + at.value, wordBytes),
    domid: argument.getUint16(start + at.domid, true),
    offset: argument.getUint16(start + at.offset, true),
  };
}

/** The frame of one side, or a negative GNTST_*. */
function resolve(
  domain: XenDomain,
  table: GrantTable,
  { value, domid, offset }: Side,
  isReference: boolean,
  sizeBytes: number,
  write: boolean,
): number {
  if (!isReference) return ownFrame(domain, domid, Number(value));
  const ref = Number(BigInt.asUintN(32, value));
  if (domid === Domid.CONTROL) return GrantStatus.BAD_GNTREF;
  if (domid !== Domid.GUEST) return GrantStatus.BAD_DOMAIN;
  const mfn = table.permitted(ref, Domid.GUEST, { offset, sizeBytes, write });
  if (mfn === undefined) return GrantStatus.GENERAL_ERROR;
  return domain.mm.isGuestFrame(mfn) ? mfn : GrantStatus.BAD_PAGE;
}

function ownFrame(domain: XenDomain, domid: number, mfn: number): number {
  if (domid !== Domid.SELF) return GrantStatus.PERMISSION_DENIED;
  return domain.mm.isGuestFrame(mfn) ? mfn : GrantStatus.BAD_PAGE;
}

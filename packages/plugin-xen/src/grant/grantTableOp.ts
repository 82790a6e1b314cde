import { readWord, type Struct, struct } from '../abi/struct.ts';
import { copyFromGuest, copyToGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler } from '../domain.ts';
import { E2BIG, EFAULT, EINVAL, ENOSYS } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import { Domid, isOwnDomid, targetDomainErrno } from '../hypercall/domid.ts';
import { bytesOf, writeGuestWord, writeU16, writeU32, writeU64 } from '../hypercall/guestCopy.ts';
import { Copy, copyGrant } from './copy.ts';
import { type GrantTable, MAX_GRANT_FRAMES } from './grantTable.ts';
import { OwnMaps } from './ownMaps.ts';
import { GrantStatus } from './status.ts';

/** GNTTABOP_* (public/grant_table.h). */
const GrantOp = {
  MAP: 0,
  UNMAP: 1,
  SETUP_TABLE: 2,
  TRANSFER: 4,
  COPY: 5,
  QUERY_SIZE: 6,
  UNMAP_AND_REPLACE: 7,
  SET_VERSION: 8,
  GET_STATUS_FRAMES: 9,
  GET_VERSION: 10,
  SWAP: 11,
} as const;

/** GNTMAP_device_map | GNTMAP_host_map: a mapping must ask for one of them. */
const MAP_SOMETHING = 3;
/** Entries of a table that has not grown. */
const CONTROL_GRANTS = 512;
/** Longest array; Xen would take more, in pieces between which the guest can be interrupted. */
const MAX_ELEMENTS = 65_536;

// The structures of public/grant_table.h.
const MapFields = struct({
  hostAddress: 'u64',
  flags: 'u32',
  ref: 'u32',
  domid: 'u16',
  status: 'u16',
  handle: 'u32',
  busAddress: 'u64',
});
const UnmapFields = struct({ hostAddress: 'u64', busAddress: 'u64', handle: 'u32', status: 'u16' });
const UnmapAndReplaceFields = struct({ hostAddress: 'u64', newAddress: 'u64', handle: 'u32', status: 'u16' });
const TransferFields = struct({ mfn: 'word', domid: 'u16', ref: 'u32', status: 'u16' });
const SwapFields = struct({ refA: 'u32', refB: 'u32', status: 'u16' });
const SetupTable = struct({ domid: 'u16', count: 'u32', status: 'u16', frames: 'word' });
const StatusFrames = struct({ count: 'u32', domid: 'u16', status: 'u16', frames: 'word' });

/** An operation on an array of structures, each with a status of its own. */
interface ArrayOperation {
  readonly name: string;
  readonly fields: Struct<'status'>;
  /** Not only the status is an answer. */
  readonly answersAll?: boolean;
  /** Answers the element's GNTST_*; `maps`: of a guest that could have any. */
  run(context: HypercallContext, table: GrantTable, element: DataView, maps: OwnMaps | undefined): number;
}

const ARRAY_OPERATIONS: Readonly<Record<number, ArrayOperation>> = {
  [GrantOp.MAP]: { name: 'map_grant_ref', fields: MapFields, answersAll: true, run: mapGrant },
  [GrantOp.UNMAP]: { name: 'unmap_grant_ref', fields: UnmapFields, run: unmapGrant },
  [GrantOp.UNMAP_AND_REPLACE]: { name: 'unmap_and_replace', fields: UnmapAndReplaceFields, run: unmapAndReplace },
  [GrantOp.TRANSFER]: { name: 'transfer', fields: TransferFields, run: transfer },
  [GrantOp.COPY]: { name: 'copy', fields: Copy, run: copyGrant },
  [GrantOp.SWAP]: { name: 'swap_grant_ref', fields: SwapFields, run: unsupported('swap_grant_ref') },
};

/**
 * grant_table_op (20).
 *
 * NOTES: versions 1 and 2; at most 64 frames; grants 0 and 1 are filled for the console and the store. No other
 * domain grants anything to this one, so there is nothing foreign to map or copy. A PV guest may map its own.
 * NOT IMPLEMENTED: the same for a guest on page tables of its own (GNTST_general_error), swap_grant_ref, dump_table, cache_flush.
 * IN: cmd, pointer to the operation's structures, how many of them.
 * OUT: 0 with a GNTST_* in each structure's status, or a negative errno.
 */
export function grantTableOp(table: GrantTable): HypercallHandler {
  let maps: OwnMaps | undefined;
  return (context, args) => {
    const { l1Entries } = context.domain;
    if (l1Entries) maps ??= new OwnMaps(table, l1Entries);
    const cmd = Number(BigInt.asUintN(32, args[0]));
    const count = Number(BigInt.asIntN(32, args[2]));
    if (count < 0) return EINVAL;
    const operation = ARRAY_OPERATIONS[cmd];
    if (operation !== undefined) return runArray(context, { table, maps }, operation, args[1], count);
    return runSingle(context, table, cmd, args[1], count);
  };
}

function runArray(
  context: HypercallContext,
  { table, maps }: { readonly table: GrantTable; readonly maps: OwnMaps | undefined },
  operation: ArrayOperation,
  pointer: bigint,
  count: number,
): bigint {
  if (count > MAX_ELEMENTS) return E2BIG;
  const { sizeBytes, at } = operation.fields[context.wordBytes];
  for (let i = 0; i < count; i++) {
    const gva = BigInt.asUintN(64, pointer + BigInt(i * sizeBytes));
    const element = copyFromGuest(context.vcpu, gva, sizeBytes);
    if (element === undefined) return EFAULT;
    const status = operation.run(context, table, element, maps);
    element.setUint16(at.status, status & 0xffff, true);
    const isWritten = operation.answersAll
      ? copyToGuest(context.vcpu, gva, bytesOf(element))
      : writeU16(context.vcpu, gva + BigInt(at.status), status & 0xffff);
    if (!isWritten) return EFAULT;
  }
  return 0n;
}

function runSingle(context: HypercallContext, table: GrantTable, cmd: number, pointer: bigint, count: number): bigint {
  switch (cmd) {
    case GrantOp.SETUP_TABLE:
      return count === 1 ? setupTable(context, table, pointer) : EINVAL;
    case GrantOp.QUERY_SIZE:
      return count === 1 ? querySize(context, table, pointer) : EINVAL;
    case GrantOp.SET_VERSION:
      return setVersion(context, table, pointer);
    case GrantOp.GET_STATUS_FRAMES:
      return count === 1 ? getStatusFrames(context, table, pointer) : EINVAL;
    case GrantOp.GET_VERSION:
      return getVersion(context, table, pointer);
    default:
      return notImplemented(context, 'grant_table_op', cmd, ENOSYS);
  }
}

function unsupported(name: string) {
  return (context: HypercallContext): number => {
    notImplemented(context, 'grant_table_op', name, 0n);
    return GrantStatus.GENERAL_ERROR;
  };
}

function mapGrant(context: HypercallContext, _table: GrantTable, element: DataView, maps: OwnMaps | undefined): number {
  const { at } = MapFields[context.wordBytes];
  const flags = element.getUint32(at.flags, true);
  if ((flags & MAP_SOMETHING) === 0) return GrantStatus.BAD_GNTREF;
  const domid = element.getUint16(at.domid, true);
  const ref = element.getUint32(at.ref, true);
  // The control domain's table is as large as any other at first, and grants nothing.
  if (domid === Domid.CONTROL) return ref < CONTROL_GRANTS ? GrantStatus.GENERAL_ERROR : GrantStatus.BAD_GNTREF;
  if (domid !== Domid.GUEST) return GrantStatus.BAD_DOMAIN;
  if (maps === undefined) return unsupported('map_grant_ref')(context);
  const hostAddress = element.getBigUint64(at.hostAddress, true);
  const answer = maps.map(context.vcpu, { hostAddress, flags, ref });
  if (typeof answer === 'number') return answer;
  element.setUint32(at.handle, answer.handle, true);
  element.setBigUint64(at.busAddress, BigInt(answer.mfn) << 12n, true);
  return GrantStatus.OKAY;
}

function unmapGrant(
  context: HypercallContext,
  _table: GrantTable,
  element: DataView,
  maps: OwnMaps | undefined,
): number {
  const { at } = UnmapFields[context.wordBytes];
  const request = {
    hostAddress: element.getBigUint64(at.hostAddress, true),
    busAddress: element.getBigUint64(at.busAddress, true),
    handle: element.getUint32(at.handle, true),
    newAddress: 0n,
  };
  return maps?.unmap(context.vcpu, request) ?? GrantStatus.BAD_HANDLE;
}

function unmapAndReplace(
  context: HypercallContext,
  _table: GrantTable,
  element: DataView,
  maps: OwnMaps | undefined,
): number {
  const { at } = UnmapAndReplaceFields[context.wordBytes];
  const request = {
    hostAddress: element.getBigUint64(at.hostAddress, true),
    busAddress: 0n,
    handle: element.getUint32(at.handle, true),
    newAddress: element.getBigUint64(at.newAddress, true),
  };
  return maps?.unmapAndReplace(context.vcpu, request) ?? GrantStatus.BAD_HANDLE;
}

/** There is nobody to give a page to. */
function transfer(context: HypercallContext, _table: GrantTable, element: DataView): number {
  const { domain, wordBytes } = context;
  const mfn = Number(readWord(element, TransferFields[wordBytes].at.mfn, wordBytes));
  if (!domain.mm.isGuestFrame(mfn)) return GrantStatus.BAD_PAGE;
  return GrantStatus.BAD_DOMAIN;
}

/** GNTST_* of naming a domain as one whose table is meant. */
function ownTable(domid: number): number {
  if (isOwnDomid(domid)) return GrantStatus.OKAY;
  return domid === Domid.CONTROL ? GrantStatus.PERMISSION_DENIED : GrantStatus.BAD_DOMAIN;
}

/** struct gnttab_setup_table: IN dom, nr_frames, frame_list. OUT status, the list. Grows the table as needed. */
function setupTable(context: HypercallContext, table: GrantTable, pointer: bigint): bigint {
  const { sizeBytes, at } = SetupTable[context.wordBytes];
  const view = copyFromGuest(context.vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const count = view.getUint32(at.count, true);
  let status = ownTable(view.getUint16(at.domid, true));
  if (status === GrantStatus.OKAY && !table.grow(count)) status = GrantStatus.GENERAL_ERROR;
  if (status === GrantStatus.OKAY) {
    const list = readWord(view, at.frames, context.wordBytes);
    status = writeFrames(table.frames.slice(0, count), (index, mfn) =>
      writeGuestWord(context, list + BigInt(index * context.wordBytes), mfn),
    );
  }
  return writeU16(context.vcpu, pointer + BigInt(at.status), status & 0xffff) ? 0n : EFAULT;
}

/** struct gnttab_query_size: IN dom. OUT nr_frames, max_nr_frames, status. */
function querySize(context: HypercallContext, table: GrantTable, pointer: bigint): bigint {
  const view = copyFromGuest(context.vcpu, pointer, 16);
  if (view === undefined) return EFAULT;
  const status = ownTable(view.getUint16(0, true));
  if (status === GrantStatus.OKAY) {
    view.setUint32(4, table.frames.length, true);
    view.setUint32(8, MAX_GRANT_FRAMES, true);
  }
  view.setUint16(12, status & 0xffff, true);
  return copyToGuest(context.vcpu, pointer, bytesOf(view)) ? 0n : EFAULT;
}

/** struct gnttab_set_version: IN version. OUT the version now in effect. */
function setVersion(context: HypercallContext, table: GrantTable, pointer: bigint): bigint {
  const version = copyFromGuest(context.vcpu, pointer, 4)?.getUint32(0, true);
  if (version === undefined) return EFAULT;
  const errno = table.setVersion(version);
  return writeU32(context.vcpu, pointer, table.version) ? errno : EFAULT;
}

/** struct gnttab_get_status_frames: IN nr_frames, dom, frame_list. OUT status, the list. */
function getStatusFrames(context: HypercallContext, table: GrantTable, pointer: bigint): bigint {
  const { sizeBytes, at } = StatusFrames[context.wordBytes];
  const view = copyFromGuest(context.vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const count = view.getUint32(at.count, true);
  const frames = table.version === 2 ? table.statusFrames : [];
  let status = ownTable(view.getUint16(at.domid, true));
  if (status === GrantStatus.OKAY && count > frames.length) status = GrantStatus.GENERAL_ERROR;
  if (status === GrantStatus.OKAY) {
    const list = readWord(view, at.frames, context.wordBytes);
    status = writeFrames(frames.slice(0, count), (index, mfn) => writeU64(context.vcpu, list + BigInt(index * 8), mfn));
  }
  return writeU16(context.vcpu, pointer + BigInt(at.status), status & 0xffff) ? 0n : EFAULT;
}

/** struct gnttab_get_version: IN dom. OUT version. */
function getVersion(context: HypercallContext, table: GrantTable, pointer: bigint): bigint {
  const domid = copyFromGuest(context.vcpu, pointer, 8)?.getUint16(0, true);
  if (domid === undefined) return EFAULT;
  const errno = targetDomainErrno(domid);
  if (errno !== 0n) return errno;
  return writeU32(context.vcpu, pointer + 4n, table.version) ? 0n : EFAULT;
}

/** Answers a GNTST_*. `write`: store a frame number as the list's element; false where it cannot be written. */
function writeFrames(frames: readonly number[], write: (index: number, mfn: bigint) => boolean): number {
  const isWritten = frames.every((mfn, index) => write(index, BigInt(mfn)));
  return isWritten ? GrantStatus.OKAY : GrantStatus.BAD_VIRT_ADDR;
}

import type { FileKind, FolderPath, OpenMode } from '../../ports/host-folder.ts';
import { Errno } from './errno.ts';
import { type DirectoryEntry, qidOf } from './fids.ts';
import { FolderError } from './folder-error.ts';
import type { Request, RequestContext } from './request.ts';
import { FieldWriter, HEADER_BYTES, Message, QID_BYTES } from './wire.ts';

const MOST_WALK_NAMES = 16;
/** Open flags of 9P2000.L, those of Linux on x86. */
const OpenFlag = {
  ACCESS: 3,
  WRONLY: 1,
  RDWR: 2,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  DIRECTORY: 0o200000,
} as const;
/** P9_GETATTR_BASIC: everything up to the number of blocks. */
const GETATTR_BASIC = 0x7ffn;
/** V9FS_MAGIC (Linux, include/uapi/linux/magic.h). */
const V9FS_MAGIC = 0x01021997;
const NAME_BYTES = 255;
/** DT_* (readdir(3)). */
const ENTRY_TYPES: Readonly<Record<FileKind, number>> = { file: 8, directory: 4, symlink: 10, other: 0 };
const NS_PER_SECOND = 1_000_000_000n;
/** F_UNLCK in Tgetlock's terms: nobody else holds a lock. */
const LOCK_TYPE_UNLCK = 2;

/** fid[4] newfid[4] nwname[2] nwname*(wname[s]) */
const walk: Request = ({ folder, fids }, fields, reply) => {
  const from = fields.u32();
  const to = fields.u32();
  const count = fields.u16();
  if (count > MOST_WALK_NAMES) throw new FolderError(Errno.EINVAL, 'too many names');
  const names = Array.from({ length: count }, () => fields.text());
  let path: FolderPath = fids.get(from).path;
  const qids = [];
  for (const name of names) {
    try {
      path = step(path, name);
      qids.push(qidOf(folder.status(path)));
    } catch (error) {
      // Only the first name's failure is an error; later ones show in the number of qids.
      if (qids.length === 0 || !(error instanceof FolderError)) throw error;
      break;
    }
  }
  if (qids.length === names.length) place({ fids }, { from, to, path });
  reply.u16(qids.length);
  for (const qid of qids) reply.qid(qid);
};

/** Up at `..`, but not above the root. */
function step(path: FolderPath, name: string): FolderPath {
  if (name === '..') return path.slice(0, -1);
  if (name === '' || name === '.' || /[/\0]/.test(name)) throw new FolderError(Errno.ENOENT, 'this is no name');
  return [...path, name];
}

function place(
  { fids }: Pick<RequestContext, 'fids'>,
  { from, to, path }: { from: number; to: number; path: FolderPath },
) {
  if (from === to) {
    const fid = fids.get(from);
    if (fid.file !== undefined) throw new FolderError(Errno.EBADF, 'the fid is open');
    fid.path = path;
    fid.entries = undefined;
  } else fids.add(to, path);
}

/** fid[4] flags[4] */
const lopen: Request = ({ folder, fids, writable }, fields, reply) => {
  const fid = fids.get(fields.u32());
  const flags = fields.u32();
  if (fid.file !== undefined) throw new FolderError(Errno.EBADF, 'the fid is open already');
  const status = folder.status(fid.path);
  if (status.kind === 'directory') {
    if ((flags & OpenFlag.ACCESS) !== 0) throw new FolderError(Errno.EISDIR, 'a directory cannot be written');
    fid.entries = [];
  } else {
    if ((flags & OpenFlag.DIRECTORY) !== 0) throw new FolderError(Errno.ENOTDIR, 'not a directory');
    const mode = openMode(flags);
    if ((mode.write || mode.truncate) && !writable) throw new FolderError(Errno.EROFS, 'the share is read-only');
    fid.file = folder.open(fid.path, mode);
  }
  reply.qid(qidOf(status)).u32(0);
};

export function openMode(flags: number): OpenMode {
  const access = flags & OpenFlag.ACCESS;
  return {
    read: access !== OpenFlag.WRONLY,
    write: access === OpenFlag.WRONLY || access === OpenFlag.RDWR,
    truncate: (flags & OpenFlag.TRUNC) !== 0,
    append: (flags & OpenFlag.APPEND) !== 0,
  };
}

/** Whether a creation insists on being the first (O_EXCL). */
export function isExclusive(flags: number): boolean {
  return (flags & OpenFlag.EXCL) !== 0;
}

/** fid[4] offset[8] count[4] */
const read: Request = ({ fids, maxMessageBytes }, fields, reply) => {
  const { file } = fids.get(fields.u32());
  const offset = Number(fields.u64());
  const count = Math.min(fields.u32(), maxMessageBytes - HEADER_BYTES - 4);
  if (file === undefined) throw new FolderError(Errno.EBADF, 'the fid is not open');
  if (!Number.isSafeInteger(offset)) throw new FolderError(Errno.EINVAL, 'beyond every file');
  const data = new Uint8Array(count);
  const got = file.read(offset, data);
  reply.u32(got).bytes(data.subarray(0, got));
};

/** fid[4] offset[8] count[4]; offsets are the numbers of entries. */
const readdir: Request = ({ folder, fids, maxMessageBytes }, fields, reply) => {
  const fid = fids.get(fields.u32());
  const offset = Number(fields.u64());
  const count = Math.min(fields.u32(), maxMessageBytes - HEADER_BYTES - 4);
  if (fid.entries === undefined) throw new FolderError(Errno.EBADF, 'the fid is no open directory');
  if (offset === 0) fid.entries = listing(folder.list(fid.path));
  const data = new FieldWriter();
  const free = () => HEADER_BYTES + count - data.sizeBytes;
  for (let index = offset; index < fid.entries.length; index++) {
    const { name, type } = fid.entries[index];
    if (free() < QID_BYTES + 8 + 1 + 2 + new TextEncoder().encode(name).length) break;
    const path = name === '.' ? fid.path : step(fid.path, name);
    const status = statusIfThere(() => folder.status(path));
    // What has gone in the meantime is left out.
    if (status !== undefined)
      data
        .qid(qidOf(status))
        .u64(index + 1)
        .u8(type)
        .text(name);
  }
  const body = data.finish(0, 0).subarray(HEADER_BYTES);
  reply.u32(body.length).bytes(body);
};

function listing(entries: readonly { readonly name: string; readonly kind: FileKind }[]): DirectoryEntry[] {
  const own = ['.', '..'].map((name) => ({ name, type: ENTRY_TYPES.directory }));
  return [...own, ...entries.map(({ name, kind }) => ({ name, type: ENTRY_TYPES[kind] }))];
}

function statusIfThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof FolderError) return undefined;
    throw error;
  }
}

/** fid[4] request_mask[8]; everything that there is is answered. */
const getattr: Request = ({ folder, fids }, fields, reply) => {
  const status = folder.status(fids.get(fields.u32()).path);
  reply.u64(GETATTR_BASIC).qid(qidOf(status)).u32(status.mode).u32(status.uid).u32(status.gid);
  reply.u64(status.links).u64(0).u64(status.sizeBytes).u64(status.blockBytes).u64(status.blocks);
  for (const timeNs of [status.accessedNs, status.modifiedNs, status.changedNs, 0n]) {
    reply.u64(timeNs / NS_PER_SECOND).u64(timeNs % NS_PER_SECOND);
  }
  reply.u64(0).u64(0);
};

/** fid[4] */
const statfs: Request = ({ folder, fids }, fields, reply) => {
  fids.get(fields.u32());
  const { blockBytes, blocks, free, available, files, freeFiles } = folder.capacity();
  reply.u32(V9FS_MAGIC).u32(blockBytes).u64(blocks).u64(free).u64(available).u64(files).u64(freeFiles);
  reply.u64(0).u32(NAME_BYTES);
};

/** fid[4] */
const readlink: Request = ({ folder, fids }, fields, reply) => {
  reply.text(folder.readLink(fids.get(fields.u32()).path));
};

/** fid[4] */
const clunk: Request = ({ fids }, fields) => fids.clunk(fields.u32());

/** oldtag[2]: every request has been answered before the next is read. */
const flush: Request = (_context, fields) => {
  fields.u16();
};

/** fid[4] type[1] flags[4] …: the guest is alone with the share and keeps its locks itself. */
const lock: Request = ({ fids }, fields, reply) => {
  fids.get(fields.u32());
  reply.u8(0);
};

/** fid[4] type[1] start[8] length[8] proc_id[4] client_id[s] */
const getlock: Request = ({ fids }, fields, reply) => {
  fids.get(fields.u32());
  fields.u8();
  const [start, length, process, client] = [fields.u64(), fields.u64(), fields.u32(), fields.text()];
  reply.u8(LOCK_TYPE_UNLCK).u64(start).u64(length).u32(process).text(client);
};

/** Requests that change nothing. */
export const READ_REQUESTS: readonly (readonly [number, Request])[] = [
  [Message.WALK, walk],
  [Message.LOPEN, lopen],
  [Message.READ, read],
  [Message.READDIR, readdir],
  [Message.GETATTR, getattr],
  [Message.STATFS, statfs],
  [Message.READLINK, readlink],
  [Message.CLUNK, clunk],
  [Message.FLUSH, flush],
  [Message.LOCK, lock],
  [Message.GETLOCK, getlock],
];

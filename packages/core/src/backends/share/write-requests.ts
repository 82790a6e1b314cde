import type { FolderPath, StatusChange } from '../../ports/host-folder.ts';
import { Errno } from './errno.ts';
import { qidOf } from './fids.ts';
import { FolderError } from './folder-error.ts';
import { isExclusive, openMode } from './read-requests.ts';
import type { Request } from './request.ts';
import { type FieldReader, Message } from './wire.ts';

const PERMISSIONS = 0o7777;
/** S_IFMT and S_IFREG (inode(7)). */
const TYPE_BITS = 0o170000;
const REGULAR = 0o100000;
/** AT_REMOVEDIR. */
const REMOVE_DIRECTORY = 0x200;
/** P9_SETATTR_*. */
const Valid = { MODE: 1, UID: 2, GID: 4, SIZE: 8, ATIME: 16, MTIME: 32, ATIME_SET: 128, MTIME_SET: 256 } as const;
const NS_PER_SECOND = 1_000_000_000n;

/** fid[4] offset[8] count[4] data[count] */
const write: Request = ({ fids }, fields, reply) => {
  const { file } = fids.get(fields.u32());
  const offset = Number(fields.u64());
  const data = fields.bytes(fields.u32());
  if (file === undefined) throw new FolderError(Errno.EBADF, 'the fid is not open');
  if (!Number.isSafeInteger(offset + data.length)) throw new FolderError(Errno.EINVAL, 'beyond every file');
  reply.u32(file.write(offset, data));
};

/** fid[4] name[s] flags[4] mode[4] gid[4]; the fid becomes the new file's. */
const lcreate: Request = ({ folder, fids }, fields, reply) => {
  const fid = fids.get(fields.u32());
  const path = [...fid.path, fields.name()];
  const flags = fields.u32();
  const mode = fields.u32() & PERMISSIONS;
  if (fid.file !== undefined) throw new FolderError(Errno.EBADF, 'the fid is open already');
  const file = folder.open(path, { ...openMode(flags), create: { mode, exclusive: isExclusive(flags) } });
  fid.file = file;
  fid.path = path;
  reply.qid(qidOf(folder.status(path))).u32(0);
};

/** dfid[4] name[s] symtgt[s] gid[4] */
const symlink: Request = ({ folder, fids }, fields, reply) => {
  const path = childOf(fids.get(fields.u32()).path, fields);
  folder.makeSymlink(path, fields.text());
  reply.qid(qidOf(folder.status(path)));
};

/** dfid[4] name[s] mode[4] major[4] minor[4] gid[4]; regular files only. */
const mknod: Request = ({ folder, fids }, fields, reply) => {
  const path = childOf(fids.get(fields.u32()).path, fields);
  const mode = fields.u32();
  if ((mode & TYPE_BITS) !== REGULAR) throw new FolderError(Errno.EPERM, 'devices, FIFOs and sockets are not made');
  const create = { mode: mode & PERMISSIONS, exclusive: true };
  folder.open(path, { read: false, write: true, truncate: false, append: false, create }).close();
  reply.qid(qidOf(folder.status(path)));
};

/** dfid[4] name[s] mode[4] gid[4] */
const mkdir: Request = ({ folder, fids }, fields, reply) => {
  const path = childOf(fids.get(fields.u32()).path, fields);
  folder.makeDirectory(path, fields.u32() & PERMISSIONS);
  reply.qid(qidOf(folder.status(path)));
};

/** dfid[4] fid[4] name[s] */
const link: Request = ({ folder, fids }, fields) => {
  const directory = fids.get(fields.u32()).path;
  const existing = fids.get(fields.u32()).path;
  folder.makeHardLink(childOf(directory, fields), existing);
};

/** fid[4] dfid[4] name[s] */
const rename: Request = ({ folder, fids }, fields) => {
  const from = fids.get(fields.u32()).path;
  const to = childOf(fids.get(fields.u32()).path, fields);
  if (from.length === 0) throw new FolderError(Errno.EINVAL, 'the root stays where it is');
  folder.rename(from, to);
  fids.moved(from, to);
};

/** olddirfid[4] oldname[s] newdirfid[4] newname[s] */
const renameat: Request = ({ folder, fids }, fields) => {
  const from = childOf(fids.get(fields.u32()).path, fields);
  const to = childOf(fids.get(fields.u32()).path, fields);
  folder.rename(from, to);
  fids.moved(from, to);
};

/** dirfid[4] name[s] flags[4] */
const unlinkat: Request = ({ folder, fids }, fields) => {
  const path = childOf(fids.get(fields.u32()).path, fields);
  folder.remove(path, (fields.u32() & REMOVE_DIRECTORY) !== 0 ? 'directory' : 'file');
};

/** fid[4]; the fid is gone in any case. */
const remove: Request = ({ folder, fids, writable }, fields) => {
  const number = fields.u32();
  const { path } = fids.get(number);
  fids.clunk(number);
  if (!writable) throw readOnly();
  if (path.length === 0) throw new FolderError(Errno.EPERM, 'the root is not removed');
  folder.remove(path, folder.status(path).kind === 'directory' ? 'directory' : 'file');
};

/** fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime[8+8] mtime[8+8] */
const setattr: Request = ({ folder, fids }, fields) => {
  const { path } = fids.get(fields.u32());
  const valid = fields.u32();
  const [mode, uid, gid, sizeBytes] = [fields.u32(), fields.u32(), fields.u32(), Number(fields.u64())];
  const accessed = timeOf(fields);
  const modified = timeOf(fields);
  const has = (bit: number) => (valid & bit) !== 0;
  if (has(Valid.SIZE) && !Number.isSafeInteger(sizeBytes))
    throw new FolderError(Errno.EINVAL, 'larger than every file');
  const change: StatusChange = {
    ...(has(Valid.MODE) && { mode: mode & PERMISSIONS }),
    ...(has(Valid.UID) && { uid }),
    ...(has(Valid.GID) && { gid }),
    ...(has(Valid.SIZE) && { sizeBytes }),
    ...(has(Valid.ATIME) && { accessed: has(Valid.ATIME_SET) ? accessed : ('now' as const) }),
    ...(has(Valid.MTIME) && { modified: has(Valid.MTIME_SET) ? modified : ('now' as const) }),
  };
  folder.change(path, change);
};

/** fid[4] datasync[4] */
const fsync: Request = ({ fids }, fields) => {
  fids.get(fields.u32()).file?.sync();
};

function timeOf(fields: FieldReader): bigint {
  return fields.u64() * NS_PER_SECOND + fields.u64();
}

function childOf(directory: FolderPath, fields: FieldReader): FolderPath {
  return [...directory, fields.name()];
}

function readOnly(): FolderError {
  return new FolderError(Errno.EROFS, 'the share is read-only');
}

/** Only in a writable share. */
function changing(request: Request): Request {
  return (context, fields, reply) => {
    if (!context.writable) throw readOnly();
    request(context, fields, reply);
  };
}

/** Requests that change the folder, each refused with EROFS where the share is read-only. */
export const WRITE_REQUESTS: readonly (readonly [number, Request])[] = [
  [Message.WRITE, changing(write)],
  [Message.LCREATE, changing(lcreate)],
  [Message.SYMLINK, changing(symlink)],
  [Message.MKNOD, changing(mknod)],
  [Message.MKDIR, changing(mkdir)],
  [Message.LINK, changing(link)],
  [Message.RENAME, changing(rename)],
  [Message.RENAMEAT, changing(renameat)],
  [Message.UNLINKAT, changing(unlinkat)],
  [Message.REMOVE, remove],
  [Message.SETATTR, changing(setattr)],
  [Message.FSYNC, fsync],
];

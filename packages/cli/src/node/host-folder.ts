import fs from 'node:fs';
import path from 'node:path';
import {
  type Capacity,
  type FileKind,
  type FileStatus,
  FolderError,
  type FolderFile,
  type FolderPath,
  type HostFolder,
  type OpenMode,
  type StatusChange,
} from '@polyvisor/core';

/** Linux's numbers for what Node calls by name (errno(3)); anything else is EIO. */
const NUMBERS: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ENAMETOOLONG: 36,
  ENOTEMPTY: 39,
  ELOOP: 40,
  EOPNOTSUPP: 95,
  EDQUOT: 122,
};
const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = fs.constants;

/** Runs a call of Node's; its error becomes a FolderError. */
function attempt<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof FolderError) throw error;
    const { code = '', message } = error as NodeJS.ErrnoException;
    throw new FolderError(NUMBERS[code] ?? NUMBERS.EIO, message);
  }
}

function refused(name: string, message: string): FolderError {
  return new FolderError(NUMBERS[name], message);
}

/**
 * A folder of this host. The way to a file is looked at anew in each call: a symbolic link on it, even one that leads
 * back inside, is refused (ELOOP), so that the guest sees links and never what is behind them.
 */
export class NodeHostFolder implements HostFolder {
  readonly #root: string;

  /** Throws what the file system says. */
  constructor(directory: string) {
    this.#root = fs.realpathSync.native(directory);
    if (!fs.statSync(this.#root).isDirectory()) throw Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
  }

  status(at: FolderPath): FileStatus {
    return attempt(() => statusOf(fs.lstatSync(this.#locate(at), { bigint: true })));
  }

  list(at: FolderPath): { readonly name: string; readonly kind: FileKind }[] {
    return attempt(() => {
      const directory = this.#locate(at);
      this.#require(at, 'directory');
      return fs
        .readdirSync(directory, { withFileTypes: true })
        .map((entry) => ({ name: entry.name, kind: kindOf(entry) }));
    });
  }

  readLink(at: FolderPath): string {
    return attempt(() => fs.readlinkSync(this.#locate(at)));
  }

  open(at: FolderPath, mode: OpenMode): FolderFile {
    return attempt(() => {
      const file = this.#locate(at);
      // Opening a device or FIFO could have effects of its own.
      if (fs.lstatSync(file, { throwIfNoEntry: false }) !== undefined) this.#require(at, 'file');
      const descriptor = fs.openSync(file, flagsOf(mode), mode.create?.mode);
      if (fs.fstatSync(descriptor).isFile()) return new NodeFolderFile(descriptor);
      fs.closeSync(descriptor);
      throw refused('EINVAL', 'not a regular file');
    });
  }

  capacity(): Capacity {
    return attempt(() => {
      const { bsize, blocks, bfree, bavail, files, ffree } = fs.statfsSync(this.#root, { bigint: true });
      return { blockBytes: Number(bsize), blocks, free: bfree, available: bavail, files, freeFiles: ffree };
    });
  }

  makeDirectory(at: FolderPath, mode: number): void {
    attempt(() => fs.mkdirSync(this.#locate(at), { mode }));
  }

  makeSymlink(at: FolderPath, target: string): void {
    attempt(() => fs.symlinkSync(target, this.#locate(at)));
  }

  makeHardLink(at: FolderPath, existing: FolderPath): void {
    attempt(() => {
      this.#require(existing, 'file');
      fs.linkSync(this.#locate(existing), this.#locate(at));
    });
  }

  rename(from: FolderPath, to: FolderPath): void {
    attempt(() => fs.renameSync(this.#locate(from), this.#locate(to)));
  }

  remove(at: FolderPath, kind: 'file' | 'directory'): void {
    attempt(() => (kind === 'directory' ? fs.rmdirSync(this.#locate(at)) : fs.unlinkSync(this.#locate(at))));
  }

  change(at: FolderPath, change: StatusChange): void {
    attempt(() => {
      const file = this.#locate(at);
      const status = fs.lstatSync(file, { bigint: true });
      if (change.uid !== undefined || change.gid !== undefined) {
        fs.lchownSync(file, change.uid ?? Number(status.uid), change.gid ?? Number(status.gid));
      }
      if (change.mode !== undefined) {
        if (status.isSymbolicLink()) throw refused('EOPNOTSUPP', 'a link has no permissions');
        fs.chmodSync(file, change.mode);
      }
      if (change.sizeBytes !== undefined) this.#resize(at, change.sizeBytes);
      if (change.accessed !== undefined || change.modified !== undefined) {
        fs.lutimesSync(file, seconds(change.accessed, status.atimeNs), seconds(change.modified, status.mtimeNs));
      }
    });
  }

  #resize(at: FolderPath, sizeBytes: number): void {
    this.#require(at, 'file');
    const descriptor = fs.openSync(this.#locate(at), O_WRONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      fs.ftruncateSync(descriptor, sizeBytes);
    } finally {
      fs.closeSync(descriptor);
    }
  }

  #require(at: FolderPath, kind: FileKind): void {
    const found = kindOf(fs.lstatSync(this.#locate(at)));
    if (found === kind) return;
    if (found === 'symlink') throw refused('ELOOP', 'a symbolic link');
    if (kind === 'directory') throw refused('ENOTDIR', 'not a directory');
    throw refused(found === 'directory' ? 'EISDIR' : 'EINVAL', 'not a regular file');
  }

  /** The host's path; every folder on the way is what it seems to be. */
  #locate(at: FolderPath): string {
    if (at.length === 0) return this.#root;
    const parent = path.join(this.#root, ...at.slice(0, -1));
    if (fs.realpathSync.native(parent) !== parent) throw refused('ELOOP', 'a symbolic link on the way');
    return path.join(parent, at[at.length - 1]);
  }
}

class NodeFolderFile implements FolderFile {
  readonly #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }
  read(offsetBytes: number, into: Uint8Array): number {
    return attempt(() => {
      let done = 0;
      while (done < into.length) {
        const count = fs.readSync(this.#descriptor, into, done, into.length - done, offsetBytes + done);
        if (count === 0) break;
        done += count;
      }
      return done;
    });
  }
  write(offsetBytes: number, bytes: Uint8Array): number {
    return attempt(() => {
      let done = 0;
      while (done < bytes.length) {
        done += fs.writeSync(this.#descriptor, bytes, done, bytes.length - done, offsetBytes + done);
      }
      return done;
    });
  }
  sync(): void {
    attempt(() => fs.fsyncSync(this.#descriptor));
  }
  close(): void {
    attempt(() => fs.closeSync(this.#descriptor));
  }
}

function flagsOf({ read, write, truncate, append, create }: OpenMode): number {
  const access = write ? (read ? O_RDWR : O_WRONLY) : O_RDONLY;
  const made = create === undefined ? 0 : O_CREAT | (create.exclusive ? O_EXCL : 0);
  return access | made | (truncate ? O_TRUNC : 0) | (append ? O_APPEND : 0) | O_NOFOLLOW | O_NONBLOCK;
}

function kindOf(entry: { isFile(): boolean; isDirectory(): boolean; isSymbolicLink(): boolean }): FileKind {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'directory';
  return entry.isSymbolicLink() ? 'symlink' : 'other';
}

function statusOf(status: fs.BigIntStats): FileStatus {
  return {
    kind: kindOf(status),
    mode: Number(status.mode),
    uid: Number(status.uid),
    gid: Number(status.gid),
    links: Number(status.nlink),
    sizeBytes: Number(status.size),
    blockBytes: Number(status.blksize),
    blocks: Number(status.blocks),
    inode: status.ino,
    device: status.dev,
    accessedNs: status.atimeNs,
    modifiedNs: status.mtimeNs,
    changedNs: status.ctimeNs,
  };
}

function seconds(time: bigint | 'now' | undefined, old: bigint): number {
  if (time === 'now') return Date.now() / 1000;
  return Number(time ?? old) / 1e9;
}

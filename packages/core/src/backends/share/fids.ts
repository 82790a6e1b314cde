import type { FileStatus, FolderFile, FolderPath } from '../../ports/host-folder.ts';
import { Errno } from './errno.ts';
import { FolderError } from './folder-error.ts';
import type { Qid } from './wire.ts';

/** Most files that a session may hold. */
const MOST_FIDS = 4096;

const QTDIR = 0x80;
const QTSYMLINK = 0x02;

/** Something of the folder that the guest holds. */
export interface Fid {
  path: FolderPath;
  /** Opened as a file. */
  file?: FolderFile;
  /** Opened as a directory: what it held when reading began, `.` and `..` first. */
  entries?: readonly DirectoryEntry[];
}

export interface DirectoryEntry {
  readonly name: string;
  /** DT_* (readdir(3)). */
  readonly type: number;
}

/** A session's fids by number. */
export class Fids {
  readonly #fids = new Map<number, Fid>();

  get count(): number {
    return this.#fids.size;
  }

  /** @throws FolderError EBADF */
  get(number: number): Fid {
    const fid = this.#fids.get(number);
    if (fid === undefined) throw new FolderError(Errno.EBADF, `no fid ${number}`);
    return fid;
  }

  add(number: number, path: FolderPath): Fid {
    if (this.#fids.has(number)) throw new FolderError(Errno.EBADF, `fid ${number} is in use`);
    if (this.#fids.size >= MOST_FIDS) throw new FolderError(Errno.EMFILE, 'too many fids');
    const fid: Fid = { path };
    this.#fids.set(number, fid);
    return fid;
  }

  clunk(number: number): void {
    const fid = this.get(number);
    this.#fids.delete(number);
    fid.file?.close();
  }

  /** Something was moved: fids of it and below it follow. */
  moved(from: FolderPath, to: FolderPath): void {
    for (const fid of this.#fids.values()) {
      const isBelow = from.every((name, index) => fid.path[index] === name);
      if (isBelow) fid.path = [...to, ...fid.path.slice(from.length)];
    }
  }

  clear(): void {
    for (const { file } of this.#fids.values()) file?.close();
    this.#fids.clear();
  }
}

/** A change of contents shows in the version. */
export function qidOf(status: FileStatus): Qid {
  return {
    type: status.kind === 'directory' ? QTDIR : status.kind === 'symlink' ? QTSYMLINK : 0,
    version: Number(BigInt.asUintN(32, status.modifiedNs)),
    path: BigInt.asUintN(64, status.inode ^ (status.device << 48n)),
  };
}

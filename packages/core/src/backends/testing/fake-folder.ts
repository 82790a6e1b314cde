import type {
  Capacity,
  FileKind,
  FileStatus,
  FolderFile,
  FolderPath,
  HostFolder,
  OpenMode,
  StatusChange,
} from '../../ports/host-folder.ts';
import { FolderError } from '../share/folder-error.ts';

const ENOENT = 2;
const EEXIST = 17;
const ENOTDIR = 20;
const EINVAL = 22;

interface Entry {
  kind: FileKind;
  bytes: Uint8Array;
  target: string;
  mode: number;
  inode: bigint;
}

/** A folder in memory. Paths that no server may ask for are noted. */
export class FakeFolder implements HostFolder {
  readonly entries = new Map<string, Entry>();
  readonly illegal: string[] = [];
  openFiles = 0;
  #inodes = 1n;

  constructor(files: Readonly<Record<string, string>> = {}) {
    this.#put('', 'directory', 0o40755);
    for (const [path, text] of Object.entries(files)) {
      const parts = path.split('/');
      for (let depth = 1; depth < parts.length; depth++)
        this.#put(parts.slice(0, depth).join('/'), 'directory', 0o40755);
      this.#put(path, 'file', 0o100644).bytes = new TextEncoder().encode(text);
    }
  }

  status(path: FolderPath): FileStatus {
    const { kind, bytes, mode, inode } = this.#get(path);
    const times = { accessedNs: 1n, modifiedNs: 2_000_000_003n, changedNs: 4n };
    const sizes = { sizeBytes: bytes.length, blockBytes: 4096, blocks: Math.ceil(bytes.length / 512) };
    return { kind, mode, uid: 0, gid: 0, links: 1, inode, device: 1n, ...sizes, ...times };
  }
  list(path: FolderPath) {
    const prefix = this.#key(path) === '' ? '' : `${this.#key(path)}/`;
    return [...this.entries]
      .filter(([key]) => key !== '' && key.startsWith(prefix) && !key.slice(prefix.length).includes('/'))
      .map(([key, { kind }]) => ({ name: key.slice(prefix.length), kind }));
  }
  readLink(path: FolderPath): string {
    const entry = this.#get(path);
    if (entry.kind !== 'symlink') throw new FolderError(EINVAL, 'no link');
    return entry.target;
  }
  open(path: FolderPath, mode: OpenMode): FolderFile {
    if (mode.create?.exclusive && this.entries.has(this.#key(path))) throw new FolderError(EEXIST, 'there');
    if (mode.create && !this.entries.has(this.#key(path)))
      this.#put(this.#key(path), 'file', 0o100000 | mode.create.mode);
    const entry = this.#get(path);
    if (entry.kind !== 'file') throw new FolderError(EINVAL, 'no file');
    if (mode.truncate) entry.bytes = new Uint8Array(0);
    this.openFiles++;
    return {
      read: (offset, into) => {
        const part = entry.bytes.subarray(offset, offset + into.length);
        into.set(part);
        return part.length;
      },
      write: (offset, bytes) => {
        const larger = new Uint8Array(Math.max(entry.bytes.length, offset + bytes.length));
        larger.set(entry.bytes);
        larger.set(bytes, offset);
        entry.bytes = larger;
        return bytes.length;
      },
      sync: () => {},
      close: () => {
        this.openFiles--;
      },
    };
  }
  capacity(): Capacity {
    return { blockBytes: 4096, blocks: 100n, free: 50n, available: 40n, files: 30n, freeFiles: 20n };
  }
  makeDirectory(path: FolderPath, mode: number): void {
    this.#new(path, 'directory', 0o40000 | mode);
  }
  makeSymlink(path: FolderPath, target: string): void {
    this.#new(path, 'symlink', 0o120777).target = target;
  }
  makeHardLink(path: FolderPath, existing: FolderPath): void {
    this.entries.set(this.#key(path), this.#get(existing));
  }
  rename(from: FolderPath, to: FolderPath): void {
    this.#get(from);
    const [old, renamed] = [this.#key(from), this.#key(to)];
    if (renamed.startsWith(`${old}/`)) throw new FolderError(EINVAL, 'into itself');
    for (const [key, entry] of [...this.entries]) {
      if (key !== old && !key.startsWith(`${old}/`)) continue;
      this.entries.delete(key);
      this.entries.set(renamed + key.slice(old.length), entry);
    }
  }
  remove(path: FolderPath): void {
    this.#get(path);
    this.entries.delete(this.#key(path));
  }
  change(path: FolderPath, change: StatusChange): void {
    const entry = this.#get(path);
    if (change.mode !== undefined) entry.mode = (entry.mode & 0o170000) | change.mode;
  }

  #key(path: FolderPath): string {
    if (path.some((name) => name === '' || name === '.' || name === '..' || /[/\0]/.test(name))) {
      this.illegal.push(path.join('|'));
    }
    return path.join('/');
  }
  #get(path: FolderPath): Entry {
    const entry = this.entries.get(this.#key(path));
    if (entry === undefined) throw new FolderError(ENOENT, 'not there');
    return entry;
  }
  #new(path: FolderPath, kind: FileKind, mode: number): Entry {
    if (this.entries.has(this.#key(path))) throw new FolderError(EEXIST, 'there');
    if (this.#get(path.slice(0, -1)).kind !== 'directory') throw new FolderError(ENOTDIR, 'not below a file');
    return this.#put(this.#key(path), kind, mode);
  }
  #put(key: string, kind: FileKind, mode: number): Entry {
    const entry = { kind, bytes: new Uint8Array(0), target: '', mode, inode: this.#inodes++ };
    this.entries.set(key, entry);
    return entry;
  }
}

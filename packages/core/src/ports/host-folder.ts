/** Names from the folder's root down, none of them empty, `.` or `..`, none with a slash or zero byte; empty: the root. */
export type FolderPath = readonly string[];

export type FileKind = 'file' | 'directory' | 'symlink' | 'other';

/** What lstat(2) tells. Times in ns since the epoch. */
export interface FileStatus {
  readonly kind: FileKind;
  /** Type and permission bits (inode(7)). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly inode: bigint;
  readonly device: bigint;
  readonly accessedNs: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

/** What to change; what is not named stays. */
export interface StatusChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly sizeBytes?: number;
  /** `now`, or ns since the epoch. */
  readonly accessed?: bigint | 'now';
  readonly modified?: bigint | 'now';
}

/** What statfs(2) tells. */
export interface Capacity {
  readonly blockBytes: number;
  readonly blocks: bigint;
  readonly free: bigint;
  readonly available: bigint;
  readonly files: bigint;
  readonly freeFiles: bigint;
}

export interface OpenMode {
  readonly read: boolean;
  readonly write: boolean;
  readonly truncate: boolean;
  readonly append: boolean;
  /** Make it, with these permissions; `exclusive`: it must not be there. */
  readonly create?: { readonly mode: number; readonly exclusive: boolean };
}

export interface FolderFile {
  /** Answers how many bytes there were. */
  read(offsetBytes: number, into: Uint8Array): number;
  /** Answers how many bytes were written. */
  write(offsetBytes: number, bytes: Uint8Array): number;
  sync(): void;
  close(): void;
}

/**
 * A folder of the host's and what is below it. No call follows a symbolic link, neither on the way nor at the end, so
 * nothing outside can be reached. Failures are `FolderError` (backends/share).
 */
export interface HostFolder {
  status(path: FolderPath): FileStatus;
  list(path: FolderPath): { readonly name: string; readonly kind: FileKind }[];
  readLink(path: FolderPath): string;
  /** Regular files only. */
  open(path: FolderPath, mode: OpenMode): FolderFile;
  capacity(): Capacity;
  makeDirectory(path: FolderPath, mode: number): void;
  makeSymlink(path: FolderPath, target: string): void;
  makeHardLink(path: FolderPath, existing: FolderPath): void;
  rename(from: FolderPath, to: FolderPath): void;
  remove(path: FolderPath, kind: 'file' | 'directory'): void;
  change(path: FolderPath, change: StatusChange): void;
}

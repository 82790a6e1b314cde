export { type DiskMode, FileDisk } from './block/file-disk.ts';
export { Nat } from './net/nat.ts';
export { type FrameStream, StreamLink } from './net/stream-link.ts';
export { FolderError } from './share/folder-error.ts';
export { FolderShare } from './share/session.ts';

export { type DiskMode, FileDisk } from './block/file-disk.ts';

import { FolderShare } from '@polyvisor/core';
import type { ShareBackend } from '@polyvisor/plugin-api';
import { fileError } from '../cli-error.ts';
import { NodeHostFolder } from '../node/host-folder.ts';
import type { ShareRequest } from '../options.ts';

/** @throws PolyvisorError for what is no folder */
export function openShare({ directory, tag, writable }: ShareRequest): ShareBackend {
  try {
    return new FolderShare(tag, new NodeHostFolder(directory), writable);
  } catch (error) {
    throw fileError(`cannot share ${directory}`, error);
  }
}

import { createHash } from 'node:crypto';
import path from 'node:path';
import { cacheDirectory } from '../cache.ts';
import { threadFile } from '../import-file.ts';
import { FileCodeKeeper } from './file-code-keeper.ts';

/**
 * Keeps code that this state of the program and this version of Node compile for machines that start from an image.
 * `kind` tells those apart that hardly run the same code. Undefined where the sources run as they are, since nothing tells
 * their states apart.
 */
export async function openCodeKeeper(image: Uint8Array, kind: readonly string[]): Promise<FileCodeKeeper | undefined> {
  const program = threadFile(new URL('../region-worker.ts', import.meta.url).href);
  if (program === undefined) return undefined;
  const words = JSON.stringify([program, process.version, process.arch, ...kind]);
  const key = createHash('sha256').update(words).update(image).digest('hex');
  return FileCodeKeeper.open(path.join(cacheDirectory(), 'code', key.slice(0, 32)));
}

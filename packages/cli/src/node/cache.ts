import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { mapFile } from './mapped-file.ts';
import { withTemporaryDirectory } from './temporary.ts';

/** Where things that can be made again are kept: the XDG Base Directory Specification's cache directory. */
export function cacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME;
  // The specification says that a relative path is to be ignored.
  return path.join(base && path.isAbsolute(base) ? base : path.join(homedir(), '.cache'), 'polyvisor');
}

/** The cached bytes, or `undefined` if there are none that can be read. Cached files are only replaced or made longer, so they can be mapped. */
export async function readCached(file: string): Promise<Uint8Array | undefined> {
  try {
    return (await mapFile(file)) ?? (await readFile(file));
  } catch {
    return undefined;
  }
}

/** Replaces `file` as a whole or not at all, so that a reader never sees half of it. */
export async function writeAtomically(file: string, bytes: Uint8Array): Promise<void> {
  await replaceFile(file, (temporary) => writeFile(temporary, bytes));
}

/** The same with what `write` puts into a file that it makes. */
export async function replaceFile(file: string, write: (temporary: string) => void | Promise<void>): Promise<void> {
  await withTemporaryDirectory(path.dirname(file), async (directory) => {
    const temporary = path.join(directory, 'new');
    await write(temporary);
    await rename(temporary, file);
  });
}

/** Counts as written just now, if it is there: {@link dropOldest} leaves it for longer. */
export async function markUsed(file: string): Promise<void> {
  const now = new Date();
  await utimes(file, now, now).catch(() => undefined);
}

/** Deletes the files of a folder that have not been written to for longest, until the others are no larger than `maxBytes`. */
export async function dropOldest(directory: string, maxBytes: number): Promise<void> {
  const files = await Promise.all(
    (await readdir(directory)).map(async (name) => {
      const file = path.join(directory, name);
      const { mtimeMs, size } = await stat(file);
      return { file, mtimeMs, size };
    }),
  );
  let left = maxBytes;
  for (const { file, size } of files.sort((a, b) => b.mtimeMs - a.mtimeMs)) {
    left -= size;
    if (left < 0) await rm(file, { recursive: true, force: true });
  }
}

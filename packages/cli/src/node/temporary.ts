import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';

const leftovers = new Set<string>();
process.on('exit', () => {
  for (const leftover of leftovers) rmSync(leftover, { recursive: true, force: true });
});

/** Runs `use` with a new directory inside `parent`, which is gone afterwards however the process ends. */
export async function withTemporaryDirectory<T>(parent: string, use: (directory: string) => Promise<T>): Promise<T> {
  await mkdir(parent, { recursive: true });
  const directory = mkdtempSync(path.join(parent, '.tmp-'));
  leftovers.add(directory);
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
    leftovers.delete(directory);
  }
}

/** Kernel modules of Debian's package that its guests in the catalogue do not have. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { findPackage, unpackedPackage } from '../../packages/cli/src/catalogue/apt.ts';
import { MODULE_MEMBERS } from '../../packages/cli/src/catalogue/modules.ts';
import type { ProgressLine } from '../../packages/cli/src/progress.ts';

/**
 * Modules by their paths below `kernel/`, of the kernel with this file name (`vmlinuz-6.1.0-56-amd64`). What the catalogue takes of
 * the package is taken with them, so that the folder serves the catalogue too.
 */
export async function debianModules(
  kernelFile: string,
  files: readonly string[],
  progress: ProgressLine,
): Promise<Uint8Array[]> {
  const release = kernelFile.replace(/^vmlinuz-/, '');
  const wanted = await findPackage(`linux-image-${release}`, progress);
  const members = files.map((file) => `./lib/modules/*/kernel/${file}`);
  const root = await unpackedPackage(wanted, ['./boot/vmlinuz-*', ...MODULE_MEMBERS, ...members], progress);
  const modules = path.join(root, 'lib', 'modules');
  const [folder] = await readdir(modules);
  return Promise.all(files.map((file) => readFile(path.join(modules, folder, 'kernel', file))));
}

/** Kernel, busybox and initramfs: the first two from the catalogue's cache, the third made of them here. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { findPackage, unpackedPackage } from '../packages/cli/src/catalogue/apt.ts';
import type { CpioEntry } from '../packages/cli/src/catalogue/cpio.ts';
import { writeCpio } from '../packages/cli/src/catalogue/cpio.ts';
import { catalogue } from '../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../packages/cli/src/progress.ts';

export const integerPath = path.resolve(import.meta.dirname, '..', 'guests', 'integer', 'prebuilt', 'integer.elf');

/** Debian's kernel, as the catalogue's `debian` has it, in a file of `directory`. */
export async function debianKernel(directory: string): Promise<string> {
  const progress = new ProgressLine();
  const guest = await catalogue.debian.load(progress).finally(() => progress.clear());
  const kernelPath = path.join(directory, guest.name);
  await writeFile(kernelPath, guest.file);
  return kernelPath;
}

/** Debian's static busybox in the cache, where the catalogue's `debian` takes it from too. */
export async function debianBusybox(): Promise<string> {
  const progress = new ProgressLine();
  const wanted = await findPackage('busybox-static', progress);
  const unpacked = await unpackedPackage(wanted, ['*/bin/busybox'], progress).finally(() => progress.clear());
  // Since Debian 13 everything is in /usr.
  const found = ['bin/busybox', 'usr/bin/busybox'].map((name) => path.join(unpacked, name)).find(existsSync);
  if (!found) throw new Error(`${unpacked} holds no bin/busybox: remove it and try again`);
  return found;
}

/** Writes the initramfs of init.sh, loads.sh, busybox and the integer loops; returns its path. */
export async function writeInitramfs(directory: string, busyboxPath: string): Promise<string> {
  const program = async (name: string, source: string): Promise<CpioEntry> => {
    return { kind: 'file', path: name, bytes: await readFile(source), mode: 0o755 };
  };
  const entries: CpioEntry[] = [
    ...['bin', 'dev', 'proc', 'tmp'].map((name): CpioEntry => ({ kind: 'directory', path: name })),
    { kind: 'characterDevice', path: 'dev/console', major: 5, minor: 1 },
    await program('bin/busybox', busyboxPath),
    await program('integer', integerPath),
    await program('init', path.join(import.meta.dirname, 'init.sh')),
    await program('loads.sh', path.join(import.meta.dirname, 'loads.sh')),
  ];
  const initramfsPath = path.join(directory, 'initramfs.cpio');
  await writeFile(initramfsPath, writeCpio(entries));
  return initramfsPath;
}

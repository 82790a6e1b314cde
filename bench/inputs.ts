/** Kernel, busybox, Xen and initramfs: the first three from the catalogue's cache, the fourth made here. */
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { recogniseImage } from '@polyvisor/core';
import { findPackage, unpackedPackage } from '../packages/cli/src/catalogue/apt.ts';
import type { CpioEntry } from '../packages/cli/src/catalogue/cpio.ts';
import { writeCpio } from '../packages/cli/src/catalogue/cpio.ts';
import { catalogue } from '../packages/cli/src/catalogue/index.ts';
import { debianXen } from '../packages/cli/src/catalogue/xen.ts';
import { withCache } from '../packages/cli/src/node/decompress/cached.ts';
import { nodeDecompressor } from '../packages/cli/src/node/decompress/index.ts';
import { ProgressLine } from '../packages/cli/src/progress.ts';
import { placeDebianPrograms } from './debian-programs.ts';
import type { Engine, Inputs } from './engines.ts';

const guestsDirectory = path.resolve(import.meta.dirname, '..', 'guests');
const loadsDirectory = path.join(import.meta.dirname, 'loads');
const ownPrograms = ['integer', 'kernels', 'mixed', 'operations', 'walk'];

async function withProgress<T>(work: (progress: ProgressLine) => Promise<T>): Promise<T> {
  const progress = new ProgressLine();
  return work(progress).finally(() => progress.clear());
}

/** Debian's kernel, as the catalogue's `debian` has it, in a file of `directory`. */
async function debianKernel(directory: string): Promise<string> {
  const guest = await withProgress((progress) => catalogue.debian.load(progress));
  const kernelPath = path.join(directory, guest.name);
  await writeFile(kernelPath, guest.file);
  return kernelPath;
}

/** The ELF inside a kernel file, unpacked here and not by the guest, in a file of `directory`. */
async function unpackedKernel(kernelPath: string, directory: string): Promise<string> {
  const image = await recogniseImage(
    await readFile(kernelPath),
    path.basename(kernelPath),
    withCache(nodeDecompressor),
    () => {},
  );
  if (!image.elf) throw new Error(`${kernelPath} holds no ELF that could be started through PVH`);
  const elfPath = path.join(directory, 'vmlinux');
  await writeFile(elfPath, image.elf.bytes);
  return elfPath;
}

/** Debian's static busybox in the cache, where the catalogue's `debian` takes it from too. */
async function debianBusybox(): Promise<string> {
  const unpacked = await withProgress(async (progress) =>
    unpackedPackage(await findPackage('busybox-static', progress), ['*/bin/busybox'], progress),
  );
  // Since Debian 13 everything is in /usr.
  const found = ['bin/busybox', 'usr/bin/busybox'].map((name) => path.join(unpacked, name)).find(existsSync);
  if (!found) throw new Error(`${unpacked} holds no bin/busybox: remove it and try again`);
  return found;
}

/** Debian's Xen, unpacked, in a file of `directory`. */
async function unpackedXen(directory: string): Promise<string> {
  const packed = await withProgress(debianXen);
  const xenPath = path.join(directory, 'xen');
  await writeFile(xenPath, gunzipSync(await readFile(packed)));
  return xenPath;
}

/** The script that is run, and with which words; from loads/. */
interface Work {
  readonly script: 'loads.sh' | 'programs.sh';
  readonly words: readonly string[];
  /** CoreMark's executable, for the load of that name. */
  readonly coremark?: string;
}

/** What `work` needs, in a new folder `tree` of `directory`: the host uses it there, guests as /bench. */
async function writeTree(directory: string, { script, words, coremark }: Work): Promise<string> {
  const tree = path.join(directory, 'tree');
  await mkdir(path.join(tree, 'programs'), { recursive: true });
  const programs = ownPrograms.map((name) => [name, path.join(guestsDirectory, name, 'prebuilt', `${name}.elf`)]);
  if (coremark !== undefined && words.includes('coremark')) programs.push(['coremark', coremark]);
  for (const [name, file] of programs) {
    const target = path.join(tree, 'programs', name);
    await copyFile(file, target);
    await chmod(target, 0o755);
  }
  for (const name of ['load.lua', 'load.sql', 'load.c'])
    await copyFile(path.join(loadsDirectory, name), path.join(tree, name));
  await copyFile(path.join(loadsDirectory, script), path.join(tree, 'main.sh'));
  await withProgress((progress) =>
    placeDebianPrograms(words, path.join(tree, 'load.c'), path.join(tree, 'debian'), progress),
  );
  await writeFile(path.join(tree, 'selection'), words.join(' '));
  return tree;
}

async function entriesOf(directory: string, as: string): Promise<CpioEntry[]> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = found.map((entry) => ({ entry, file: path.join(entry.parentPath, entry.name) }));
  // A folder sorts before what is in it.
  paths.sort((a, b) => (a.file < b.file ? -1 : 1));
  const inside = paths.map(async ({ entry, file }): Promise<CpioEntry> => {
    const name = path.posix.join(as, path.relative(directory, file));
    if (entry.isDirectory()) return { kind: 'directory', path: name };
    return { kind: 'file', path: name, bytes: await readFile(file), mode: 0o755 };
  });
  return [{ kind: 'directory', path: as }, ...(await Promise.all(inside))];
}

/** Writes an initramfs of busybox, `tree` as /bench, and loads/init.sh as /init; returns its path. */
async function writeInitramfs(directory: string, busyboxPath: string, tree: string): Promise<string> {
  const entries: CpioEntry[] = [
    ...['bin', 'dev', 'proc', 'tmp'].map((name): CpioEntry => ({ kind: 'directory', path: name })),
    { kind: 'characterDevice', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', bytes: await readFile(busyboxPath), mode: 0o755 },
    { kind: 'file', path: 'init', bytes: await readFile(path.join(loadsDirectory, 'init.sh')), mode: 0o755 },
    ...(await entriesOf(tree, 'bench')),
  ];
  const initramfsPath = path.join(directory, 'initramfs.cpio');
  await writeFile(initramfsPath, writeCpio(entries));
  return initramfsPath;
}

interface Preparation {
  readonly engines: readonly Engine[];
  readonly work: Work;
  readonly nodePath: string;
  readonly kernel: string | undefined;
  readonly busybox: string | undefined;
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
}

/** Fetches, or takes what was named, and writes the initramfs; all that is made lies in `directory`. */
export async function prepare(preparation: Preparation, directory: string): Promise<Inputs> {
  const { engines, work, memoryMegabytes, timeoutSeconds, nodePath } = preparation;
  const needs = (what: Engine['needs']) => engines.some((engine) => engine.needs === what);
  const kernelPath = preparation.kernel ?? (await debianKernel(directory));
  const busyboxPath = preparation.busybox ?? (await debianBusybox());
  const treePath = await writeTree(directory, work);
  const scratchPath = path.join(directory, 'scratch');
  await mkdir(scratchPath);
  return {
    ...{ kernelPath, busyboxPath, treePath, scratchPath, words: work.words, memoryMegabytes, timeoutSeconds, nodePath },
    vmlinuxPath: needs('vmlinux') ? await unpackedKernel(kernelPath, directory) : '',
    xenPath: needs('xen') ? await unpackedXen(directory) : '',
    initramfsPath: await writeInitramfs(directory, busyboxPath, treePath),
  };
}

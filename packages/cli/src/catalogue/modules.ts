import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseElf } from '@polyvisor/core';
import { nodeDecompressor } from '../node/decompress/index.ts';
import type { CpioEntry } from './cpio.ts';

/**
 * What a guest needs of its kernel's modules for the devices that a machine can have, by tar patterns: drivers of
 * paravirtual devices, the file systems that disks and shares are likely to hold, and all that these depend on.
 */
export const MODULE_MEMBERS = [
  'drivers/block/virtio_blk.ko*',
  'drivers/block/xen-blkfront.ko*',
  'drivers/cdrom/cdrom.ko*',
  'drivers/char/hw_random/virtio-rng.ko*',
  'drivers/char/virtio_console.ko*',
  'drivers/net/net_failover.ko*',
  'drivers/net/virtio_net.ko*',
  'drivers/net/xen-netfront.ko*',
  'drivers/virtio/virtio.ko*',
  'drivers/virtio/virtio_pci*.ko*',
  'drivers/virtio/virtio_ring.ko*',
  'crypto/crc32c_generic.ko*',
  'fs/9p/9p.ko*',
  'fs/ext4/ext4.ko*',
  'fs/fat/*.ko*',
  'fs/fscache/fscache.ko*',
  'fs/isofs/isofs.ko*',
  'fs/jbd2/jbd2.ko*',
  'fs/mbcache.ko*',
  'fs/netfs/netfs.ko*',
  'fs/nls/nls_ascii.ko*',
  'fs/nls/nls_cp437.ko*',
  'lib/crc16.ko*',
  'net/9p/9pnet.ko*',
  'net/9p/9pnet_virtio.ko*',
  'net/9p/9pnet_xen.ko*',
  'net/core/failover.ko*',
].map((member) => `./lib/modules/*/kernel/${member}`);

interface KernelModule {
  /** Below `kernel/`, without an outer compression. */
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly depends: readonly string[];
  readonly aliases: readonly string[];
}

/**
 * The modules of an unpacked kernel package as entries of an initramfs, with the two lists that modprobe reads
 * (modules.dep(5); depmod(8) makes them on an installed system). Nothing where the package has none.
 */
export async function moduleEntries(packageDirectory: string): Promise<CpioEntry[]> {
  const root = path.join(packageDirectory, 'lib', 'modules');
  const [release] = await readdir(root).catch(() => []);
  if (release === undefined) return [];
  const modules = await readModules(path.join(root, release, 'kernel'));
  const home = `lib/modules/${release}`;
  const text = (name: string, lines: readonly string[]): CpioEntry => ({
    kind: 'file',
    path: `${home}/${name}`,
    bytes: Buffer.from(lines.map((line) => `${line}\n`).join('')),
  });
  const files = modules.map(({ file, bytes }): CpioEntry => ({ kind: 'file', path: `${home}/kernel/${file}`, bytes }));
  return [
    ...directoriesOf(files).map((directory): CpioEntry => ({ kind: 'directory', path: directory })),
    ...files,
    text(
      'modules.dep',
      modules.map((module) => `kernel/${module.file}: ${pathsOfAll(module, modules).join(' ')}`),
    ),
    text(
      'modules.alias',
      modules.flatMap(({ name, aliases }) => aliases.map((alias) => `alias ${alias} ${name}`)),
    ),
  ];
}

async function readModules(directory: string): Promise<KernelModule[]> {
  const files = (await readdir(directory, { recursive: true })).filter((file) => /\.ko(\.xz)?$/.test(file)).sort();
  return Promise.all(
    files.map(async (file) => {
      const raw = await readFile(path.join(directory, file));
      const bytes = file.endsWith('.xz') ? await nodeDecompressor.decompress('xz', raw) : raw;
      return { file: file.replace(/\.xz$/, ''), bytes, ...moduleInfo(bytes) };
    }),
  );
}

/** Section .modinfo: `key=value` strings, each ended by a zero byte (Linux, include/linux/moduleparam.h). */
function moduleInfo(bytes: Uint8Array): Pick<KernelModule, 'name' | 'depends' | 'aliases'> {
  const section = parseElf(bytes).section('.modinfo');
  const end = section ? section.offset + section.sizeBytes : 0;
  const strings = Buffer.from(bytes.subarray(section?.offset ?? 0, end))
    .toString('latin1')
    .split('\0');
  const values = (key: string) =>
    strings.filter((text) => text.startsWith(`${key}=`)).map((text) => text.slice(key.length + 1));
  return {
    name: values('name')[0] ?? '',
    depends: values('depends')
      .flatMap((list) => list.split(','))
      .filter((name) => name !== ''),
    aliases: values('alias'),
  };
}

/**
 * Files of everything that a module needs, in the order of modules.dep: what has to be loaded first comes last. What is not
 * here is built into the kernel.
 */
function pathsOfAll(module: KernelModule, modules: readonly KernelModule[]): string[] {
  const loaded: KernelModule[] = [];
  const visited = new Set<KernelModule>([module]);
  const load = ({ depends }: KernelModule) => {
    for (const name of depends) {
      const needed = modules.find((candidate) => candidate.name === name);
      if (needed === undefined || visited.has(needed)) continue;
      visited.add(needed);
      load(needed);
      loaded.push(needed);
    }
  };
  load(module);
  return loaded.reverse().map(({ file }) => `kernel/${file}`);
}

/** Every folder above the files, parents first. */
function directoriesOf(files: readonly CpioEntry[]): string[] {
  const directories = new Set<string>();
  for (const { path: file } of files) {
    const parts = file.split('/').slice(0, -1);
    parts.forEach((_, index) => {
      directories.add(parts.slice(0, index + 1).join('/'));
    });
  }
  return [...directories];
}

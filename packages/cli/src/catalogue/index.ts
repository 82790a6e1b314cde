import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PolyvisorError } from '@polyvisor/plugin-api';
import { fetchError, fileError } from '../cli-error.ts';
import type { ProgressLine } from '../progress.ts';
import { cachedPackage, findPackage, unpackedPackage } from './apt.ts';
import { buildInitramfs } from './initramfs.ts';
import { MODULE_MEMBERS, moduleEntries } from './modules.ts';

/** A guest as the catalogue hands it over. */
export interface CatalogueGuest {
  /** File name, for messages. */
  readonly name: string;
  readonly file: Uint8Array;
  readonly initrd?: Uint8Array;
}

export interface CatalogueEntry {
  /** Plug-ins used when none is named on the command line. */
  readonly defaultPlugins: readonly string[];
  /** What the command line begins with; `--append` is added to it. */
  commandLine(plugins: readonly string[], entryName: string | undefined): string;
  load(progress: ProgressLine): Promise<CatalogueGuest>;
}

export const catalogue: Readonly<Record<string, CatalogueEntry>> = {
  demo: { defaultPlugins: ['xen'], commandLine: () => '', load: () => loadDemo('demo.elf') },
  demo32: { defaultPlugins: [], commandLine: () => '', load: () => loadDemo('demo32.elf') },
  debian: debian({ architecture: 'amd64', flavour: 'amd64' }),
  // Its kernels have these drivers built in, and fscache within netfs.
  'debian-6.12': debian({
    ...{ architecture: 'amd64', flavour: 'amd64', series: '6.12' },
    withoutModules: /virtio_console|virtio\/virtio(_pci\*|_ring)?\.ko|fscache/,
  }),
  'debian-i386': debian({ architecture: 'i386', flavour: '686-pae' }),
  // Xen's drivers need PAE.
  'debian-i386-nopae': debian({ architecture: 'i386', flavour: '686', withoutModules: /xen/ }),
  memtest: { defaultPlugins: [], commandLine: () => 'console=ttyS0,115200', load: loadMemtest },
  'grub-xen': { defaultPlugins: ['xen'], commandLine: () => '', load: (progress) => loadGrubXen('x86_64', progress) },
  'grub-xen-i386': {
    defaultPlugins: ['xen'],
    commandLine: () => '',
    load: (progress) => loadGrubXen('i386', progress),
  },
  'grub-xen-pvh': {
    defaultPlugins: ['xen'],
    commandLine: () => '',
    load: (progress) => loadGrubXen('i386', progress, 'xen_pvh'),
  },
};

/** Doors behind which the console is Xen's; behind the PC's own it is the serial port. */
const isXenDoor = (entryName: string | undefined) => entryName === undefined || /^pvh?$/.test(entryName);

async function loadDemo(name: string): Promise<CatalogueGuest> {
  const at = fileURLToPath(new URL(`../../../../guests/demo/prebuilt/${name}`, import.meta.url));
  const file = await readFile(at).catch((error) => {
    throw fileError(`cannot read the demo guest ${at}`, error);
  });
  return { name, file };
}

/** A kernel of Debian's: the architecture of its packages, and the flavour at the end of their names. */
interface DebianKernel {
  readonly architecture: 'amd64' | 'i386';
  readonly flavour: string;
  /** Of kernels that are not the release's own, but a later one's. */
  readonly series?: string;
  /** Left out of {@link MODULE_MEMBERS}: what such kernels do not have. */
  readonly withoutModules?: RegExp;
}

function debian(kernel: DebianKernel): CatalogueEntry {
  return {
    defaultPlugins: [],
    commandLine: (plugins, entryName) =>
      plugins.includes('xen') && isXenDoor(entryName) ? 'console=hvc0' : 'console=ttyS0',
    load: (progress) => loadDebian(kernel, progress),
  };
}

/** Debian's kernel and a shell. Once fetched, both are used from the cache when apt cannot help. */
async function loadDebian(from: DebianKernel, progress: ProgressLine): Promise<CatalogueGuest> {
  const { architecture, flavour, series, withoutModules } = from;
  // What apt calls a package of an architecture that is perhaps not the host's (apt(8)).
  const suffix = architecture === 'amd64' ? '' : `:${architecture}`;
  const kernelDirectory = await fetchOrCached(
    async () => {
      const metapackage = `linux-image-${series === undefined ? '' : `${series}-`}${flavour}`;
      const meta = await findPackage(`${metapackage}${suffix}`, progress);
      const versioned = meta.depends.find((name) => name.startsWith('linux-image-'));
      if (!versioned) throw fetchError(`${metapackage} depends on no kernel package`, 'check the apt sources');
      const wanted = await findPackage(`${versioned}${suffix}`, progress);
      const modules = MODULE_MEMBERS.filter((member) => !withoutModules?.test(member));
      return unpackedPackage(wanted, ['./boot/vmlinuz-*', ...modules], progress);
    },
    (name) => name.endsWith(suffix) && isKernelPackage(name.slice(0, name.length - suffix.length), from),
  );
  const busyboxDirectory = await fetchOrCached(
    async () => unpackedPackage(await findPackage(`busybox-static${suffix}`, progress), ['*/bin/busybox'], progress),
    (name) => name === `busybox-static${suffix}`,
  );
  const kernel = await onlyFile(path.join(kernelDirectory, 'boot'), /^vmlinuz-/);
  const busybox = await onlyFile(busyboxDirectory, /(^|\/)bin\/busybox$/);
  const modules = await moduleEntries(kernelDirectory);
  const initrd = buildInitramfs(await readFile(busybox), await appletsOf(busybox), modules);
  return { name: path.basename(kernel), file: await readFile(kernel), initrd };
}

/** `linux-image-6.1.0-56-amd64` is the release's own; a later release's has its own in its version: `6.12.117+deb12`. */
function isKernelPackage(name: string, { flavour, series }: DebianKernel): boolean {
  const parts = /^linux-image-([\d.]+)(\+\w+)?(?:-\d+)?-(.+)$/.exec(name);
  if (parts?.[3] !== flavour) return false;
  return series === undefined ? parts[2] === undefined : parts[1].startsWith(`${series}.`);
}

async function loadGrubXen(cpu: 'x86_64' | 'i386', progress: ProgressLine, platform = 'xen'): Promise<CatalogueGuest> {
  const directory = await fetchOrCached(
    async () => unpackedPackage(await findPackage('grub-xen-host', progress), ['*-xen.bin', '*-xen_pvh.bin'], progress),
    (name) => name === 'grub-xen-host',
  );
  const file = await onlyFile(directory, new RegExp(`grub-${cpu}-${platform}\\.bin$`));
  return { name: path.basename(file), file: await readFile(file) };
}

/** Memtest86+ in the form of a bzImage. */
async function loadMemtest(progress: ProgressLine): Promise<CatalogueGuest> {
  const directory = await fetchOrCached(
    async () => unpackedPackage(await findPackage('memtest86+', progress), ['*/memtest86+x64.bin'], progress),
    (name) => name === 'memtest86+',
  );
  const file = await onlyFile(directory, /memtest86\+x64\.bin$/);
  return { name: path.basename(file), file: await readFile(file) };
}

async function fetchOrCached(fetch: () => Promise<string>, isPackage: (name: string) => boolean): Promise<string> {
  try {
    return await fetch();
  } catch (error) {
    const cached = error instanceof PolyvisorError ? cachedPackage(isPackage) : undefined;
    if (cached) return cached;
    throw error;
  }
}

async function onlyFile(directory: string, wanted: RegExp): Promise<string> {
  const files = await readdir(directory, { recursive: true });
  const found = files.find((file) => wanted.test(file));
  if (!found) throw fetchError(`${directory} holds no file like ${wanted.source}`, `remove ${directory} and try again`);
  return path.join(directory, found);
}

/** busybox's own list; empty where the host cannot execute it, and then the guest asks for it. */
async function appletsOf(busybox: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)(busybox, ['--list']).catch(() => ({ stdout: '' }));
  return stdout.split('\n').filter((line) => line !== '');
}

import path from 'node:path';
import { recogniseImage } from '@polyvisor/core';
import { type BootModule, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import { type CatalogueEntry, type CatalogueGuest, catalogue } from './catalogue/index.ts';
import { fileError } from './cli-error.ts';
import { ExitCode } from './exit-codes.ts';
import { withCache } from './node/decompress/cached.ts';
import { nodeDecompressor } from './node/decompress/index.ts';
import { readInputFile } from './node/read-input.ts';
import type { RunOptions } from './options.ts';
import { amount, type ProgressLine } from './progress.ts';

/** All that a machine is started from. */
export interface PreparedGuest {
  readonly image: GuestImage;
  readonly commandLine: string;
  readonly initrd: Uint8Array | undefined;
  readonly bootModules: readonly FileModule[];
}

/** A boot module, and where it was read. */
export interface FileModule extends BootModule {
  readonly file: string;
}

function catalogueEntry(name: string): CatalogueEntry | undefined {
  return Object.hasOwn(catalogue, name) ? catalogue[name] : undefined;
}

/** References of the plug-ins to load: those of the command line, else the catalogue's choice. */
export function pluginReferences(options: RunOptions): readonly string[] {
  return options.plugins ?? catalogueEntry(options.image)?.defaultPlugins ?? [];
}

/** Fetches, reads, recognises and unpacks what is needed. `plugins` are the names of those loaded. */
export async function prepareGuest(
  options: RunOptions,
  plugins: readonly string[],
  progress: ProgressLine,
): Promise<PreparedGuest> {
  try {
    // First what is quick to find missing.
    const ownInitrd = options.initrdPath === undefined ? undefined : await readInput(options.initrdPath, 'initrd');
    const bootModules = await Promise.all(
      options.bootModules.map(async ({ file, text }) => ({
        bytes: await readInput(file, 'boot module'),
        commandLine: text,
        file,
      })),
    );
    const entry = catalogueEntry(options.image);
    const guest = await readGuest(options.image, progress);
    const image = await recognise(guest, progress);
    const words = [entry?.commandLine(plugins, options.entryName), options.append].filter((text) => text);
    return { image, commandLine: words.join(' '), initrd: ownInitrd ?? guest.initrd, bootModules };
  } finally {
    progress.clear();
  }
}

/** An image and the file that it came in. */
export interface LoadedImage {
  readonly image: GuestImage;
  /** As read: with its compression, if it has one. */
  readonly fileBytes: Uint8Array;
}

/** Reads, recognises and unpacks a kernel file or catalogue entry. Throws `PolyvisorError` PV2001–PV2005, PV3002, PV3003. */
export async function loadImage(name: string, progress: ProgressLine): Promise<LoadedImage> {
  try {
    const guest = await readGuest(name, progress);
    return { image: await recognise(guest, progress), fileBytes: guest.file };
  } finally {
    progress.clear();
  }
}

async function readGuest(name: string, progress: ProgressLine): Promise<CatalogueGuest> {
  const entry = catalogueEntry(name);
  return entry ? await entry.load(progress) : await readKernel(name);
}

async function recognise(guest: CatalogueGuest, progress: ProgressLine): Promise<GuestImage> {
  const image = await recogniseImage(guest.file, guest.name, withCache(nodeDecompressor), (what, done, expected) =>
    progress.update(`unpacking ${what} ${amount(done, expected)}`),
  );
  refuseUnknown(image);
  return image;
}

async function readKernel(file: string): Promise<CatalogueGuest> {
  return { name: path.basename(file), file: await readInput(file, 'image') };
}

async function readInput(file: string, what: string): Promise<Uint8Array> {
  return await readInputFile(file).catch((error: NodeJS.ErrnoException) => {
    if (what === 'image' && error.code === 'ENOENT' && !file.includes('/')) {
      const names = Object.keys(catalogue).join(', ');
      const message = `cannot read the image ${file}: no such file, and no such name in the catalogue`;
      throw new PolyvisorError('PV3002', message, `give a kernel file or one of ${names}`, ExitCode.IMAGE);
    }
    throw fileError(`cannot read the ${what} ${file}`, error);
  });
}

function refuseUnknown(image: GuestImage): void {
  if (image.format !== 'unknown') return;
  throw new PolyvisorError(
    'PV2003',
    `${image.name} is no kernel image: it looks like ${image.description}`,
    'give an ELF, bzImage or multiboot file, or a disk with a boot sector',
    ExitCode.IMAGE,
  );
}

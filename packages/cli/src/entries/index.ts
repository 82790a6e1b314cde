import { createHash } from 'node:crypto';
import { findDoors, loadPlugins, PluginRegistry } from '@polyvisor/core';
import type { EntrySearch, GuestImage } from '@polyvisor/plugin-api';
import { ExitCode } from '../exit-codes.ts';
import { nodeFiles } from '../node/file-reader.ts';
import { nodeModuleImporter } from '../node/plugin-import.ts';
import type { EntriesOptions } from '../options.ts';
import { loadImage } from '../prepare.ts';
import { ProgressLine } from '../progress.ts';
import { findCapabilities } from './capabilities.ts';
import { type DoorList, type Doors, formatDoors, jsonDoors } from './render.ts';

/** The plug-ins that come with `vm`. */
const BUNDLED = ['xen', 'lguest-like'] as const;

/** `vm entries`: answers the exit code. Throws `PolyvisorError` for what is no kernel image. */
export async function entries(options: EntriesOptions): Promise<number> {
  const { image, fileBytes } = await loadImage(options.image, new ProgressLine());
  const plugins = [...BUNDLED, ...options.plugins];
  const list: DoorList = {
    image,
    sha256: createHash('sha256').update(fileBytes).digest('hex'),
    doors: await doorsOf(image, plugins),
  };
  process.stdout.write(options.json ? `${JSON.stringify(jsonDoors(list), null, 2)}\n` : formatDoors(list));
  return ExitCode.OK;
}

/** Each plug-in is asked by itself: that two of them cannot be loaded together does not matter here. */
async function doorsOf(image: GuestImage, plugins: readonly string[]): Promise<Doors> {
  const searches: EntrySearch[] = [];
  for (const reference of plugins) {
    const registry = new PluginRegistry({ files: nodeFiles });
    await loadPlugins(registry, [reference], nodeModuleImporter());
    searches.push(registry.calls.findEntries(image));
  }
  const { inside, missing } = findCapabilities(image);
  searches.push({ entries: [], missing });
  return { ...findDoors(image, { findEntries: () => merge(searches) }), inside };
}

function merge(searches: readonly EntrySearch[]): EntrySearch {
  return {
    entries: searches.flatMap((search) => search.entries),
    closed: searches.flatMap((search) => search.closed ?? []),
    missing: searches.flatMap((search) => search.missing),
  };
}

/** The emulator v86, from npm by its name, and the firmware it starts a kernel with, from Debian's `seabios`. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { findPackage, unpackedPackage } from '../packages/cli/src/catalogue/apt.ts';
import { cacheDirectory } from '../packages/cli/src/node/cache.ts';
import { withTemporaryDirectory } from '../packages/cli/src/node/temporary.ts';
import { ProgressLine } from '../packages/cli/src/progress.ts';

/** One version, so that figures of different days compare. */
export const V86_VERSION = '0.5.462';

export interface V86Files {
  /** The folder of npm's package. */
  readonly packagePath: string;
  readonly biosPath: string;
  readonly vgaBiosPath: string;
}

/** npm's package in the user's cache, installed there on first use; no script of it is run. */
async function installedV86(): Promise<string> {
  const directory = path.join(cacheDirectory(), 'npm', `v86-${V86_VERSION}`);
  if (!existsSync(directory)) {
    await mkdir(path.dirname(directory), { recursive: true });
    await withTemporaryDirectory(path.dirname(directory), async (temporary) => {
      const target = path.join(temporary, 'v86');
      const options = ['--no-audit', '--no-fund', '--ignore-scripts', '--no-save'];
      await promisify(execFile)('npm', ['install', ...options, '--prefix', target, `v86@${V86_VERSION}`]);
      await rename(target, directory);
    });
  }
  return path.join(directory, 'node_modules', 'v86');
}

/** @throws Error or PolyvisorError if npm or apt cannot bring it */
export async function prepareV86(): Promise<V86Files> {
  const progress = new ProgressLine();
  try {
    const members = ['./usr/share/seabios/bios.bin', './usr/share/seabios/vgabios-stdvga.bin'];
    const seabios = await unpackedPackage(await findPackage('seabios', progress), members, progress);
    const files = path.join(seabios, 'usr', 'share', 'seabios');
    return {
      packagePath: await installedV86(),
      biosPath: path.join(files, 'bios.bin'),
      vgaBiosPath: path.join(files, 'vgabios-stdvga.bin'),
    };
  } finally {
    progress.clear();
  }
}

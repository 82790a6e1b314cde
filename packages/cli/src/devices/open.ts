import path from 'node:path';
import { FileDisk } from '@polyvisor/core';
import { type BlockBackend, type Devices, PolyvisorError, SECTOR_BYTES } from '@polyvisor/plugin-api';
import { fileError } from '../cli-error.ts';
import { say } from '../diagnostics.ts';
import { ExitCode } from '../exit-codes.ts';
import { entropyFor } from '../node/entropy.ts';
import { NodeHostFile } from '../node/host-file.ts';
import type { DiskRequest, RunOptions } from '../options.ts';
import { openNetwork } from './net.ts';
import { openShare } from './share.ts';

/** The devices of a run, open until it ends. They outlive reboots of the guest. */
export interface OpenDevices {
  readonly devices: Devices;
  /** Called when something has arrived for the guest. */
  onWake(listener: () => void): void;
  close(): Promise<void>;
}

/** Opens all that was asked for; if one cannot be opened, none stays open. @throws PolyvisorError */
export async function openDevices(options: RunOptions): Promise<OpenDevices> {
  const closers: (() => void | Promise<void>)[] = [];
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const disks = options.disks.map((request) => openDisk(request, closers));
    let wake = () => {};
    const network = await openNetwork(options.net, () => wake());
    closers.push(() => network.close());
    return {
      devices: { disks, nics: network.nics, shares: options.shares.map(openShare), entropy: entropyFor(options.clock) },
      onWake: (listener) => {
        wake = listener;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function openDisk({ file, mode }: DiskRequest, closers: (() => void)[]): BlockBackend {
  const opened = openFile(file, mode === 'rw');
  closers.push(() => opened.close());
  const disk = new FileDisk(opened, { name: path.basename(file), mode, onFailure: say });
  if (disk.sizeBytes > 0) return disk;
  throw new PolyvisorError(
    'PV3002',
    `the disk ${file} has less than one sector of ${SECTOR_BYTES} bytes`,
    'give a raw image, such as one made with `truncate -s 1G FILE`',
    ExitCode.IMAGE,
  );
}

function openFile(file: string, writable: boolean): NodeHostFile {
  try {
    return new NodeHostFile(file, writable);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (writable && (code === 'EACCES' || code === 'EROFS')) {
      const fix = `use ${file},ro or ${file},overlay, or make it writable`;
      throw new PolyvisorError('PV3002', `the disk ${file} cannot be written`, fix, ExitCode.IMAGE);
    }
    throw fileError(`cannot open the disk ${file}`, error);
  }
}

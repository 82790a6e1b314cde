/** Disks that GRUB's port to the BIOS starts from, made of Debian's packages by GRUB's own tool. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findPackage, unpackedPackage } from '../../packages/cli/src/catalogue/apt.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';

const SECTOR_BYTES = 512;
const PARTITION_SECTOR = 2048;
/** The serial port instead of a display that is not there. */
const EARLY = `serial --unit=0 --speed=115200
terminal_output serial
terminal_input serial
set root=(hd0,msdos1)
`;
const MODULES = [
  ...['biosdisk', 'part_msdos', 'tar', 'serial', 'terminal', 'normal', 'ls', 'boot'],
  ...['linux', 'multiboot', 'multiboot2'],
];

async function unpacked(name: string, ...members: string[]): Promise<string> {
  const progress = new ProgressLine();
  return unpackedPackage(await findPackage(name, progress), members, progress).finally(() => progress.clear());
}

/** GRUB's core image, made by its own tool, and its boot sector. */
async function makeGrub(directory: string): Promise<{ bootSector: Buffer; core: Buffer }> {
  const tools = await unpacked('grub-common', '*/bin/grub-mkimage');
  const files = path.join(await unpacked('grub-pc-bin', './usr/lib/grub/i386-pc/*'), 'usr/lib/grub/i386-pc');
  // The tool needs it, and not every host has it.
  const library = await unpacked('libdevmapper1.02.1', '*/libdevmapper.so.*');
  const early = path.join(directory, 'early.cfg');
  const core = path.join(directory, 'core.img');
  writeFileSync(early, EARLY);
  const format = ['-O', 'i386-pc', '-d', files, '-p', '(hd0,msdos1)/boot/grub'];
  execFileSync(path.join(tools, 'usr/bin/grub-mkimage'), [...format, '-c', early, '-o', core, ...MODULES], {
    env: { ...process.env, LD_LIBRARY_PATH: path.join(library, 'lib/x86_64-linux-gnu') },
  });
  return { bootSector: readFileSync(path.join(files, 'boot.img')), core: readFileSync(core) };
}

/**
 * A disk as grub-bios-setup leaves it (GRUB 2.06, grub-core/boot/i386/pc): the core image behind the boot sector, the numbers of
 * its sectors in both, and a partition, which holds an archive: that is a file system to GRUB.
 */
function makeDisk({ bootSector, core }: { bootSector: Buffer; core: Buffer }, archive: Buffer): Buffer {
  const sectors = (bytes: Buffer) => Math.ceil(bytes.length / SECTOR_BYTES);
  bootSector.writeBigUInt64LE(1n, 0x5c);
  core.writeBigUInt64LE(2n, SECTOR_BYTES - 12);
  core.writeUInt16LE(sectors(core) - 1, SECTOR_BYTES - 4);
  core.writeUInt16LE(0x820, SECTOR_BYTES - 2);
  // The partition table takes the place of code for floppy disks: active, Linux, first sector and how many.
  bootSector.fill(0, 0x1b8, SECTOR_BYTES - 2);
  bootSector.writeUInt8(0x80, 0x1be);
  bootSector.writeUInt8(0x83, 0x1be + 4);
  bootSector.writeUInt32LE(PARTITION_SECTOR, 0x1be + 8);
  bootSector.writeUInt32LE(sectors(archive), 0x1be + 12);
  bootSector.writeUInt16LE(0xaa55, SECTOR_BYTES - 2);
  const disk = Buffer.alloc((PARTITION_SECTOR + sectors(archive)) * SECTOR_BYTES);
  disk.set(bootSector);
  disk.set(core, SECTOR_BYTES);
  disk.set(archive, PARTITION_SECTOR * SECTOR_BYTES);
  return disk;
}

/**
 * A disk image whose partition holds the folder `boot` of `directory`, in which files of GRUB's own and the archive are left, too.
 * `boot/grub/grub.cfg` is executed if it is there.
 */
export async function makeGrubDisk(directory: string): Promise<Buffer> {
  const archive = path.join(directory, 'archive.tar');
  execFileSync('tar', ['-C', directory, '--format=ustar', '-cf', archive, 'boot']);
  return makeDisk(await makeGrub(directory), readFileSync(archive));
}

import { type BootRequest, Gpr, PolyvisorError, SECTOR_BYTES } from '@polyvisor/plugin-api';
import { isBootSector } from '../image/looks-like.ts';
import type { BootSurroundings } from './linux.ts';
import { enterRealMode } from './real-mode.ts';

/** Where a BIOS has always put it, and the number of the disk that it comes from (Phoenix, BIOS Boot Specification 1.01, 6.1). */
export const BOOT_SECTOR_AT = 0x7c00;
const FIRST_DISK = 0x80n;
const IMAGE_EXIT_CODE = 3;

const RFLAGS_IF = 0x202n;

/**
 * What a BIOS does after its own tests (INT 19h): the first sector of the first disk at 0x7c00, entered in real-address mode with
 * its disk's number in DL. All else it reads by itself.
 * @throws PolyvisorError PV2016 if that disk cannot be started from
 */
export function bootBootSector({ image }: BootRequest, { memory, vcpu, disks }: BootSurroundings): void {
  const sector = new Uint8Array(SECTOR_BYTES);
  const [disk] = disks;
  if (!disk) throw notBootable(`${image.name} is the image of a disk, and the machine has none`);
  if (!disk.read(0, sector) || !isBootSector(sector)) throw notBootable(`${disk.name} has no boot sector`);
  memory.writeBytes(BOOT_SECTOR_AT, sector);
  enterRealMode(vcpu, { code: 0, data: 0 });
  vcpu.rflags = RFLAGS_IF;
  vcpu.gpr[Gpr.RSP] = BigInt(BOOT_SECTOR_AT);
  vcpu.gpr[Gpr.RDX] = FIRST_DISK;
  vcpu.rip = BigInt(BOOT_SECTOR_AT);
}

function notBootable(message: string): PolyvisorError {
  return new PolyvisorError('PV2016', message, 'give the disk to start from as the first --disk', IMAGE_EXIT_CODE);
}

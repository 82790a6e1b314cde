import { type BlockBackend, SECTOR_BYTES } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import { type BiosCall, type BiosHost, Register, type ServiceAnswer } from './call.ts';
import { DataArea } from './data-area.ts';

/** Numbers of fixed disks begin here. */
const FIRST_DISK = 0x80;
/** More disks than these a BIOS does not number. */
export const MOST_DISKS = 8;
/** What the table of fixed disks is taken for in the absence of one: LBA-assisted translation (T13 1572D, EDD-3, 7.2). */
const HEADS = 255;
const SECTORS = 63;
const MOST_CYLINDERS = 1024;
const CYLINDER_SECTORS = HEADS * SECTORS;

/** AH of an answer. */
const Status = {
  done: 0x00,
  invalid: 0x01,
  writeProtected: 0x03,
  sectorNotFound: 0x04,
  controllerFailed: 0x20,
} as const;

const Call = {
  reset: 0x00,
  status: 0x01,
  read: 0x02,
  write: 0x03,
  verify: 0x04,
  parameters: 0x08,
  initialise: 0x09,
  seek: 0x0c,
  alternateReset: 0x0d,
  ready: 0x10,
  recalibrate: 0x11,
  type: 0x15,
  extensions: 0x41,
  extendedRead: 0x42,
  extendedWrite: 0x43,
  extendedVerify: 0x44,
  extendedSeek: 0x47,
  extendedParameters: 0x48,
} as const;

const Segment = { DS: 3, ES: 0 } as const;
/** What AH = 41h is asked with, and answers. */
const [EXTENSIONS_ASKED, EXTENSIONS_HERE] = [0x55aa, 0xaa55];
/** Version 3.0 of the extensions; fixed disk access, and no enhanced disk drive parameters beyond the first 26 bytes. */
const EXTENSIONS_VERSION = 0x30;
const FIXED_DISK_ACCESS = 1;
/** A disk address packet, and one with a flat 64-bit address (EDD-3, 8.2). */
const PACKET_BYTES = 16;
const FLAT_PACKET_BYTES = 24;
const FLAT_ADDRESS = 0xffff_ffff;
/** Most sectors of one packet. */
const MOST_SECTORS = 127;
const PARAMETERS_BYTES = 26;
/** The geometry in cylinders, heads and sectors is valid. */
const GEOMETRY_VALID = 2;

type Direction = 'read' | 'write' | 'verify';

/** A transfer, checked: where on the disk, where in memory. */
interface Transfer {
  readonly sector: number;
  readonly sectors: number;
  readonly gpa: number;
}

/**
 * INT 13h for the machine's disks, in the order of the command line, from number 80h: the calls by cylinder, head and sector
 * (IBM PC/AT Technical Reference, BIOS listing, "DISK_IO") and by number (T13 1572D, BIOS Enhanced Disk Drive Services 3, 8).
 * There are no floppy disks and no CD-ROM emulation.
 */
export function diskService(call: BiosCall, host: BiosHost): ServiceAnswer {
  const service = call.high(Register.AX);
  const disk = host.disks[call.low(Register.DX) - FIRST_DISK];
  const status = service === Call.status ? host.memory.read8(DataArea.diskStatus) : carryOut(service, disk, call, host);
  if (status !== undefined) {
    call.setHigh(Register.AX, status);
    host.memory.write8(DataArea.diskStatus, service === Call.status ? Status.done : status);
  }
  call.setFlag(Flag.CF, (status ?? Status.done) !== Status.done);
  return undefined;
}

/** Answers AH; `undefined`: done, and AH is part of the answer. */
function carryOut(service: number, disk: BlockBackend | undefined, call: BiosCall, host: BiosHost): number | undefined {
  if (service === Call.type) return tellType(disk, call);
  if (!disk) return Status.invalid;
  switch (service) {
    case Call.read:
      return transferByCylinder('read', disk, call, host);
    case Call.write:
      return transferByCylinder('write', disk, call, host);
    case Call.verify:
      return transferByCylinder('verify', disk, call, host);
    case Call.parameters:
      return tellGeometry(disk, call, host);
    case Call.extensions:
      return tellExtensions(call);
    case Call.extendedRead:
      return transferByPacket('read', disk, call, host);
    case Call.extendedWrite:
      return transferByPacket('write', disk, call, host);
    case Call.extendedVerify:
      return transferByPacket('verify', disk, call, host);
    case Call.extendedParameters:
      return tellParameters(disk, call, host);
    case Call.reset:
    case Call.initialise:
    case Call.seek:
    case Call.alternateReset:
    case Call.ready:
    case Call.recalibrate:
    case Call.extendedSeek:
      return Status.done;
    default:
      return Status.invalid;
  }
}

const sectorsOf = ({ sizeBytes }: BlockBackend) => Math.floor(sizeBytes / SECTOR_BYTES);
const cylindersOf = (disk: BlockBackend) =>
  Math.max(1, Math.min(MOST_CYLINDERS, Math.floor(sectorsOf(disk) / CYLINDER_SECTORS)));

/** A real-mode address: 16 bits of offset in a segment. */
function realAddress(call: BiosCall, segment: number, offset: number): number {
  return Number(call.vcpu.segment(segment).base) + (offset & 0xffff);
}

/** The cylinder's upper two bits stand above the sector, which counts from 1. */
function transferByCylinder(direction: Direction, disk: BlockBackend, call: BiosCall, host: BiosHost): number {
  const sectors = call.low(Register.AX);
  const sector = call.low(Register.CX) & 0x3f;
  const cylinder = call.high(Register.CX) | ((call.low(Register.CX) & 0xc0) << 2);
  const head = call.high(Register.DX);
  if (sectors === 0 || sector === 0 || head >= HEADS) return Status.invalid;
  const first = cylinder * CYLINDER_SECTORS + head * SECTORS + sector - 1;
  const gpa = realAddress(call, Segment.ES, call.word(Register.BX));
  const status = carry(direction, { sector: first, sectors, gpa }, disk, host);
  call.setLow(Register.AX, status === Status.done ? sectors : 0);
  return status;
}

/** DS:SI: a disk address packet, whose count becomes what has been done. */
function transferByPacket(direction: Direction, disk: BlockBackend, call: BiosCall, host: BiosHost): number {
  const { memory } = host;
  const at = realAddress(call, Segment.DS, call.word(Register.SI));
  if (at + FLAT_PACKET_BYTES > memory.sizeBytes) return Status.invalid;
  const bytes = memory.read8(at);
  const sectors = memory.read16(at + 2);
  const buffer = memory.read32(at + 4);
  const isFlat = buffer === FLAT_ADDRESS && bytes >= FLAT_PACKET_BYTES;
  if (bytes < PACKET_BYTES || sectors > MOST_SECTORS) return Status.invalid;
  const gpa = isFlat ? Number(memory.read64(at + PACKET_BYTES)) : (buffer >>> 16) * 16 + (buffer & 0xffff);
  const sector = Number(memory.read64(at + 8));
  const status = carry(direction, { sector, sectors, gpa }, disk, host);
  if (status !== Status.done) memory.write16(at + 2, 0);
  return status;
}

function carry(direction: Direction, { sector, sectors, gpa }: Transfer, disk: BlockBackend, host: BiosHost): number {
  if (sector + sectors > sectorsOf(disk)) return Status.sectorNotFound;
  if (direction === 'write' && disk.readOnly) return Status.writeProtected;
  const sizeBytes = sectors * SECTOR_BYTES;
  if (direction !== 'verify' && gpa + sizeBytes > host.memory.sizeBytes) return Status.invalid;
  const offsetBytes = sector * SECTOR_BYTES;
  if (direction === 'write')
    return disk.write(offsetBytes, host.memory.readBytes(gpa, sizeBytes)) ? Status.done : Status.controllerFailed;
  const bytes = new Uint8Array(sizeBytes);
  if (!disk.read(offsetBytes, bytes)) return Status.controllerFailed;
  if (direction === 'read') host.memory.writeBytes(gpa, bytes);
  return Status.done;
}

/** AH = 08h: the last cylinder, head and sector, and how many disks there are. */
function tellGeometry(disk: BlockBackend, call: BiosCall, { disks }: BiosHost): number {
  const last = cylindersOf(disk) - 1;
  call.setWord(Register.CX, ((last & 0xff) << 8) | ((last >> 8) << 6) | SECTORS);
  call.setWord(Register.DX, ((HEADS - 1) << 8) | disks.length);
  call.setLow(Register.AX, 0);
  return Status.done;
}

/** AH = 15h: no drive, or a fixed disk and its sectors in CX:DX. */
function tellType(disk: BlockBackend | undefined, call: BiosCall): undefined {
  call.setHigh(Register.AX, disk ? 3 : 0);
  if (!disk) return;
  const sectors = Math.min(sectorsOf(disk), 0xffff_ffff);
  call.setWord(Register.CX, Math.floor(sectors / 0x10000));
  call.setWord(Register.DX, sectors % 0x10000);
}

/** AH = 41h: AH is the version. */
function tellExtensions(call: BiosCall): number | undefined {
  if (call.word(Register.BX) !== EXTENSIONS_ASKED) return Status.invalid;
  call.setWord(Register.BX, EXTENSIONS_HERE);
  call.setWord(Register.CX, FIXED_DISK_ACCESS);
  call.setHigh(Register.AX, EXTENSIONS_VERSION);
  return undefined;
}

/** AH = 48h: a table of at least 26 bytes at DS:SI, whose first word is its size (EDD-3, 8.7). */
function tellParameters(disk: BlockBackend, call: BiosCall, { memory }: BiosHost): number {
  const at = realAddress(call, Segment.DS, call.word(Register.SI));
  if (at + PARAMETERS_BYTES > memory.sizeBytes || memory.read16(at) < PARAMETERS_BYTES) return Status.invalid;
  memory.write16(at, PARAMETERS_BYTES);
  memory.write16(at + 2, GEOMETRY_VALID);
  memory.write32(at + 4, cylindersOf(disk));
  memory.write32(at + 8, HEADS);
  memory.write32(at + 12, SECTORS);
  memory.write64(at + 16, BigInt(sectorsOf(disk)));
  memory.write16(at + 24, SECTOR_BYTES);
  return Status.done;
}

import type { BootRequest } from '@polyvisor/plugin-api';
import { noModules } from './boot-error.ts';
import { bootBootSector } from './boot-sector.ts';
import type { NativeDoorName } from './doors.ts';
import { bootElf } from './elf.ts';
import { type BootSurroundings, bootLinux32, bootLinux64 } from './linux.ts';
import { bootLinux16 } from './linux16.ts';
import { bootMultiboot } from './multiboot.ts';
import { bootSniff } from './sniff.ts';

type Boot = (request: BootRequest, surroundings: BootSurroundings) => void;

/** Doors that the PC itself opens. */
const BOOTS: Partial<Readonly<Record<NativeDoorName, Boot>>> = {
  linux64: bootLinux64,
  linux32: bootLinux32,
  linux16: bootLinux16,
  multiboot2: (request, surroundings) => bootMultiboot(2, request, surroundings),
  multiboot1: (request, surroundings) => bootMultiboot(1, request, surroundings),
  elf: bootElf,
  sniff: bootSniff,
  bios: bootBootSector,
};

/** Doors that take modules. */
const MULTIBOOT_DOORS: ReadonlySet<string> = new Set(['multiboot1', 'multiboot2'] satisfies NativeDoorName[]);
/** Doors whose images run in real mode, or may go back to it. */
export const BIOS_DOORS: ReadonlySet<string> = new Set([
  ...MULTIBOOT_DOORS,
  ...(['linux16', 'bios'] satisfies NativeDoorName[]),
]);

export const STARTABLE: ReadonlySet<NativeDoorName> = new Set(Object.keys(BOOTS) as NativeDoorName[]);

/** Start an image through one of the doors in {@link STARTABLE}. @throws PolyvisorError for what does not fit */
export function bootNatively(request: BootRequest, surroundings: BootSurroundings): void {
  if (request.modules && !MULTIBOOT_DOORS.has(request.entry.name)) throw noModules(request.entry.name);
  BOOTS[request.entry.name as NativeDoorName]?.(request, surroundings);
}

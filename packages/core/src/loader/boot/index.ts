import type { BootRequest } from '@polyvisor/plugin-api';
import type { NativeDoorName } from './doors.ts';
import { type BootSurroundings, bootLinux32, bootLinux64 } from './linux.ts';

type Boot = (request: BootRequest, surroundings: BootSurroundings) => void;

/** Doors that the PC itself opens. NOT IMPLEMENTED: ELF and multiboot images, 16-bit entry of a bzImage. */
const BOOTS: Partial<Readonly<Record<NativeDoorName, Boot>>> = { linux64: bootLinux64, linux32: bootLinux32 };

export const STARTABLE: ReadonlySet<NativeDoorName> = new Set(Object.keys(BOOTS) as NativeDoorName[]);

/** Start an image through one of the doors in {@link STARTABLE}. @throws PolyvisorError for what does not fit */
export function bootNatively(request: BootRequest, surroundings: BootSurroundings): void {
  BOOTS[request.entry.name as NativeDoorName]?.(request, surroundings);
}
